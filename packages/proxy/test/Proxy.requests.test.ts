import { assert, describe } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Proxy from "../src/Proxy.ts"
import { answer, both, get, lines, ok, post, proxied, raw, roundTrip } from "./utils/proxied.ts"

const mebibyte = 1024 * 1024

describe("Proxy, request bodies", () => {
  both("B73 a body with Content-Length arrives byte for byte with the same length", (path) =>
    Effect.gen(function*() {
      const body = "a\0b\r\n\r\nc=1&d=%zz"
      const { seen } = yield* roundTrip(path, post("/", body))
      assert.strictEqual(seen.text, body)
      assert.strictEqual(seen.get("content-length"), String(body.length))
      assert.isUndefined(seen.get("transfer-encoding"))
    }))

  both("B74 a chunked body of a mebibyte arrives whole and chunked", (path) =>
    Effect.gen(function*() {
      const piece = "0123456789abcdef".repeat(4096)
      const chunk = `${piece.length.toString(16)}\r\n${piece}\r\n`
      const request = raw("POST /", ["Transfer-Encoding: chunked"], `${chunk.repeat(16)}0\r\n\r\n`)
      const { seen } = yield* roundTrip(path, request)
      assert.strictEqual(seen.framing, "Chunked")
      assert.strictEqual(seen.body.length, mebibyte)
      assert.strictEqual(seen.text, piece.repeat(16))
    }))

  both(
    "B75 the first bytes of a body reach the upstream before the client has sent the rest",
    (path) =>
      Effect.gen(function*() {
        const { client, origin } = yield* proxied(path)
        yield* client.send(raw("POST /", ["Content-Length: 10"], "first"))
        const upstream = yield* origin
        assert.include(yield* upstream.read("first"), "Content-Length: 10")
        yield* client.send("-rest")
        yield* upstream.read("-rest")
        yield* upstream.send(ok)
        assert.strictEqual((yield* client.response()).status, 200)
      })
  )

  for (const method of ["GET", "HEAD", "DELETE", "OPTIONS"]) {
    both(`B76 ${method} without a body gets no framing field`, (path) =>
      Effect.gen(function*() {
        const { seen } = yield* roundTrip(path, raw(`${method} /`))
        assert.strictEqual(seen.method, method)
        assert.isUndefined(seen.get("content-length"))
        assert.isUndefined(seen.get("transfer-encoding"))
      }))
  }

  both("B77 Content-Length: 0 stays", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, post("/", ""))
      assert.deepStrictEqual(lines(seen, "content-length"), ["0"])
    }))

  both("B78 GET with a body is forwarded with it", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, raw("GET /", ["Content-Length: 3"], "abc"))
      assert.strictEqual(seen.text, "abc")
      assert.deepStrictEqual(lines(seen, "content-length"), ["3"])
    }))

  both("B87 request trailers are not relayed", (path) =>
    Effect.gen(function*() {
      const body = "3\r\nabc\r\n0\r\nX-Trailer: 1\r\nAuthorization: forged\r\n\r\n"
      const request = raw("POST /", ["Transfer-Encoding: chunked", "Trailer: X-Trailer"], body)
      const { seen } = yield* roundTrip(path, request)
      assert.strictEqual(seen.text, "abc")
      assert.deepStrictEqual(seen.trailers, [])
      assert.isUndefined(seen.get("x-trailer"))
      assert.isUndefined(seen.get("authorization"))
      assert.isUndefined(seen.get("trailer"))
    }))

  both("B88 a method that is rewritten to GET has no body any more", (path) =>
    Effect.gen(function*() {
      const direct = () => Effect.succeed(Proxy.proceed({ method: "GET" }))
      const { seen } = yield* roundTrip(path, post("/", "a=1", "Content-Type: text/plain"), ok, { proxy: { direct } })
      assert.strictEqual(seen.method, "GET")
      assert.strictEqual(seen.text, "")
      for (const name of ["content-length", "transfer-encoding", "content-type"]) assert.isUndefined(seen.get(name))
    }))

  both(
    "B89 a Content-Length over the limit is refused before the upstream is contacted",
    (path) =>
      Effect.gen(function*() {
        const { app, client, upstream } = yield* proxied(path, { proxy: { maxRequestBody: 10 } })
        const response = yield* client.request(raw("POST /", ["Content-Length: 11"]))
        assert.strictEqual(response.status, 413)
        assert.strictEqual(response.get("connection"), "close")
        assert.strictEqual(yield* upstream.accepted, 0)
        yield* client.end
        assert.strictEqual((yield* app.exchange(0)).status, 413)
      })
  )

  both(
    "B90 a chunked body that grows over the limit is refused, and the upstream's request never completed",
    (path) =>
      Effect.gen(function*() {
        const { client, origin } = yield* proxied(path, { proxy: { maxRequestBody: 10 } })
        yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], "5\r\nabcde\r\n"))
        const upstream = yield* origin
        yield* upstream.read("abcde")
        yield* client.send("6\r\nfghijk\r\n")
        const response = yield* client.response()
        assert.strictEqual(response.status, 413)
        assert.strictEqual(response.get("connection"), "close")
        const { unread } = yield* upstream.ended
        assert.notInclude(unread, "0\r\n\r\n")
      })
  )

  both("B91 Content-Encoding is left alone", (path) =>
    Effect.gen(function*() {
      const response = answer("200 OK", ["Content-Encoding: gzip", "Content-Length: 3"], "\x1f\x8b\x08")
      const { got, seen } = yield* roundTrip(path, post("/", "\x1f\x8b", "Content-Encoding: gzip"), response)
      assert.strictEqual(seen.get("content-encoding"), "gzip")
      assert.strictEqual(got.get("content-encoding"), "gzip")
    }))
})

