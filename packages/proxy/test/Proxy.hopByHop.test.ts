import { assert, describe } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import * as Effect from "effect/Effect"
import { answer, both, get, lines, ok, raw, roundTrip } from "./utils/proxied.ts"

/** The request fields that the proxy itself adds. */
const own = ["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "via"]

/** What of the client's fields arrived, in their order. */
const relayed = (fields: ReadonlyArray<string>): ReadonlyArray<string> =>
  fields.filter((_, i) => !own.includes(fields[i - i % 2].toLowerCase()))

describe("Proxy, hop-by-hop request fields", () => {
  both("B1 what Connection nominates is not relayed", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, get("/", "Connection: close, X-Foo", "X-Foo: 1", "X-Bar: 2"))
      assert.deepStrictEqual(relayed(seen.fields), ["X-Bar", "2"])
    }))

  both("B2 two Connection lines nominate", (path) =>
    Effect.gen(function*() {
      const request = get("/", "Connection: X-Foo", "X-Foo: 1", "Connection: X-Bar", "X-Bar: 2", "X-Baz: 3")
      const { seen } = yield* roundTrip(path, request)
      assert.deepStrictEqual(relayed(seen.fields), ["X-Baz", "3"])
    }))

  both("B3 an empty first Connection line hides nothing", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, get("/", "Connection: ", "Connection: X-Foo", "X-Foo: 1"))
      assert.deepStrictEqual(relayed(seen.fields), [])
    }))

  both("B4 nominations have no case, and may have white space and empty members", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, get("/", "cOnNeCtIoN: , ,\t x-FOO ,,", "X-Foo: 1"))
      assert.deepStrictEqual(relayed(seen.fields), [])
    }))

  both("B5 what the proxy adds can't be nominated away", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.around("identity", (handler) => OutgoingFields.add(handler, "X-User", "ada"), {
        response: "none"
      })
      const names = "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via, X-User"
      const { seen } = yield* roundTrip(path, get("/", `Connection: ${names}`, "X-User: mallory"), ok, { stack })
      assert.deepStrictEqual(lines(seen, "x-user"), ["ada"])
      assert.deepStrictEqual(lines(seen, "x-forwarded-for"), ["127.0.0.1"])
      assert.deepStrictEqual(lines(seen, "x-forwarded-proto"), ["http"])
      assert.deepStrictEqual(lines(seen, "x-forwarded-host"), ["shop.test"])
      assert.deepStrictEqual(lines(seen, "via"), ["1.1 sluice"])
    }))

  both("B6 nominating end-to-end and framing fields breaks nothing", (path) =>
    Effect.gen(function*() {
      const names = "Host, Content-Length, Cookie, Authorization"
      const request = raw(
        "POST /",
        [`Connection: ${names}`, "Content-Length: 3", "Cookie: a=1", "Authorization: x"],
        "abc"
      )
      const { seen } = yield* roundTrip(path, request)
      assert.strictEqual(seen.text, "abc")
      assert.strictEqual(seen.get("content-length"), "3")
      assert.strictEqual(lines(seen, "host").length, 1)
      assert.strictEqual(seen.get("cookie"), "a=1")
      assert.strictEqual(seen.get("authorization"), "x")
    }))

  both("B6, B82 nominating Transfer-Encoding breaks nothing", (path) =>
    Effect.gen(function*() {
      const fields = ["Connection: Transfer-Encoding", "Transfer-Encoding: chunked"]
      const { seen } = yield* roundTrip(path, raw("POST /", fields, "3\r\nabc\r\n0\r\n\r\n"))
      assert.strictEqual(seen.framing, "Chunked")
      assert.strictEqual(seen.text, "abc")
    }))

  both("B7, B8, B9 Keep-Alive, Proxy-Connection and proxy credentials stay here", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(
        path,
        get(
          "/",
          "Keep-Alive: timeout=5",
          "Proxy-Connection: keep-alive",
          "Proxy-Authorization: Basic eDp5",
          "Proxy-Authenticate: Basic"
        )
      )
      assert.deepStrictEqual(relayed(seen.fields), [])
    }))

  both("B10 TE: gzip is removed", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, get("/", "Connection: TE", "TE: gzip"))
      assert.deepStrictEqual(relayed(seen.fields), [])
    }))

  both("B11 of TE only trailers goes on", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, get("/", "Connection: close, TE", "TE: foo", "TE: bar, trailers"))
      assert.deepStrictEqual(lines(seen, "te"), ["trailers"])
      assert.deepStrictEqual(lines(seen, "connection"), ["TE"])
    }))

  both("B12 an Upgrade that Connection does not nominate is an ordinary request", (path) =>
    Effect.gen(function*() {
      const { got, seen } = yield* roundTrip(path, get("/", "Upgrade: foo"))
      assert.deepStrictEqual(relayed(seen.fields), [])
      assert.strictEqual(got.status, 200)
    }))

  both("B13 fields about a connection are not relayed", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(
        path,
        get("/", "HTTP2-Settings: AAMAAABkAAQAAP__", "Alt-Svc: h2=\":1\"", "ALPN: h2", "Close: 1")
      )
      assert.deepStrictEqual(relayed(seen.fields), [])
    }))

  both("B14 a client's Connection: close leaves the upstream's connection open", (path) =>
    Effect.gen(function*() {
      const { client, connect, origin, upstream } = yield* roundTrip(path, get("/", "Connection: close"))
      assert.strictEqual((yield* client.ended).ending, "FIN")
      const second = yield* connect
      yield* second.send(get("/again"))
      assert.strictEqual((yield* origin.nextRequest).target, "/again")
      yield* origin.send(ok)
      assert.strictEqual((yield* second.response()).status, 200)
      assert.strictEqual(yield* upstream.accepted, 1)
    }))

  both("B15 no connection field of a client makes a 5xx", (path) =>
    Effect.gen(function*() {
      const fields = [
        "Keep-Alive: timeout=5, max=100",
        "Keep-Alive: nonsense;;",
        "Upgrade: foo",
        "Connection: foo",
        "Connection: keep-alive, close, ,",
        "Connection: \"quoted\"",
        "Expect: 100-continue"
      ]
      for (const field of fields) {
        const { got } = yield* Effect.scoped(roundTrip(path, get("/", field)))
        assert.strictEqual(got.status, 200, field)
      }
    }))

  both("B16 the request that handlers and observers see is as it came", (path) =>
    Effect.gen(function*() {
      const fields = ["Connection: X-Foo", "X-Foo: 1", "TE: gzip", "X-Forwarded-For: 1.2.3.4"]
      const { app } = yield* roundTrip(path, get("/", ...fields))
      const { requestFields } = yield* app.exchange(0)
      assert.deepStrictEqual(requestFields, ["Host", "shop.test", ...fields.flatMap((field) => field.split(": "))])
    }))
})

