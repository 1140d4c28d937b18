import { describe, expect, it } from "@effect/vitest"
import * as VerifiedTokens from "../src/internal/verifiedTokens.ts"

describe("verifiedTokens", () => {
  it("knows a token with its key only", () => {
    const tokens = VerifiedTokens.make<object>(10)
    const [key, other] = [{}, {}]
    tokens.add("t", key)
    expect([tokens.has("t", key), tokens.has("t", other), tokens.has("u", key)]).toEqual([true, false, false])
    tokens.add("t", other)
    expect([tokens.has("t", key), tokens.has("t", other)]).toEqual([false, true])
  })

  it("forgets those that were not used while half as many others were", () => {
    const tokens = VerifiedTokens.make<object>(4)
    const key = {}
    for (const token of ["a", "b", "c"]) tokens.add(token, key)
    expect(tokens.has("a", key)).toBe(true)
    for (const token of ["d", "e"]) tokens.add(token, key)
    expect(["a", "b", "d", "e"].map((token) => tokens.has(token, key))).toEqual([true, false, true, true])
  })
})