/**
 * What no server may pass on (RFC 9112, 11.2): each with the status it gets. A coding that is not understood is 501
 * (RFC 9112, 6.1), where Node's parser does not refuse it first.
 */
const smuggling: ReadonlyArray<
  readonly [name: string, status: 400 | 501, fields: ReadonlyArray<string>, body: string]
> = [
  ["B92 Content-Length and Transfer-Encoding", 400, ["Content-Length: 4", "Transfer-Encoding: chunked"], "0\r\n\r\n"],
  ["B93 Transfer-Encoding and Content-Length", 400, ["Transfer-Encoding: chunked", "Content-Length: 4"], "0\r\n\r\n"],
  ["B94 two different Content-Lengths", 400, ["Content-Length: 3", "Content-Length: 4"], "abcd"],
  ["B95 two equal Content-Lengths", 400, ["Content-Length: 3", "Content-Length: 3"], "abc"],
  ["B96 a list of Content-Lengths", 400, ["Content-Length: 3, 3"], "abc"],
  ...["+3", "-1", "0x3", "3 3", "", "99999999999999999999"].map((length) =>
    [`B97 Content-Length: ${length}`, 400, [`Content-Length: ${length}`], "abc"] as const
  ),
  ["B98 Content-Length: 03", 400, ["Content-Length: 03"], "abc"],
  ...["xchunked", "identity"].map((coding) =>
    [`B99 Transfer-Encoding: ${coding}`, 501, [`Transfer-Encoding: ${coding}`], "0\r\n\r\n"] as const
  ),
  ...["chunked, gzip", "chunked, chunked", "\x0bchunked", ""].map((coding) =>
    [`B99 Transfer-Encoding: ${JSON.stringify(coding)}`, 400, [`Transfer-Encoding: ${coding}`], "0\r\n\r\n"] as const
  ),
  ["B100 Transfer-Encoding: gzip, chunked", 501, ["Transfer-Encoding: gzip, chunked"], "0\r\n\r\n"]
]

describe("Proxy, request methods", () => {
  both(
    "the method is the one that a middleware has put in place of the client's",
    (path) =>
      Effect.gen(function*() {
        const stack = Middleware.around<never, HttpServerRequest.HttpServerRequest>("delete", (handler) =>
          Effect.updateService(handler, HttpServerRequest.HttpServerRequest, (request) =>
            request.method === "POST"
              ? Object.defineProperty(request.modify({}), "method", { value: "DELETE" })
              : request), {
          response: "none"
        })
        for (const [sent, expected] of [["POST", "DELETE"], ["PUT", "PUT"]] as const) {
          const { seen } = yield* Effect.scoped(
            roundTrip(path, raw(`${sent} /`, ["Content-Length: 2"], "hi"), ok, { stack })
          )
          assert.strictEqual(`${seen.method} ${seen.text}`, `${expected} hi`)
        }
      })
  )
})

describe("Proxy, what never reaches an upstream", () => {
  for (const [name, status, fields, body] of smuggling) {
    both(`${name} is ${status}, and the connection closes`, (path) =>
      Effect.gen(function*() {
        const { client, upstream } = yield* proxied(path)
        yield* client.send(raw("POST /", fields, body) + get("/smuggled"))
        const response = yield* client.response()
        assert.strictEqual(response.status, status)
        assert.strictEqual(response.get("connection"), "close")
        assert.strictEqual((yield* client.ended).unread, "")
        assert.strictEqual(yield* upstream.accepted, 0)
      }))
  }
})
