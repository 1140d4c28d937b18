import { assert, describe, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import * as Reporter from "@sluice/core/Reporter"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as ByteSize from "effect/ByteSize"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import * as AccessLog from "../src/AccessLog.ts"
import * as Reporting from "../src/Reporting.ts"
import * as RequestId from "../src/RequestId.ts"
import * as Timeout from "../src/Timeout.ts"
import { logs, raw, refused, reports, send, settled, start } from "./kit.ts"

const version7 = /^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/

const echo = Effect.map(RequestId.RequestId, (id) => HttpServerResponse.text(id))

const answer = (server: Server.Server["Service"], id: string) =>
  Effect.map(send(server, "/", { headers: { "x-request-id": id } }), ({ body }) => body)

/** A client that answers every call with nothing and keeps the ids that it was given. */
const makeClient = () => {
  const ids: Array<string | undefined> = []
  const client = HttpClient.make((request) =>
    Effect.sync(() => {
      ids.push(request.headers["x-request-id"])
      return HttpClientResponse.fromWeb(request, new Response())
    })
  )
  return { ids, client: OutgoingFields.withClient(client) }
}

describe("RequestId", () => {
  it.effect("C49 one id in service, header, log, access log, report and outgoing call", () => {
    const { layer, lines } = logs()
    const outgoing = makeClient()
    const edge = Middleware.stack(AccessLog.make(), Reporting.make(), RequestId.make())
    const handler = Effect.gen(function*() {
      yield* Effect.log("handling")
      yield* Effect.orDie(outgoing.client.get("http://stock.test/"))
      return HttpServerResponse.text(yield* RequestId.RequestId, { status: 500 })
    })
    return Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.below(edge).get("/", handler), { edge }))
      const { body, headers } = yield* send(server)
      yield* settled(server)
      assert.match(body, version7)
      assert.strictEqual(headers.get("x-request-id"), body)
      assert.deepStrictEqual(outgoing.ids, [body])
      assert.deepStrictEqual(lines.map((line) => [line.message, line.annotations["request.id"]]), [
        ["handling", body],
        ["GET / 500", body]
      ])
      assert.deepStrictEqual((yield* reports).map((report) => report.requestId), [body])
    }).pipe(Effect.provide([layer, Reporter.layerMemory]))
  })

  it.effect("C49 the access log has the id whatever the order", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const route = Route.get("/", Middleware.stack(RequestId.make(), AccessLog.make()), echo)
      const server = yield* start(Server.layer(route))
      const { body } = yield* send(server)
      yield* settled(server)
      assert.deepStrictEqual(lines.map((line) => line.annotations["request.id"]), [body])
    }).pipe(Effect.provide(layer))
  })

  it.effect("C50 keeps a well-formed id of a trusted peer", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", RequestId.make(), echo)))
      assert.strictEqual(yield* answer(server, "abc-1"), "abc-1")
      assert.strictEqual(yield* answer(server, "A_b.c=9-".repeat(16)), "A_b.c=9-".repeat(16))
    }).pipe(Effect.provide(TrustedPeers.layer(TrustedPeers.networks(["loopback"])))))

  it.effect("C50 replaces the id of a peer that nobody trusts", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", RequestId.make(), echo)))
      assert.match(yield* answer(server, "abc-1"), version7)
    }))

  it.effect("C50 replaces an id that is too long, malformed or sent twice, also of a trusted peer", () =>
    Effect.gen(function*() {
      const trust = TrustedPeers.networks(["loopback"])
      const server = yield* start(Server.layer(Route.get("/", RequestId.make({ trust }), echo)))
      for (const id of ["x".repeat(129), "a b", "a<b", "a\tb", "", "ümlaut"]) {
        assert.match(yield* answer(server, id), version7)
      }
      const twice = yield* raw(
        server,
        "GET / HTTP/1.1\r\nhost: a\r\nx-request-id: a\r\nx-request-id: b\r\nconnection: close\r\n\r\n"
      )
      assert.match(twice, /\r\nx-request-id: [\da-f-]{36}\r\n/)
      const smuggled = yield* raw(
        server,
        "GET / HTTP/1.1\r\nhost: a\r\nx-request-id: a\r\n b\r\nconnection: close\r\n\r\n"
      )
      assert.notInclude(smuggled, "x-request-id: a")
    }))

  it.effect("trusts by a predicate of the exchange", () =>
    Effect.gen(function*() {
      const trust = RequestId.make({ trust: (exchange) => exchange.path === "/inner" })
      const server = yield* start(Server.layer(Route.get("/*", trust, echo)))
      const headers = { "x-request-id": "abc-1" }
      assert.strictEqual((yield* send(server, "/inner", { headers })).body, "abc-1")
      assert.match((yield* send(server, "/outer", { headers })).body, version7)
    }))

  it.effect("C51 errors, defects, 404, 405 and timeouts carry the id", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const routes = Layer.mergeAll(
        Route.get("/fail", Effect.fail(new Route.NotFound({}))),
        Route.get("/die", Effect.die(new Error("boom"))),
        Route.get(
          "/slow",
          Timeout.make("1 second"),
          Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)
        ),
        Route.get("/own", Effect.succeed(HttpServerResponse.empty({ headers: { "x-request-id": "upstream" } })))
      )
      const server = yield* start(Server.layer(routes, { edge: RequestId.make() }))
      for (const [path, status] of [["/fail", 404], ["/die", 500], ["/none", 404], ["/own", 204]] as const) {
        const reply = yield* send(server, path)
        assert.strictEqual(reply.status, status)
        assert.match(reply.headers.get("x-request-id") ?? "", version7)
      }
      const wrong = yield* send(server, "/die", { method: "POST" })
      assert.strictEqual(wrong.status, 405)
      assert.match(wrong.headers.get("x-request-id") ?? "", version7)
      const slow = yield* Effect.forkChild(send(server, "/slow"))
      yield* Deferred.await(reached)
      yield* TestClock.adjust("1 second")
      const timedOut = yield* Fiber.join(slow)
      assert.strictEqual(timedOut.status, 503)
      assert.match(timedOut.headers.get("x-request-id") ?? "", version7)
    }))

  it.effect("C51 a 413 carries the id", () =>
    Effect.gen(function*() {
      const handler = Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => request.text).pipe(
        Effect.map((text) => HttpServerResponse.text(text)),
        Effect.provideService(HttpServerRequest.MaxBodySize, ByteSize.bytes(10))
      )
      const server = yield* start(Server.layer(Route.post("/", handler), { edge: RequestId.make() }))
      const { headers, status } = yield* send(server, "/", { method: "POST", body: "x".repeat(20) })
      assert.strictEqual(status, 413)
      assert.match(headers.get("x-request-id") ?? "", version7)
    }))

  it.effect("C104 a background fiber that was started outside the request sends no id", () =>
    Effect.gen(function*() {
      const outgoing = makeClient()
      const wanted = yield* Queue.unbounded<Deferred.Deferred<void>>()
      yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
        const done = yield* Queue.take(wanted)
        yield* Effect.orDie(outgoing.client.get("http://a.test/"))
        yield* Deferred.succeed(done, undefined)
      })))
      const handler = Effect.gen(function*() {
        const done = yield* Deferred.make<void>()
        yield* Queue.offer(wanted, done)
        yield* Deferred.await(done)
        yield* Effect.orDie(outgoing.client.get("http://a.test/"))
        return HttpServerResponse.empty()
      })
      const server = yield* start(Server.layer(Route.get("/", RequestId.make(), handler)))
      const { headers } = yield* send(server)
      assert.deepStrictEqual(outgoing.ids, [undefined, headers.get("x-request-id") ?? ""])
    }))

  it.effect("one that stands further in takes the id of the first", () =>
    Effect.gen(function*() {
      const edge = RequestId.make()
      const server = yield* start(Server.layer(Route.get("/", RequestId.make(), echo), { edge }))
      const { body, headers } = yield* send(server)
      assert.strictEqual(headers.get("x-request-id"), body)
    }))

  it.effect("is an attribute of the request's span", () => {
    const spans: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    return Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", RequestId.make(), echo)))
      const { body } = yield* send(server)
      yield* settled(server)
      assert.deepStrictEqual(spans.map((span) => span.attributes.get("request.id")), [body])
    }).pipe(Effect.provideService(Tracer.Tracer, tracer))
  })

  it.effect("makes ids on Effect's clock, in the order of time", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(0x0192_3456_789a)
      const server = yield* start(Server.layer(Route.get("/", RequestId.make(), echo)))
      const first = (yield* send(server)).body
      assert.strictEqual(first.slice(0, 15), "01923456-789a-7")
      yield* TestClock.adjust("1 second")
      assert.isBelow(first.localeCompare((yield* send(server)).body), 0)
    }))

  it.effect("takes another generator and another field", () =>
    Effect.gen(function*() {
      const middleware = RequestId.make({ header: "X-Correlation-Id", generate: Effect.succeed("job-7") })
      const server = yield* start(Server.layer(Route.get("/", middleware, echo)))
      const { body, headers } = yield* send(server)
      assert.deepStrictEqual([body, headers.get("x-correlation-id"), headers.get("x-request-id")], [
        "job-7",
        "job-7",
        null
      ])
    }))

  it.effect("answers 500 when a generator makes what can't be an id", () =>
    Effect.gen(function*() {
      const middleware = RequestId.make({ generate: Effect.succeed("a\r\nset-cookie: b") })
      const server = yield* start(Server.layer(Route.get("/", middleware, echo)))
      const { headers, status } = yield* send(server)
      assert.deepStrictEqual([status, headers.get("set-cookie")], [500, null])
    }))

  it("refuses a field name that is none", () => {
    assert.strictEqual(
      refused(() => RequestId.make({ header: "x request" })),
      "RangeError: header must be a header field name, got \"x request\""
    )
  })
})