describe("Proxy, hop-by-hop response fields", () => {
  both(
    "B17, B18, B22 nominated, connection and framing fields of a response are not relayed",
    (path) =>
      Effect.gen(function*() {
        const fields = [
          "Connection: close, X-Hop",
          "X-Hop: 1",
          "Keep-Alive: timeout=99",
          "Proxy-Connection: close",
          "Transfer-Encoding: chunked",
          "X-End: 2"
        ]
        const { got } = yield* roundTrip(path, get("/"), answer("200 OK", fields, "2\r\nok\r\n0\r\n\r\n"))
        assert.strictEqual(got.text, "ok")
        assert.strictEqual(got.get("x-hop"), undefined)
        assert.strictEqual(got.get("x-end"), "2")
        assert.deepStrictEqual(lines(got, "transfer-encoding"), ["chunked"])
        assert.deepStrictEqual(lines(got, "connection"), ["keep-alive"])
        assert.deepStrictEqual(lines(got, "keep-alive"), ["timeout=5"])
      })
  )

  both("B21 an upstream's Connection: close leaves the client's connection open", (path) =>
    Effect.gen(function*() {
      const response = answer("200 OK", ["Connection: close", "Content-Length: 2"], "ok")
      const { client, origin, upstream } = yield* roundTrip(path, get("/"), response)
      assert.strictEqual((yield* origin.ended).ending, "FIN")
      yield* client.send(get("/again"))
      const second = yield* upstream.nextConnection
      yield* second.nextRequest
      yield* second.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
    }))
})
