/** What goes on to an upstream, and what does not. */
import { assert, describe, it } from "@effect/vitest"
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Middleware from "@sluice/core/Middleware"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import * as Route from "@sluice/core/Route"
import { App, RawServer } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpTraceContext from "effect/http/HttpTraceContext"
import * as Option from "effect/Option"
import * as Proxy from "../src/Proxy.ts"
import { answer, both, get, lines, ok, Origin, post, proxied, raw, roundTrip } from "./utils/proxied.ts"

const chunked = (...chunks: ReadonlyArray<string>): string =>
  chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("") + "0\r\n"

describe("Proxy, Max-Forwards", () => {
  both("B41 OPTIONS with Max-Forwards: 0 is answered here", (path) =>
    Effect.gen(function*() {
      const { client, upstream } = yield* proxied(path)
      for (const target of ["/", "*"]) {
        const got = yield* client.request(raw(`OPTIONS ${target}`, ["Max-Forwards: 0"]))
        assert.strictEqual(got.status, 204)
        assert.isUndefined(got.get("content-length"))
      }
      assert.strictEqual(yield* upstream.accepted, 0)
    }))

  for (
    const [method, value, sent] of [
      ["OPTIONS", "1", "0"],
      ["OPTIONS", "70", "69"],
      ["OPTIONS", "x", "x"],
      ["GET", "0", "0"]
    ] as const
  ) {
    both(`B41 ${method} with Max-Forwards: ${value} goes on with ${sent}`, (path) =>
      Effect.gen(function*() {
        const { seen } = yield* roundTrip(path, raw(`${method} /`, [`Max-Forwards: ${value}`]))
        assert.deepStrictEqual(lines(seen, "max-forwards"), [sent])
      }))
  }

  both("B41 direct may answer what ends here itself", (path) =>
    Effect.gen(function*() {
      const direct = () => Effect.succeed(Proxy.respond(HttpServerResponse.empty({ status: 200 })))
      const { client } = yield* proxied(path, { proxy: { direct } })
      assert.strictEqual((yield* client.request(raw("OPTIONS /", ["Max-Forwards: 0"]))).status, 200)
    }))
})

describe("Proxy, clean queries", () => {
  const many = Array.from({ length: 10_001 }, () => "a").join("&")
  const rows = [
    ["?a=1&a=2;b=3", "?a=1"],
    ["?a=1&a=%zz&b=3", "?a=1&b=3"],
    ["?a=%zz", ""],
    ["?a=%2", ""],
    ["?&a=+%2F&&b", "?a=+%2F&b"],
    ["?", ""],
    ["", ""]
  ] as const
  for (const [asked, sent] of rows) {
    both(
      `B54 ${asked || "no query"} is ${sent || "no query"} when it is cleaned, and stays otherwise`,
      (path) =>
        Effect.gen(function*() {
          const proxy = { query: "clean" } as const
          const cleaned = yield* Effect.scoped(roundTrip(path, get(`/x${asked}`), ok, { proxy }))
          assert.strictEqual(cleaned.seen.target, `/x${sent}`)
          assert.strictEqual((yield* roundTrip(path, get(`/x${asked}`))).seen.target, `/x${asked}`)
        })
    )
  }

  both("B54 more than 10 000 parameters are none", (path) =>
    Effect.gen(function*() {
      const setup = {
        proxy: { query: "clean" },
        listen: { node: { limits: { targetLength: 65_536, headBytes: 65_536 } } }
      } as const
      assert.strictEqual((yield* Effect.scoped(roundTrip(path, get(`/?${many}`), ok, setup))).seen.target, "/")
      const { seen } = yield* roundTrip(path, get(`/?${many.slice(2)}`), ok, setup)
      assert.strictEqual(seen.target, `/?${many.slice(2)}`)
    }))

  both("B54 what direct sets is not cleaned, and direct sees what the client sent", (path) =>
    Effect.gen(function*() {
      const direct = ({ query }: { readonly query: string }) =>
        Effect.succeed(Proxy.proceed({ query: `${query};ours` }))
      const { seen } = yield* roundTrip(path, get("/?a;b"), ok, { proxy: { query: "clean", direct } })
      assert.strictEqual(seen.target, "/?a;b;ours")
    }))
})

