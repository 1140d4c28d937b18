import { assert, describe, it } from "@effect/vitest"
import * as Headers from "effect/http/Headers"
import * as fc from "fast-check"
import * as Fields from "../src/Fields.ts"

const fields = Fields.make(
  ["Host", "a.test"],
  ["Set-Cookie", "a=1"],
  ["Accept", "text/html"],
  ["set-cookie", "b=2"],
  ["accept", "*/*"]
)

const name = fc.constantFrom("Host", "host", "X-A", "x-a", "Set-Cookie", "SET-COOKIE", "Accept")
const anyFields = fc.array(fc.tuple(name, fc.string({ maxLength: 3 })), { maxLength: 8 }).map((pairs) =>
  Fields.make(...pairs)
)

describe("Fields", () => {
  it("keeps order, case and repeats", () => {
    assert.deepStrictEqual(fields, [
      "Host",
      "a.test",
      "Set-Cookie",
      "a=1",
      "Accept",
      "text/html",
      "set-cookie",
      "b=2",
      "accept",
      "*/*"
    ])
  })

  it("reads without regard to case", () => {
    assert.strictEqual(Fields.get(fields, "HOST"), "a.test")
    assert.deepStrictEqual(Fields.getAll(fields, "Set-Cookie"), ["a=1", "b=2"])
    assert.isUndefined(Fields.get(fields, "x"))
    assert.isTrue(Fields.has(fields, "accept"))
    assert.isFalse(Fields.has(fields, "x"))
    assert.isTrue(Fields.has(["X-Empty", ""], "x-empty"))
  })

  it("lists tokens over all lines, trimmed and without empty members (RFC 9110, 5.6.1)", () => {
    const connection = Fields.make(["Connection", ""], ["connection", "Close, , X-Foo"], [
      "CONNECTION",
      ",keep-alive\t"
    ])
    assert.deepStrictEqual(Fields.tokens(connection, "Connection"), ["close", "x-foo", "keep-alive"])
    assert.deepStrictEqual(Fields.tokens(connection, "te"), [])
  })

  it("sets in the first line's place, adds at the end, removes every line", () => {
    assert.deepStrictEqual(Fields.set(fields, "accept", "x/y"), [
      "Host",
      "a.test",
      "Set-Cookie",
      "a=1",
      "Accept",
      "x/y",
      "set-cookie",
      "b=2"
    ])
    assert.deepStrictEqual(Fields.set(["A", "1"], "B", "2"), ["A", "1", "B", "2"])
    assert.deepStrictEqual(Fields.remove(fields, "SET-COOKIE"), [
      "Host",
      "a.test",
      "Accept",
      "text/html",
      "accept",
      "*/*"
    ])
    assert.deepStrictEqual(Fields.filter(fields, (lower) => lower === "host"), ["Host", "a.test"])
  })

  it("never changes what it is given", () => {
    const before = [...fields]
    Fields.set(fields, "host", "b")
    Fields.remove(fields, "host")
    Fields.append(fields, "x", "y")
    assert.deepStrictEqual(fields, before)
  })

  it("what the configuration sets goes over the proxy's, and that over the client's", () => {
    const merged = Fields.merge({
      client: ["X-Request-Id", "forged", "x-request-id", "again", "Accept", "text/html", "Via", "client"],
      proxy: ["X-Request-Id", "7f3a", "Via", "proxy"],
      config: ["via", "config"]
    })
    assert.deepStrictEqual(merged, ["Accept", "text/html", "X-Request-Id", "7f3a", "via", "config"])
  })

  it("after set there is one line of the field with that value, and the rest is as before", () => {
    fc.assert(fc.property(anyFields, name, (fields, name) => {
      const set = Fields.set(fields, name, "v")
      assert.deepStrictEqual(Fields.getAll(set, name), ["v"])
      assert.deepStrictEqual(Fields.remove(set, name), Fields.remove(fields, name))
    }))
  })

  it("converts to Effect's headers and back: names lower-cased, lines joined", () => {
    assert.deepStrictEqual(
      { ...Fields.toHeaders(fields) },
      { host: "a.test", "set-cookie": "b=2", accept: "text/html, */*" }
    )
    assert.deepStrictEqual(Fields.fromHeaders(Headers.fromInput({ A: "1", b: "2" })), ["a", "1", "b", "2"])
  })

  it("a field called __proto__ is a field", () => {
    const headers = Fields.toHeaders(["__proto__", "x", "constructor", "y"])
    assert.deepStrictEqual(Fields.fromHeaders(headers), ["__proto__", "x", "constructor", "y"])
  })
})
