import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "fast-check"
import * as HopByHop from "../src/HopByHop.ts"

const request = (...fields: ReadonlyArray<string>) => HopByHop.request(Object.freeze(fields))

describe("HopByHop", () => {
  it("B1 removes Connection and what it nominates", () => {
    assert.deepStrictEqual(request("Host", "a", "Connection", "close, X-Foo", "X-Foo", "1", "Accept", "*/*"), [
      "Host",
      "a",
      "Accept",
      "*/*"
    ])
  })

  it("B2 two Connection lines nominate different fields, also those that came before", () => {
    assert.deepStrictEqual(request("B", "1", "Connection", "A", "A", "1", "Connection", "B", "C", "1"), ["C", "1"])
  })

  it("B3 the first Connection line is empty, the second nominates", () => {
    assert.deepStrictEqual(request("Connection", "", "Connection", "X-A", "X-A", "1", "X-B", "1"), ["X-B", "1"])
  })

  it("B4 nominations are case-insensitive and tolerate white space and empty members", () => {
    assert.deepStrictEqual(request("cOnNection", " ,\tx-FOO ,, ,", "X-Foo", "1", "x-foo", "2", "Y", "3"), ["Y", "3"])
  })

  it("B6 a nomination of fields for all recipients is void", () => {
    const fields = [
      "Host",
      "a",
      "Content-Length",
      "3",
      "Cookie",
      "c=1",
      "Authorization",
      "Basic x",
      "Content-Type",
      "b"
    ]
    assert.deepStrictEqual(
      request(...fields, "Connection", "host, content-length, Cookie, AUTHORIZATION, content-type, transfer-encoding"),
      fields
    )
  })

  for (
    const [name, field] of [
      ["B7 Keep-Alive", "Keep-Alive"],
      ["B8 Proxy-Connection", "Proxy-Connection"],
      ["B9 Proxy-Authorization", "Proxy-Authorization"],
      ["B9 Proxy-Authenticate", "Proxy-Authenticate"],
      ["B9 Proxy-Authentication-Info", "Proxy-Authentication-Info"],
      ["B10 TE", "TE"],
      ["B12 Upgrade without Connection", "Upgrade"],
      ["B13 HTTP2-Settings", "HTTP2-Settings"],
      ["B13 Alt-Svc", "Alt-Svc"],
      ["B13 ALPN", "ALPN"],
      ["B13 Close", "Close"],
      ["Trailer", "Trailer"],
      ["Transfer-Encoding", "Transfer-Encoding"]
    ] as const
  ) {
    it(`${name} is not relayed either way, whatever its case`, () => {
      for (const spelling of [field, field.toLowerCase(), field.toUpperCase()]) {
        assert.deepStrictEqual(request("A", "1", spelling, "gzip", "B", "2"), ["A", "1", "B", "2"])
        assert.deepStrictEqual(HopByHop.response(["A", "1", spelling, "x", "B", "2"]), ["A", "1", "B", "2"])
      }
    })
  }

  it("B11 TE: foo and TE: bar, trailers become exactly TE: trailers", () => {
    assert.deepStrictEqual(request("TE", "foo", "A", "1", "te", "bar, Trailers"), ["A", "1", "TE", "trailers"])
    assert.deepStrictEqual(HopByHop.response(["TE", "trailers"]), [])
  })

  it("B12 Upgrade counts only when Connection nominates it", () => {
    assert.strictEqual(HopByHop.upgrade(["Upgrade", "foo"]), undefined)
    assert.strictEqual(HopByHop.upgrade(["Connection", "close", "Upgrade", "foo"]), undefined)
    assert.strictEqual(HopByHop.upgrade(["Connection", "upgrade"]), undefined)
    assert.strictEqual(HopByHop.upgrade(["Connection", "keep-alive, UPGRADE", "upgrade", " websocket "]), "websocket")
  })

  it("B16 the input is not changed, and is returned as it is when nothing goes", () => {
    const plain = Object.freeze(["Host", "a", "Accept", "*/*", "Trailers", "x"])
    assert.strictEqual(HopByHop.request(plain), plain)
    assert.strictEqual(HopByHop.response(plain), plain)
    request("Connection", "X", "X", "1")
  })

  it("B19 a 101 keeps Connection and Upgrade alone", () => {
    assert.deepStrictEqual(
      HopByHop.switching(["Connection", "upgrade, X-Hop", "X-Hop", "1", "Upgrade", "WebSocket", "Y", "2"], "websocket"),
      ["Y", "2", "Connection", "Upgrade", "Upgrade", "websocket"]
    )
  })

  it("B19 a 101 says no length", () => {
    assert.deepStrictEqual(
      HopByHop.switching(["Content-Length", "5", "Y", "2"], "websocket"),
      ["Y", "2", "Connection", "Upgrade", "Upgrade", "websocket"]
    )
  })

  it("B23 Trailers is not Trailer", () => {
    assert.deepStrictEqual(HopByHop.response(["Trailers", "x"]), ["Trailers", "x"])
  })

  it("agrees with a plain reading of the rule on any fields", () => {
    const name = FastCheck.constantFrom(
      "Connection",
      "X-A",
      "x-b",
      "Host",
      "TE",
      "Keep-Alive",
      "Upgrade",
      "Cookie",
      "Accept"
    )
    const value = FastCheck.constantFrom(
      "",
      "x-a",
      "X-B, host",
      "close",
      "keep-alive, X-A,,",
      "trailers",
      "cookie",
      "Upgrade"
    )
    FastCheck.assert(FastCheck.property(FastCheck.array(FastCheck.tuple(name, value), { maxLength: 8 }), (pairs) => {
      const nominated = pairs.filter(([n]) => n === "Connection").flatMap(([, v]) =>
        v.split(",").map((m) => m.trim().toLowerCase())
      )
      const expected = pairs.filter(([n]) =>
        !HopByHop.names.has(n.toLowerCase()) && (n === "Host" || n === "Cookie" || !nominated.includes(n.toLowerCase()))
      )
      assert.deepStrictEqual(HopByHop.response(pairs.flat()), expected.flat())
    }))
  })
})