describe("Proxy, request trailers", () => {
  const request = (trailers: ReadonlyArray<string>, ...fields: ReadonlyArray<string>): string =>
    raw("POST /", ["Transfer-Encoding: chunked", ...fields], `${chunked("abc")}${trailers.join("\r\n")}\r\n\r\n`)

  both("B201 no trailer field is relayed, nor announced, nor merged into the head", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, request(["X-Checksum: 1"], "Trailer: X-Checksum"))
      assert.deepStrictEqual(seen.trailers, [])
      assert.isUndefined(seen.get("trailer"))
      assert.isUndefined(seen.get("x-checksum"))
    }))

  both(
    "B87, B201 those on the list are relayed, with what the client announced of them",
    (path) =>
      Effect.gen(function*() {
        const proxy = { requestTrailers: ["x-checksum", "Server-Timing"] }
        const trailers = ["X-Checksum: a", "X-Other: 1", "X-CHECKSUM: b", "server-timing: c"]
        const { seen } = yield* roundTrip(path, request(trailers, "Trailer: X-Checksum, X-Other"), ok, { proxy })
        assert.strictEqual(seen.text, "abc")
        assert.deepStrictEqual(seen.trailers, ["X-Checksum", "a", "X-CHECKSUM", "b", "server-timing", "c"])
        assert.deepStrictEqual(lines(seen, "trailer"), ["x-checksum"])
      })
  )

  both("B201 trailers follow a body that is held against a limit as well", (path) =>
    Effect.gen(function*() {
      const proxy = { requestTrailers: ["x-checksum"], maxRequestBody: 3 }
      const { seen } = yield* roundTrip(path, request(["X-Checksum: a"]), ok, { proxy })
      assert.deepStrictEqual(seen.trailers, ["X-Checksum", "a"])
      assert.isUndefined(seen.get("trailer"))
    }))

  both(
    "B201 what Connection nominates, or the proxy sets itself, is not taken from trailers",
    (path) =>
      Effect.gen(function*() {
        const stack = Middleware.around("id", (handler) => OutgoingFields.add(handler, "X-Request-Id", "ours"), {
          response: "none"
        })
        const direct = () => Effect.succeed(Proxy.proceed({ set: { "x-tenant": "acme" }, remove: ["x-gone"] }))
        const proxy = { requestTrailers: ["x-request-id", "x-tenant", "x-gone", "x-hop", "x-kept"], direct }
        const trailers = ["X-Request-Id: forged", "X-Tenant: forged", "X-Gone: 1", "X-Hop: 1", "X-Kept: 1"]
        const fields = ["Connection: x-hop", "Trailer: x-request-id, x-tenant, x-gone, x-hop, x-kept"]
        const { seen } = yield* roundTrip(path, request(trailers, ...fields), ok, { proxy, stack })
        assert.deepStrictEqual(seen.trailers, ["X-Kept", "1"])
        assert.deepStrictEqual(lines(seen, "trailer"), ["x-kept"])
        assert.deepStrictEqual(lines(seen, "x-request-id"), ["ours"])
      })
  )

  both("B201 a body with a length has nothing behind it", (path) =>
    Effect.gen(function*() {
      const proxy = { requestTrailers: ["x-checksum"] }
      const { seen } = yield* roundTrip(path, post("/", "abc", "Trailer: X-Checksum"), ok, { proxy })
      assert.strictEqual(seen.framing, "Length")
      assert.isUndefined(seen.get("trailer"))
    }))

  it("B87, B201 names that frame, route, authenticate or modify a request are refused", () => {
    const names = [
      "Content-Length",
      "transfer-encoding",
      "Trailer",
      "TE",
      "Host",
      "Connection",
      "Authorization",
      "Cookie",
      "Proxy-Authorization",
      "If-Match",
      "Content-Type",
      "Cache-Control",
      "X-Forwarded-For",
      "Forwarded",
      "content_length",
      "no name",
      ""
    ]
    for (const name of names) {
      assert.throws(() => Proxy.forward(Origin, { requestTrailers: ["x-ok", name] }), TypeError, "requestTrailers")
    }
    assert.throws(
      () => Proxy.forward(Origin, { requestTrailers: ["x-ok"], bufferRequestBody: 1 }),
      TypeError,
      "bufferRequestBody"
    )
  })
})

