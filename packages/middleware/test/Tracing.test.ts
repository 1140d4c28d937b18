import { assert, describe, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import * as Reporter from "@sluice/core/Reporter"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Otlp from "effect/observability/Otlp"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as fc from "fast-check"
import * as AccessLog from "../src/AccessLog.ts"
import { parseBaggage, parseTraceparent, parseTracestate } from "../src/internal/traceContext.ts"
import * as Reporting from "../src/Reporting.ts"
import * as RequestId from "../src/RequestId.ts"
import * as Tracing from "../src/Tracing.ts"
import { logs, open, raw, refused, reports, send, settled, start, until } from "./kit.ts"
import { collector } from "./utils/collector.ts"

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"
const spanId = "00f067aa0ba902b7"
const traceparent = `00-${traceId}-${spanId}-01`

/** Keeps every span that is made. */
const recorder = () => {
  const spans: Array<Tracer.NativeSpan & { readonly links: ReadonlyArray<Tracer.SpanLink> }> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, tracer, layer: Layer.succeed(Tracer.Tracer, tracer) }
}

const ended = (span: Tracer.Span): Exit.Exit<unknown, unknown> =>
  span.status._tag === "Ended" ? span.status.exit : assert.fail(`${span.name} has not ended`)

const parentOf = (span: Tracer.Span): string | undefined => Option.getOrUndefined(span.parent)?.spanId

const seen = Effect.map(
  Tracing.TraceContext,
  (context) => HttpServerResponse.jsonUnsafe({ ...context, baggage: Object.fromEntries(context.baggage) })
)

interface Seen {
  readonly traceId: string
  readonly spanId: string
  readonly sampled: boolean
  readonly tracestate: string
  readonly baggage: Readonly<Record<string, string>>
}

const ask = (server: Server.Server["Service"], headers: Record<string, string> = {}): Effect.Effect<Seen> =>
  Effect.map(send(server, "/", { headers }), ({ body }) => JSON.parse(body))

