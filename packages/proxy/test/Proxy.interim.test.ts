import { assert, describe } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as TestClock from "effect/testing/TestClock"
import { answer, both, get, lines, ok, proxied, raw, roundTrip } from "./utils/proxied.ts"

const early = (...fields: ReadonlyArray<string>): string => answer("103 Early Hints", fields)

const chunked = (trailers: ReadonlyArray<string>, body = "2\r\nok\r\n", ...fields: ReadonlyArray<string>): string =>
  answer(
    "200 OK",
    ["Transfer-Encoding: chunked", ...fields],
    `${body}0\r\n${trailers.map((t) => `${t}\r\n`).join("")}\r\n`
  )

describe("Proxy, interim responses", () => {
  both(
    "B183 each 1xx goes to the client with its own fields, and the final response with its own",
    (path) =>
      Effect.gen(function*() {
        const response = early("Link: </a>; rel=preload", "Link: </b>; rel=preload", "Connection: X-Hop", "X-Hop: 1")
          + answer("102 Processing", ["Link: </c>", "Link: </d>", "Link: </e>"])
          + answer("200 OK", ["Link: </f>", "Content-Length: 2"], "ok")
        const { got } = yield* roundTrip(path, get("/"), response)
        assert.deepStrictEqual(got.informational, [
          { status: 103, fields: ["Link", "</a>; rel=preload", "Link", "</b>; rel=preload"] },
          { status: 102, fields: ["Link", "</c>", "Link", "</d>", "Link", "</e>"] }
        ])
        assert.strictEqual(got.status, 200)
        assert.deepStrictEqual(lines(got, "link"), ["</f>"])
      })
  )

  both("B183 a length in a 1xx is not relayed: there is no content", (path) =>
    Effect.gen(function*() {
      const { got } = yield* roundTrip(path, get("/"), early("Link: </a>", "Content-Length: 5") + ok)
      assert.deepStrictEqual(got.informational, [{ status: 103, fields: ["Link", "</a>"] }])
      assert.strictEqual(got.text, "ok")
    }))

  both("B137 an unsolicited 100 is not relayed", (path) =>
    Effect.gen(function*() {
      const { got } = yield* roundTrip(path, get("/"), answer("100 Continue") + ok)
      assert.deepStrictEqual(got.informational, [])
      assert.strictEqual(got.text, "ok")
    }))

  both("B147 a client of HTTP/1.0 gets no 1xx", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send("GET / HTTP/1.0\r\n\r\n")
      const upstream = yield* origin
      yield* upstream.nextRequest
      yield* upstream.send(early("Link: </a>") + ok)
      const got = yield* client.response()
      assert.deepStrictEqual(got.informational, [])
      assert.strictEqual(got.text, "ok")
    }))

  both("B192 an upstream that breaks off after a 103 is a 502", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(get("/"))
      const upstream = yield* origin
      yield* upstream.nextRequest
      yield* upstream.send(early("Link: </a>"))
      yield* client.read("103 Early Hints")
      yield* upstream.reset
      yield* client.read("\r\n\r\n")
      assert.strictEqual((yield* client.response()).status, 502)
    }))
})

const expecting = raw("POST /", ["Content-Length: 3", "Expect: 100-continue"])