describe("Proxy, request bodies that are read first", () => {
  const proxy = { bufferRequestBody: 8 }

  both("B230 a chunked body is sent with its length, once it is there", (path) =>
    Effect.gen(function*() {
      const { client, origin, upstream } = yield* proxied(path, { proxy })
      yield* client.send(raw("POST /", ["Transfer-Encoding: chunked", "Expect: 100-continue"]))
      // That the proxy asks for the body says that it has begun to read.
      assert.include(yield* client.read("\r\n\r\n"), "100 Continue")
      yield* client.send("3\r\nabc\r\n")
      assert.strictEqual(yield* upstream.accepted, 0)
      yield* client.send("5\r\ndefgh\r\n0\r\n\r\n")
      const connection = yield* origin
      const seen = yield* connection.nextRequest
      assert.deepStrictEqual(lines(seen, "content-length"), ["8"])
      assert.isUndefined(seen.get("transfer-encoding"))
      assert.isUndefined(seen.get("expect"))
      assert.strictEqual(seen.text, "abcdefgh")
      yield* connection.send(ok)
      assert.strictEqual((yield* client.response()).status, 200)
    }))

  both("B230 a body with a length, an empty one and none keep their framing", (path) =>
    Effect.gen(function*() {
      const sized = yield* Effect.scoped(roundTrip(path, post("/", "12345678"), ok, { proxy }))
      assert.strictEqual(sized.seen.text, "12345678")
      const empty = raw("POST /", ["Transfer-Encoding: chunked"], "0\r\n\r\n")
      assert.deepStrictEqual(
        lines((yield* Effect.scoped(roundTrip(path, empty, ok, { proxy }))).seen, "content-length"),
        ["0"]
      )
      const none = yield* roundTrip(path, get("/"), ok, { proxy })
      assert.isUndefined(none.seen.get("content-length"))
    }))

  both("B230 over the cap is 413, and the upstream is not contacted", (path) =>
    Effect.gen(function*() {
      const requests = [
        raw("POST /", ["Content-Length: 9", "Expect: 100-continue"]),
        raw("POST /", ["Transfer-Encoding: chunked"], "5\r\nabcde\r\n4\r\nfghi\r\n")
      ]
      for (const request of requests) {
        const { app, client, upstream } = yield* proxied(path, { proxy })
        yield* client.send(request)
        const got = yield* client.response()
        assert.strictEqual(got.status, 413)
        assert.deepStrictEqual(got.informational, [])
        assert.strictEqual(got.get("connection"), "close")
        yield* client.end
        assert.include(String((yield* app.exchange(0)).cause), "RequestBodyTooLarge")
        assert.strictEqual(yield* upstream.accepted, 0)
      }
    }))

  both("B230 a client that leaves while its body is read reaches no upstream", (path) =>
    Effect.gen(function*() {
      const { app, client, upstream } = yield* proxied(path, { proxy })
      yield* client.send(raw("POST /", ["Content-Length: 5", "Expect: 100-continue"]))
      yield* client.read("100 Continue\r\n\r\n")
      yield* client.reset
      assert.deepInclude((yield* app.exchange(0)).outcome, { _tag: "ClientAborted" })
      assert.strictEqual(yield* upstream.accepted, 0)
    }))

  both(
    "B230 a body that was read first can be sent again when its connection was stale",
    (path) =>
      Effect.gen(function*() {
        const { client, origin: stale, upstream } = yield* roundTrip(path, get("/"), ok, { proxy })
        yield* client.send(raw("PUT /", ["Transfer-Encoding: chunked"], `${chunked("abc", "def")}\r\n`))
        assert.strictEqual((yield* stale.nextRequest).text, "abcdef")
        yield* stale.reset
        const fresh = yield* upstream.nextConnection
        const seen = yield* fresh.nextRequest
        assert.strictEqual(`${seen.method} ${seen.text}`, "PUT abcdef")
        yield* fresh.send(ok)
        assert.strictEqual((yield* client.response()).status, 200)
      })
  )

  it.effect("B230 a body that came without a socket is read as well", () =>
    Effect.gen(function*() {
      const app = yield* App.make(Route.all("/*", Proxy.forward(Origin, { bufferRequestBody: 4 })))
      assert.strictEqual(yield* app.text("/", { method: "POST", body: "abcd" }), "abcd")
      assert.strictEqual((yield* app.fetch("/", { method: "POST", body: "abcde" })).status, 413)
    }).pipe(
      Effect.scoped,
      Effect.provide(Origin.layerMock(({ text }) => Effect.map(text, (text) => HttpServerResponse.text(text))))
    ))

  both(
    "B230 its size is a whole number of bytes",
    () =>
      Effect.sync(() =>
        assert.throws(() => Proxy.forward(Origin, { bufferRequestBody: -1 }), RangeError, "bufferRequestBody")
      )
  )

  both("B84 no hook can say another length than the body has", (path) =>
    Effect.gen(function*() {
      const direct = () =>
        Effect.succeed(Proxy.proceed({ set: { "content-length": "99", "transfer-encoding": "gzip" } }))
      const { seen } = yield* roundTrip(path, post("/", "abc"), ok, { proxy: { direct } })
      assert.deepStrictEqual(lines(seen, "content-length"), ["3"])
      assert.isUndefined(seen.get("transfer-encoding"))
    }))
})