describe("Tracing", () => {
  it.effect("C57 continues a valid traceparent, as the parent of the span", () => {
    const { layer, spans } = recorder()
    return Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Tracing.make(), seen)))
      const context = yield* ask(server, { traceparent })
      yield* settled(server)
      assert.deepStrictEqual([context.traceId, context.spanId, context.sampled], [traceId, spans[0].spanId, true])
      assert.deepStrictEqual(spans.map((span) => [span.traceId, parentOf(span), span.kind]), [[
        traceId,
        spanId,
        "server"
      ]])
      assert.isFalse((yield* ask(server, { traceparent: `00-${traceId}-${spanId}-00` })).sampled)
      assert.isTrue((yield* ask(server, { traceparent: `00-${traceId}-${spanId}-03` })).sampled)
    }).pipe(Effect.provide([layer, Tracing.layer]))
  })

  it.effect("C57 an invalid or all-zero traceparent begins a new trace; a higher version is read by its first four fields", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Tracing.make(), seen)))
      const zero = "0".repeat(32)
      for (
        const invalid of [
          `00-${zero}-${spanId}-01`,
          `00-${traceId}-${"0".repeat(16)}-01`,
          `00-${traceId.toUpperCase()}-${spanId}-01`,
          `00-${traceId}-${spanId}-01-extra`,
          `ff-${traceId}-${spanId}-01`,
          `01-${traceId}-${spanId}-01.extra`,
          `00-${traceId}-${spanId}`,
          "nonsense"
        ]
      ) {
        const context = yield* ask(server, { traceparent: invalid, tracestate: "a=1" })
        assert.match(context.traceId, /^[\da-f]{32}$/)
        assert.notStrictEqual(context.traceId, traceId)
        assert.notStrictEqual(context.traceId, zero)
        assert.strictEqual(context.tracestate, "")
      }
      for (const version of [`01-${traceId}-${spanId}-01-extra-field`, `cc-${traceId}-${spanId}-01`]) {
        assert.strictEqual((yield* ask(server, { traceparent: version })).traceId, traceId)
      }
      const twice = yield* raw(
        server,
        `GET / HTTP/1.1\r\nhost: a\r\ntraceparent: ${traceparent}\r\nTraceparent: ${traceparent}\r\nconnection: close\r\n\r\n`
      )
      assert.notInclude(twice, traceId)
    }).pipe(Effect.provide(Tracing.layer)))

  it.effect("C57 C104 outgoing calls carry traceparent, tracestate and baggage; a fiber from outside carries none", () => {
    const { layer, spans } = recorder()
    return Effect.gen(function*() {
      const upstream = yield* collector()
      const client = OutgoingFields.withClient(yield* HttpClient.HttpClient)
      const call = (path: string) => Effect.orDie(client.get(upstream.url + path))
      const wanted = yield* Queue.unbounded<Deferred.Deferred<void>>()
      yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
        const done = yield* Queue.take(wanted)
        yield* call("/outside")
        yield* Deferred.succeed(done, undefined)
      })))
      const handler = Effect.gen(function*() {
        yield* call("/inside")
        yield* Effect.provideService(call("/untraced"), HttpClient.TracerDisabledWhen, () => true)
        const done = yield* Deferred.make<void>()
        yield* Queue.offer(wanted, done)
        yield* Deferred.await(done)
        return HttpServerResponse.empty()
      })
      const server = yield* start(Server.layer(Route.get("/", Tracing.make({ baggage: true }), handler)))
      yield* send(server, "/", {
        headers: {
          traceparent,
          tracestate: "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE",
          baggage: "user=ad%20a;p=1, bad"
        }
      })
      yield* settled(server)
      const [inside, untraced, outside] = yield* upstream.take(3)
      const own = spans.find((span) => span.kind === "server")
      const clientSpan = spans.find((span) => span.kind === "client")
      assert.strictEqual(inside.headers["traceparent"], `00-${traceId}-${clientSpan?.spanId}-01`)
      assert.strictEqual(clientSpan && parentOf(clientSpan), own?.spanId)
      assert.strictEqual(untraced.headers["traceparent"], `00-${traceId}-${own?.spanId}-01`)
      for (const { headers } of [inside, untraced]) {
        assert.strictEqual(headers["tracestate"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
        assert.strictEqual(headers["baggage"], "user=ad%20a;p=1")
      }
      assert.deepStrictEqual([outside.headers["tracestate"], outside.headers["baggage"]], [undefined, undefined])
      assert.notInclude(outside.headers["traceparent"] ?? "", traceId)
    }).pipe(Effect.provide([layer, Tracing.layer, FetchHttpClient.layer]))
  })

  it.effect("baggage is decoded for handlers, and ignored unless it is asked for", () =>
    Effect.gen(function*() {
      const routes = Layer.merge(
        Route.get("/", Tracing.make({ baggage: true }), seen),
        Route.get("/without", Tracing.make(), seen)
      )
      const server = yield* start(Server.layer(routes))
      assert.deepStrictEqual((yield* ask(server, { baggage: "user=ad%20a;p=1, bad, kind = x" })).baggage, {
        user: "ad a",
        kind: "x"
      })
      const without = yield* send(server, "/without", { headers: { baggage: "user=ada" } })
      assert.deepStrictEqual(JSON.parse(without.body).baggage, {})
    }).pipe(Effect.provide(Tracing.layer)))

  it.effect("a public edge begins a trace of its own, linked to the other if asked to, and carries nothing on", () => {
    const { layer, spans } = recorder()
    return Effect.gen(function*() {
      const routes = Layer.merge(
        Route.get("/", Tracing.make({ continue: "trusted", link: true, baggage: true }), seen),
        Route.get("/never", Tracing.make({ continue: "never" }), seen)
      )
      const headers = { traceparent, tracestate: "a=1", baggage: "user=ada" }
      const server = yield* start(Server.layer(routes))
      const context = yield* ask(server, headers)
      assert.notStrictEqual(context.traceId, traceId)
      assert.deepStrictEqual([context.tracestate, context.baggage], ["", {}])
      yield* send(server, "/never", { headers })
      assert.deepStrictEqual(spans.map(({ links }) => links.map(({ span }) => span.traceId)), [[traceId], []])
      const trusting = yield* Effect.provide(
        start(Server.layer(routes)),
        TrustedPeers.layer(TrustedPeers.networks(["loopback"]))
      )
      assert.strictEqual((yield* ask(trusting, headers)).traceId, traceId)
    }).pipe(Effect.provide([layer, Tracing.layer]))
  })

  it.effect("C58 the span is named by method and route, by the method alone without one, and holds no query", () => {
    const { layer, spans } = recorder()
    return Effect.gen(function*() {
      const route = Route.get("/users/:id", Effect.succeed(HttpServerResponse.text("ada")))
      const server = yield* start(Server.layer(route, { edge: Tracing.make() }))
      yield* send(server, "/users/7?token=secret", { headers: { "user-agent": "test", authorization: "secret" } })
      yield* send(server, "/none/7")
      yield* raw(server, "PROPFIND /users/7 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
      yield* settled(server)
      assert.deepStrictEqual(spans.map(({ name }) => name), ["GET /users/:id", "GET", "HTTP"])
      assert.deepStrictEqual(Object.fromEntries(spans[0].attributes), {
        "http.request.method": "GET",
        "url.path": "/users/7",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "user_agent.original": "test",
        "http.route": "/users/:id",
        "http.response.status_code": 200
      })
      assert.isFalse(spans[1].attributes.has("http.route"))
      assert.strictEqual(spans[2].attributes.get("http.request.method_original"), "PROPFIND")
    }).pipe(Effect.provide([layer, Tracing.layer]))
  })

  it.effect("C53 the span has the wire's status and ends with the exchange: 304 of a hook, 500, 404, a stream, an abort", () => {
    const { layer, spans } = recorder()
    return Effect.gen(function*() {
      const going = yield* Deferred.make<void>()
      const gate = yield* Deferred.make<void>()
      const bytes = new TextEncoder().encode("some")
      const slow = Stream.concat(Stream.make(bytes), Stream.fromEffect(Effect.as(Deferred.await(gate), bytes)))
      const reached = yield* Deferred.make<void>()
      const routes = Layer.mergeAll(
        Route.get(
          "/hook",
          Effect.andThen(
            HttpEffect.appendPreResponseHandler(() => Effect.succeed(HttpServerResponse.empty({ status: 304 }))),
            Effect.succeed(HttpServerResponse.text("whole"))
          )
        ),
        Route.get("/die", Effect.die(new Error("boom"))),
        Route.get("/unexplained", Effect.succeed(HttpServerResponse.empty({ status: 503 }))),
        Route.get(
          "/slow",
          Effect.as(Deferred.succeed(going, undefined), HttpServerResponse.stream(slow))
        ),
        Route.get("/hang", Effect.andThen(Deferred.succeed(reached, undefined), Effect.never))
      )
      const server = yield* start(Server.layer(routes, { edge: Tracing.make() }))
      for (const path of ["/hook", "/die", "/unexplained", "/none"]) yield* send(server, path)
      yield* settled(server)
      assert.deepStrictEqual(
        spans.map((span) => [
          span.attributes.get("http.response.status_code"),
          span.attributes.get("error.type"),
          Exit.isSuccess(ended(span))
        ]),
        [[304, undefined, true], [500, "500", false], [503, "503", false], [404, undefined, true]]
      )
      assert.include(String(ended(spans[1])), "boom")
      const reading = yield* open(server)
      reading.socket.write("GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
      yield* until(() => reading.text().includes("some"))
      assert.strictEqual(spans[4].status._tag, "Started")
      yield* Deferred.succeed(gate, undefined)
      yield* settled(server)
      assert.isTrue(Exit.isSuccess(ended(spans[4])))
      const leaving = yield* open(server)
      leaving.socket.write("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Deferred.await(reached)
      leaving.socket.destroy()
      yield* settled(server)
      assert.isTrue(Exit.hasInterrupts(ended(spans[5])))
      assert.strictEqual(spans[5].attributes.get("error.type"), "ClientAborted")
    }).pipe(Effect.provide([layer, Tracing.layer]))
  })

  it.effect("there is one server span: also with one further in, and with Effect's where the layer is missing", () => {
    const { layer, spans } = recorder()
    return Effect.gen(function*() {
      const twice = yield* Effect.provide(
        start(
          Server.layer(Route.get("/users/:id", Tracing.make(), seen), { edge: Tracing.make({ continue: "never" }) })
        ),
        Tracing.layer
      )
      const inner = yield* send(twice, "/users/7", { headers: { traceparent, tracestate: "a=1" } })
      yield* settled(twice)
      assert.deepStrictEqual([JSON.parse(inner.body).spanId, JSON.parse(inner.body).tracestate], [spans[0].spanId, ""])
      assert.deepStrictEqual(spans.map(({ name }) => name), ["GET /users/:id"])
      const server = yield* Effect.provideService(
        start(Server.layer(Route.get("/users/:id", Tracing.make(), seen))),
        Tracing.ServerSpans,
        { by: "Tracing" }
      )
      const outer = yield* send(server, "/users/7", { headers: { traceparent, tracestate: "a=1" } })
      yield* settled(server)
      assert.strictEqual(JSON.parse(outer.body).spanId, spans[1].spanId)
      assert.deepStrictEqual(spans.map(({ name }) => name), ["GET /users/:id", "GET /users/:id"])
      assert.strictEqual(ended(spans[1])._tag, "Success")
    }).pipe(Effect.provide(layer))
  })

  it.effect("access log, reports and the request id find the trace, whatever the order", () => {
    const { layer: logging, lines } = logs()
    const { layer, spans } = recorder()
    return Effect.gen(function*() {
      const edge = Middleware.stack(AccessLog.make(), Reporting.make(), Tracing.make(), RequestId.make())
      const route = Route.get("/", Effect.succeed(HttpServerResponse.empty({ status: 500 })))
      const server = yield* start(Server.layer(route, { edge }))
      const { headers } = yield* send(server, "/", { headers: { traceparent } })
      yield* settled(server)
      assert.deepStrictEqual(lines.map(({ annotations }) => annotations["trace.id"]), [traceId])
      assert.deepStrictEqual((yield* reports).map(({ trace }) => trace), [
        { traceId, spanId: spans[0].spanId, sampled: true }
      ])
      assert.strictEqual(spans[0].attributes.get("request.id"), headers.get("x-request-id"))
    }).pipe(Effect.provide([layer, logging, Tracing.layer, Reporter.layerMemory]))
  })

  it.effect("Effect's OTLP layer exports the span under its last name", () =>
    Effect.gen(function*() {
      const agent = yield* collector()
      yield* Effect.scoped(Effect.gen(function*() {
        const route = Route.get("/users/:id", Effect.as(Effect.log("working"), HttpServerResponse.text("ada")))
        const server = yield* start(Server.layer(route, { edge: Tracing.make() }))
        yield* send(server, "/users/7", { headers: { traceparent } })
        yield* settled(server)
      })).pipe(
        Effect.provide([
          Tracing.layer,
          Layer.provide(
            Otlp.layerJson({ baseUrl: agent.url, resource: { serviceName: "shop" }, loggerMergeWithExisting: false }),
            FetchHttpClient.layer
          )
        ])
      )
      const body = (path: string) => JSON.parse(agent.received.find((one) => one.path === path)?.body ?? "{}")
      const spans: ReadonlyArray<Record<string, unknown>> = body("/v1/traces").resourceSpans[0].scopeSpans[0].spans
      assert.strictEqual(spans.length, 1)
      assert.deepInclude(spans[0], { name: "GET /users/:id", traceId, parentSpanId: spanId, kind: 2 })
      const [log] = body("/v1/logs").resourceLogs[0].scopeLogs[0].logRecords
      assert.deepInclude(log, { traceId, spanId: spans[0]["spanId"], body: { stringValue: "working" } })
    }))

  it("tracestate: 32 members at most, over several lines, and none when one is malformed", () => {
    const members = Array.from({ length: 40 }, (_, i) => `k${i}=v${i}`)
    assert.strictEqual(parseTracestate([members.join(",")]), members.slice(0, 32).join(","))
    assert.strictEqual(parseTracestate(["a=1, ,b@c=2 ", "\td=3"]), "a=1,b@c=2,d=3")
    for (const malformed of ["a", "A=1", "a=", "a=1=2", "=1", "a=\u00e9"]) {
      assert.strictEqual(parseTracestate(["b=2", malformed]), "")
    }
  })

  it("baggage: 64 members and 8192 bytes at most", () => {
    const members = Array.from({ length: 70 }, (_, i) => `k${i}=v`)
    assert.strictEqual(parseBaggage([members.join(",")]).entries.size, 64)
    assert.deepStrictEqual([...parseBaggage([`a=${"x".repeat(5000)},b=${"y".repeat(5000)}`]).entries.keys()], ["a"])
    assert.strictEqual(parseBaggage(["a=%zz,b=%C3%BC"]).entries.get("b"), "ü")
  })

  it("what is read from any text is well formed, or nothing", () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom("0", "a", "f", "-", "=", ",", ";", " ", "%", "\t", "@") })
    )
    fc.assert(fc.property(text, (text) => {
      const parent = parseTraceparent([text])
      if (parent !== undefined) assert.match(`${parent.traceId}-${parent.spanId}`, /^[\da-f]{32}-[\da-f]{16}$/)
      const again = parseTracestate([text])
      assert.strictEqual(parseTracestate([again]), again)
      const baggage = parseBaggage([text])
      assert.deepStrictEqual(parseBaggage([baggage.text]), baggage)
      // oxlint-disable-next-line no-control-regex
      assert.notMatch(again + baggage.text, /[\u0000-\u0008\u000a-\u001f\u007f-\uffff]/)
    }))
  })

  it("refuses a word that it does not know", () => {
    assert.strictEqual(
      // @ts-expect-error there is no such word
      refused(() => Tracing.make({ continue: "sometimes" })),
      "RangeError: continue must be one of always, trusted, never, got sometimes"
    )
  })
})
