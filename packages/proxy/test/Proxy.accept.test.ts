/** What a client may send, through the whole stack: what the server refuses never reaches an upstream. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { answer, both, get, lines, ok, proxied, raw, roundTrip } from "./utils/proxied.ts"

const bare = (...head: ReadonlyArray<string>): string => [...head, "", ""].join("\r\n")

const refused: ReadonlyArray<readonly [name: string, request: string, status: number]> = [
  ["B58 GET *", raw("GET *"), 400],
  ["B59 a fragment", raw("GET /a#b"), 400],
  ["B60 CONNECT", bare("CONNECT shop.test:443 HTTP/1.1", "Host: shop.test:443"), 501],
  ["B61 TRACE", raw("TRACE /", ["Cookie: a=1", "Authorization: Basic eA=="]), 405],
  ["B61 TRACE with content", raw("TRACE /", ["Content-Length: 3"], "abc"), 405],
  ["B62 no Host", bare("GET / HTTP/1.1", "Accept: */*"), 400],
  ["B63 two Hosts", get("/", "Host: other.test"), 400],
  ["B63 the same Host twice", get("/", "host: shop.test"), 400],
  ...["shop.test/x", "user@shop.test", "shop.test, other.test", "shop.test other.test", "[::1"].map((host) =>
    [`B64 Host: ${host}`, bare("GET / HTTP/1.1", `Host: ${host}`), 400] as const
  ),
  ["B68 a method in lower case", raw("get /"), 400],
  ["B69 HTTP/2.0 on a request line", bare("GET / HTTP/2.0", "Host: shop.test"), 505],
  ["B70 HTTP/1.2", bare("GET / HTTP/1.2", "Host: shop.test"), 505],
  ["B71 the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
  ["B72 a target over the limit", get(`/${"a".repeat(8192)}`), 414]
]

describe("Proxy, requests that are answered before the upstream", () => {
  for (const [name, request, status] of refused) {
    both(`${name} is ${status}`, (path) =>
      Effect.gen(function*() {
        const { client, upstream } = yield* proxied(path)
        yield* client.send(request)
        const got = yield* client.response()
        assert.strictEqual(got.status, status)
        assert.notInclude(got.text, "Basic")
        yield* client.end
        // Nothing but this one answer, whatever else the bytes could be taken for.
        assert.strictEqual((yield* client.ended).unread, "")
        assert.strictEqual(yield* upstream.accepted, 0)
      }))
  }
})

describe("Proxy, requests that are unusual", () => {
  both("B65 HTTP/1.0 without Host is forwarded", (path) =>
    Effect.gen(function*() {
      const { got, seen, upstream } = yield* roundTrip(path, "GET /old HTTP/1.0\r\n\r\n")
      assert.strictEqual(got.status, 200)
      assert.strictEqual(seen.version, "1.1")
      assert.deepStrictEqual(lines(seen, "host"), [`127.0.0.1:${upstream.port}`])
    }))

  both("B67, B68 methods that differ by case alone stay what they are", (path) =>
    Effect.gen(function*() {
      for (const method of ["QUERY", "MKCALENDAR", "M-SEARCH"]) {
        assert.strictEqual((yield* Effect.scoped(roundTrip(path, raw(`${method} /`)))).seen.method, method)
      }
    }))
})

describe("Proxy, fields of responses", () => {
  both(
    "B20 a 426 says what to switch to, and only for this hop; elsewhere Upgrade stays on the upstream's",
    (path) =>
      Effect.gen(function*() {
        const fields = ["Connection: Upgrade", "Upgrade: websocket", "Content-Length: 0"]
        const required = yield* Effect.scoped(roundTrip(path, get("/"), answer("426 Upgrade Required", fields)))
        assert.strictEqual(required.got.status, 426)
        assert.deepStrictEqual(lines(required.got, "upgrade"), ["websocket"])
        assert.match(required.got.get("connection") ?? "", /upgrade/i)
        const offered = yield* roundTrip(path, get("/"), answer("200 OK", fields))
        assert.deepStrictEqual(lines(offered.got, "upgrade"), [])
      })
  )

  both(
    "B24 Date, Server and Strict-Transport-Security are the upstream's, once each",
    (path) =>
      Effect.gen(function*() {
        const date = "Sun, 06 Nov 1994 08:49:37 GMT"
        const fields = [`Date: ${date}`, "Server: origin", "Strict-Transport-Security: max-age=1", "Content-Length: 0"]
        const { got } = yield* Effect.scoped(roundTrip(path, get("/"), answer("200 OK", fields)))
        assert.deepStrictEqual(lines(got, "date"), [date])
        assert.deepStrictEqual(lines(got, "server"), ["origin"])
        assert.deepStrictEqual(lines(got, "strict-transport-security"), ["max-age=1"])
        // A recipient with a clock adds the field where it is missing (RFC 9110, 6.6.1).
        const dated = yield* roundTrip(path, get("/"), ok)
        assert.strictEqual(lines(dated.got, "date").length, 1)
        assert.deepStrictEqual(lines(dated.got, "server"), [])
      })
  )
})
