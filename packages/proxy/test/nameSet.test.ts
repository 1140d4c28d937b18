import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "fast-check"
import { nameSet } from "../src/internal/nameSet.ts"

const names = ["te", "alpn", "connection", "keep-alive", "content-length", "proxy-authentication-info"]

describe("nameSet", () => {
  it("finds a name in any case", () => {
    const find = nameSet(names)
    for (const name of names) {
      assert.strictEqual(find(name), name)
      assert.strictEqual(find(name.toUpperCase()), name)
    }
  })

  it("is the set that it is made of, for any text", () => {
    const find = nameSet(names)
    const text = FastCheck.oneof(
      FastCheck.string(),
      FastCheck.constantFrom(...names, "host", "via", "cookie", "user-agent", "content-lengti", "content-length-"),
      FastCheck.mixedCase(FastCheck.constantFrom(...names))
    )
    FastCheck.assert(FastCheck.property(text, (name) => {
      assert.strictEqual(find(name), names.find((other) => other === name.toLowerCase()))
    }))
  })
})