describe("Proxy, fields with a meaning for proxies", () => {
  both("B44 Early-Data goes on, and 425 comes back", (path) =>
    Effect.gen(function*() {
      const tooEarly = answer("425 Too Early", ["Content-Length: 0"])
      const { got, seen } = yield* roundTrip(path, get("/", "Early-Data: 1"), tooEarly)
      assert.deepStrictEqual(lines(seen, "early-data"), ["1"])
      assert.strictEqual(got.status, 425)
      assert.strictEqual(got.reason, "Too Early")
    }))

  const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

  both("B45 the trace context goes on as it is", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(
        path,
        get("/", `traceparent: ${trace}`, "tracestate: a=1,b=2", "tracestate: c=3")
      )
      assert.deepStrictEqual(lines(seen, "traceparent"), [trace])
      assert.deepStrictEqual(lines(seen, "tracestate"), ["a=1,b=2", "c=3"])
      const none = yield* roundTrip(path, get("/"))
      assert.isUndefined(none.seen.get("traceparent"))
    }))

  both("B45 a middleware that traces names its own span instead", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.around<never, HttpServerRequest>("trace", (handler) =>
        Effect.flatMap(Exchange.current, ({ requestFields }) =>
          Effect.useSpan(
            "proxy",
            { parent: Option.getOrThrow(HttpTraceContext.w3c(Fields.toHeaders(requestFields))) },
            (span) =>
              OutgoingFields.add(handler, "traceparent", HttpTraceContext.toHeaders(span).traceparent)
          )), { response: "none" })
      const { seen } = yield* roundTrip(path, get("/", `traceparent: ${trace}`), ok, { stack })
      const [sent, ...more] = lines(seen, "traceparent")
      assert.deepStrictEqual(more, [])
      assert.match(sent, /^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/)
    }))

  both("B46 a redirect is relayed and not followed: credentials go nowhere else", (path) =>
    Effect.gen(function*() {
      const elsewhere = yield* RawServer.make(() => Effect.void)
      const response = answer("302 Found", [`Location: ${elsewhere.url}/login`, "Content-Length: 0"])
      const { got, upstream } = yield* roundTrip(path, get("/", "Authorization: Basic eA==", "Cookie: a=1"), response)
      assert.strictEqual(got.status, 302)
      assert.strictEqual(got.get("location"), `${elsewhere.url}/login`)
      assert.strictEqual(yield* elsewhere.accepted, 0)
      assert.strictEqual(yield* upstream.accepted, 1)
    }))
})

describe("Proxy, when bytes are relayed", () => {
  /** One chunk, which must arrive while the response goes on. */
  const first = Effect.fnUntraced(function*(
    path: "direct" | "value",
    request: string,
    fields: ReadonlyArray<string>
  ) {
    const { client, origin } = yield* proxied(path)
    yield* client.send(request)
    const connection = yield* origin
    const seen = yield* connection.nextRequest
    yield* connection.send(answer("200 OK", ["Transfer-Encoding: chunked", ...fields]))
    const head = yield* client.responseHead
    yield* connection.send("8\r\ndata: 1\n\r\n")
    yield* client.read("data: 1\n")
    yield* connection.send("0\r\n\r\n")
    yield* client.read("0\r\n\r\n")
    return { head, seen }
  })

  both(
    "B229 what asks for no buffering gets none, and is relayed to those who may buffer",
    (path) =>
      Effect.gen(function*() {
        const accel = yield* Effect.scoped(first(path, get("/"), ["X-Accel-Buffering: no"]))
        assert.strictEqual(accel.head.get("x-accel-buffering"), "no")
        const incremental = yield* first(path, get("/", "Incremental: ?1"), ["Incremental: ?1"])
        assert.strictEqual(incremental.seen.get("incremental"), "?1")
        assert.strictEqual(incremental.head.get("incremental"), "?1")
      })
  )

  both("B229 a request body that asks for no buffering is sent on as it comes", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(raw("POST /", ["Transfer-Encoding: chunked", "Incremental: ?1"], "3\r\nabc\r\n"))
      const connection = yield* origin
      assert.strictEqual((yield* connection.nextRequestHead).get("incremental"), "?1")
      yield* connection.read("abc")
      yield* client.send("0\r\n\r\n")
      yield* connection.read("0\r\n\r\n")
      yield* connection.send(ok)
      assert.strictEqual((yield* client.response()).status, 200)
    }))

  both(
    "B233 events are neither compressed nor held back for a client that takes gzip",
    (path) =>
      Effect.gen(function*() {
        const { head, seen } = yield* first(path, get("/", "Accept-Encoding: gzip, br"), [
          "Content-Type: text/event-stream"
        ])
        assert.strictEqual(seen.get("accept-encoding"), "gzip, br")
        assert.isUndefined(head.get("content-encoding"))
      })
  )

  both("B233 events that the upstream has compressed pass as they are", (path) =>
    Effect.gen(function*() {
      const { head } = yield* first(path, get("/", "Accept-Encoding: gzip"), [
        "Content-Type: text/event-stream",
        "Content-Encoding: gzip"
      ])
      assert.strictEqual(head.get("content-encoding"), "gzip")
    }))
})