describe("Proxy, Expect: 100-continue", () => {
  both(
    "B185, B186 the client's 100 is the upstream's, and only then is the body sent",
    (path) =>
      Effect.gen(function*() {
        const { client, origin } = yield* proxied(path)
        yield* client.send(expecting)
        const upstream = yield* origin
        const head = yield* upstream.nextRequestHead
        assert.deepStrictEqual(lines(head, "expect"), ["100-continue"])
        assert.strictEqual(client.socket.bytesRead, 0)
        yield* upstream.send(answer("100 Continue"))
        yield* client.read("HTTP/1.1 100 Continue\r\n\r\n")
        yield* client.send("abc")
        yield* upstream.read("abc")
        yield* upstream.send(ok)
        const got = yield* client.response()
        assert.deepStrictEqual([got.status, got.text, got.informational.length], [200, "ok", 0])
      })
  )

  both(
    "B187 a refusal without a 100 is all that the client gets, and its body is not asked for",
    (path) =>
      Effect.gen(function*() {
        const { client, origin } = yield* proxied(path)
        yield* client.send(expecting)
        const upstream = yield* origin
        yield* upstream.nextRequestHead
        yield* upstream.send(answer("401 Unauthorized", ["Content-Length: 2"], "no"))
        const got = yield* client.response()
        assert.deepStrictEqual([got.status, got.text, got.informational.length], [401, "no", 0])
        assert.strictEqual(got.get("connection"), "close")
        assert.strictEqual((yield* upstream.ended).unread, "")
      })
  )

  both("B186 so it is under a limit for the body", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path, { proxy: { maxRequestBody: 10 } })
      yield* client.send(raw("POST /", ["Transfer-Encoding: chunked", "Expect: 100-continue"]))
      const upstream = yield* origin
      yield* upstream.nextRequestHead
      assert.strictEqual(client.socket.bytesRead, 0)
      yield* upstream.send(answer("100 Continue"))
      yield* client.read("100 Continue\r\n\r\n")
      yield* client.send("3\r\nabc\r\n0\r\n\r\n")
      yield* upstream.read("abc")
      yield* upstream.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
    }))

  both("B188 an upstream that ignores the expectation gets the body after the clock", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(expecting)
      const upstream = yield* origin
      yield* upstream.nextRequestHead
      yield* TestClock.adjust("1 second")
      yield* client.read("100 Continue\r\n\r\n")
      yield* client.send("abc")
      yield* upstream.read("abc")
      yield* upstream.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
    }))

  both("B189 an expectation over HTTP/1.0 is ignored", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(`${expecting.replace("HTTP/1.1", "HTTP/1.0")}abc`)
      const upstream = yield* origin
      const seen = yield* upstream.nextRequest
      assert.strictEqual(seen.get("expect"), undefined)
      assert.strictEqual(seen.text, "abc")
      yield* upstream.send(ok)
      assert.include((yield* client.ended).unread, "200 OK")
    }))

  both("B193 a 100 to a HEAD with a body, and the end of its response is known", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(expecting.replace("POST", "HEAD"))
      const upstream = yield* origin
      assert.strictEqual((yield* upstream.nextRequestHead).get("expect"), "100-continue")
      yield* upstream.send(answer("100 Continue"))
      yield* client.read("HTTP/1.1 100 Continue\r\n\r\n")
      yield* client.send("abc")
      yield* upstream.read("abc")
      yield* upstream.send(answer("200 OK", ["Content-Length: 5"]))
      const got = yield* client.response({ toHead: true })
      assert.deepStrictEqual([got.status, got.get("content-length")], [200, "5"])
      yield* client.send(get("/next"))
      assert.strictEqual((yield* upstream.nextRequest).target, "/next")
      yield* upstream.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
    }))

  both("B193 a 100 to a HEAD that expects none is not relayed", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(raw("HEAD /"))
      const upstream = yield* origin
      yield* upstream.nextRequest
      yield* upstream.send(answer("100 Continue") + answer("200 OK", ["Content-Length: 5"]))
      const got = yield* client.response({ toHead: true })
      assert.deepStrictEqual([got.status, got.informational.length], [200, 0])
    }))

  both(
    "B190 an expectation that is not known is 417, and the upstream is not contacted",
    (path) =>
      Effect.gen(function*() {
        const { client, upstream } = yield* proxied(path)
        const got = yield* client.request(raw("POST /", ["Content-Length: 3", "Expect: 200-ok"], "abc"))
        assert.strictEqual(got.status, 417)
        assert.strictEqual(yield* upstream.accepted, 0)
      })
  )
})

describe("Proxy, response trailers", () => {
  both("B194 announced trailers are delivered, and announced", (path) =>
    Effect.gen(function*() {
      const response = chunked(["X-Sum: 1", "X-Sum: 2"], "2\r\nok\r\n", "Trailer: X-Sum")
      const { got } = yield* roundTrip(path, get("/", "TE: trailers"), response)
      assert.strictEqual(got.text, "ok")
      assert.deepStrictEqual(lines(got, "trailer"), ["X-Sum"])
      assert.deepStrictEqual(got.trailers, ["X-Sum", "1", "X-Sum", "2"])
    }))

  both("B195 so are those that were not announced", (path) =>
    Effect.gen(function*() {
      const { got } = yield* roundTrip(path, get("/", "TE: trailers"), chunked(["X-Sum: 1"]))
      assert.deepStrictEqual(got.trailers, ["X-Sum", "1"])
    }))

  both("B196 also behind an empty body", (path) =>
    Effect.gen(function*() {
      const { got } = yield* roundTrip(path, get("/", "TE: trailers"), chunked(["X-Sum: 1"], ""))
      assert.strictEqual(got.text, "")
      assert.deepStrictEqual(got.trailers, ["X-Sum", "1"])
    }))

  both("B198 framing and connection fields are no trailers", (path) =>
    Effect.gen(function*() {
      const response = chunked(["Content-Length: 9", "Transfer-Encoding: gzip", "Connection: close", "X-Sum: 1"])
      const { got } = yield* roundTrip(path, get("/", "TE: trailers"), response)
      assert.deepStrictEqual(got.trailers, ["X-Sum", "1"])
    }))

  both("B199 a client that does not ask for trailers gets none", (path) =>
    Effect.gen(function*() {
      const { got } = yield* roundTrip(path, get("/"), chunked(["X-Sum: 1"], "2\r\nok\r\n", "Trailer: X-Sum"))
      assert.strictEqual(got.text, "ok")
      assert.isUndefined(got.get("trailer"))
      assert.deepStrictEqual(got.trailers, [])
    }))

  both("B200 a response that was given a length has no trailers any more", (path) =>
    Effect.gen(function*() {
      const fixed = Middleware.around("fixed", (handler) =>
        Effect.map(handler, HttpServerResponse.setBody(HttpServerResponse.text("other").body)))
      const response = chunked(["X-Sum: 1"], "2\r\nok\r\n", "Trailer: X-Sum")
      const { got } = yield* roundTrip(path, get("/", "TE: trailers"), response, { stack: fixed })
      assert.strictEqual(got.text, "other")
      assert.isUndefined(got.get("trailer"))
      assert.deepStrictEqual(got.trailers, [])
    }))
})
