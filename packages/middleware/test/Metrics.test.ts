import { assert, describe, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Otlp from "effect/observability/Otlp"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Stream from "effect/Stream"
import * as Metrics from "../src/Metrics.ts"
import { open, raw, refused, send, settled, start } from "./kit.ts"
import { collector } from "./utils/collector.ts"

type Snapshot = Metric.Metric.Snapshot

const own = Effect.provideServiceEffect(Metric.MetricRegistry, Effect.sync(() => new Map()))

const named = (name: string): Effect.Effect<ReadonlyArray<Snapshot>> =>
  Effect.map(Metric.snapshot, (all) => all.filter(({ id }) => id === name))

const durations = Effect.map(
  named("http.server.request.duration"),
  (all) => all.map(({ attributes }) => ({ ...attributes }))
)

const active = Effect.map(
  named("http.server.active_requests"),
  (all) => all.map(({ state }) => (state as Metric.GaugeState<number>).value)
)

const ok = Effect.succeed(HttpServerResponse.text("hello"))

const histogram = (snapshots: ReadonlyArray<Snapshot>): Metric.HistogramState => {
  assert.strictEqual(snapshots[0]?.type, "Histogram")
  return snapshots[0].state as Metric.HistogramState
}

describe("Metrics", () => {
  it.effect("C59 measures in OpenTelemetry's names, with the template of the route and an unknown method as _OTHER", () =>
    own(Effect.gen(function*() {
      const routes = Layer.mergeAll(
        Route.post("/orders/:id", Effect.succeed(HttpServerResponse.text("x".repeat(150), { status: 201 }))),
        Route.get("/die", Effect.die("boom"))
      )
      const server = yield* start(Server.layer(routes, { edge: Metrics.make() }))
      yield* send(server, "/orders/7?secret=1", { method: "POST", body: "12345" })
      yield* send(server, "/die")
      yield* raw(server, "PROPFIND /orders/7 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
      yield* raw(server, "GET /none HTTP/1.0\r\n\r\n")
      yield* settled(server)
      const common = { unit: "s", "url.scheme": "http", "network.protocol.version": "1.1" }
      assert.deepStrictEqual(yield* durations, [
        { ...common, "http.request.method": "POST", "http.route": "/orders/:id", "http.response.status_code": "201" },
        {
          ...common,
          "http.request.method": "GET",
          "http.route": "/die",
          "http.response.status_code": "500",
          "error.type": "500"
        },
        { ...common, "http.request.method": "_OTHER", "http.response.status_code": "405" },
        {
          ...common,
          "http.request.method": "GET",
          "http.response.status_code": "404",
          "network.protocol.version": "1.0"
        }
      ])
      const [first] = yield* named("http.server.request.duration")
      const { buckets, count } = histogram([first])
      assert.deepStrictEqual([count, buckets.map(([bound]) => bound)], [1, Metrics.durationBoundaries])
      assert.strictEqual(histogram(yield* named("http.server.request.body.size")).sum, 5)
      assert.strictEqual(histogram(yield* named("http.server.response.body.size")).sum, 150)
    })))

  it.effect("C59 ten thousand paths are one series", () =>
    own(Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/a/:id", ok), { edge: Metrics.make() }))
      const batch = (name: string) =>
        Array.from({ length: 500 }, (_, i) =>
          `GET /${name}${i} HTTP/1.1\r\nhost: a\r\n${i === 499 ? "connection: close\r\n" : ""}\r\n`).join("")
      for (let i = 0; i < 20; i++) {
        const replies = yield* raw(server, batch(i % 2 === 0 ? `a/${i}-` : `none${i}-`))
        assert.strictEqual(replies.split("HTTP/1.1 ").length, 501)
      }
      yield* settled(server)
      const series = yield* named("http.server.request.duration")
      assert.deepStrictEqual(series.map((one) => [one.attributes?.["http.route"], histogram([one]).count]), [
        ["/a/:id", 5000],
        [undefined, 5000]
      ])
      assert.deepStrictEqual(yield* active, [0])
    })), 60_000)

  it.effect("C53 C54 status and size are the wire's, whatever a hook makes of the response", () =>
    own(Effect.gen(function*() {
      const hook = HttpEffect.appendPreResponseHandler(() => Effect.succeed(HttpServerResponse.empty({ status: 304 })))
      const server = yield* start(Server.layer(Route.get("/", Effect.andThen(hook, ok)), { edge: Metrics.make() }))
      yield* send(server)
      yield* settled(server)
      assert.deepStrictEqual((yield* durations).map((one) => one["http.response.status_code"]), ["304"])
      assert.strictEqual(histogram(yield* named("http.server.response.body.size")).sum, 0)
    })))

  it.effect("series beyond the bound are counted together", () =>
    own(Effect.gen(function*() {
      const edge = Metrics.make({ maxSeries: 1 })
      const server = yield* start(Server.layer(Route.get("/:id", ok), { edge }))
      for (const path of ["/a", "/a/b", "/a/b/c"]) {
        yield* send(server, path, { method: path === "/a/b/c" ? "PUT" : "GET" })
      }
      yield* settled(server)
      assert.deepStrictEqual((yield* durations).map((one) => one["otel.metric.overflow"]), [undefined, "true"])
      assert.deepStrictEqual((yield* named("http.server.request.duration")).map((one) => histogram([one]).count), [
        1,
        2
      ])
    })))

  it.effect("C59 the gauge counts what is under way, and is 0 again after aborts", () =>
    own(Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const streaming = yield* Deferred.make<void>()
      const body = Stream.concat(
        Stream.make(new TextEncoder().encode("some")),
        Stream.fromEffect(Effect.andThen(Deferred.succeed(streaming, undefined), Effect.never))
      )
      const routes = Layer.mergeAll(
        Route.get("/hang", Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)),
        Route.get("/stream", Effect.succeed(HttpServerResponse.stream(body)))
      )
      const server = yield* start(Server.layer(routes, { edge: Metrics.make() }))
      const hanging = yield* open(server)
      hanging.socket.write("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n")
      const reading = yield* open(server)
      reading.socket.write("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Deferred.await(reached)
      yield* Deferred.await(streaming)
      assert.deepStrictEqual(yield* active, [2])
      hanging.socket.destroy()
      reading.socket.destroy()
      yield* settled(server)
      assert.deepStrictEqual(yield* active, [0])
      assert.sameDeepMembers(
        (yield* durations).map((one) => [one["http.route"], one["http.response.status_code"], one["error.type"]]),
        [["/hang", undefined, "ClientAborted"], ["/stream", "200", "ClientAborted"]]
      )
    })))

  it.effect("a malformed request is measured and does not move the gauge", () =>
    own(Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", ok), { edge: Metrics.make() }))
      yield* raw(server, "nonsense\r\n\r\n")
      yield* settled(server)
      const [one] = yield* durations
      assert.deepStrictEqual([one["http.request.method"], one["http.response.status_code"], one["error.type"]], [
        "_OTHER",
        "400",
        undefined
      ])
      assert.deepStrictEqual(yield* active, [])
    })))

  it.effect("one that stands further in leaves it to the first", () =>
    own(Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Metrics.make(), ok), { edge: Metrics.make() }))
      yield* send(server)
      yield* settled(server)
      assert.strictEqual(histogram(yield* named("http.server.request.duration")).count, 1)
      assert.deepStrictEqual(yield* active, [0])
    })))

  it.effect("Prometheus scrapes a route, or Effect's own", () =>
    own(Effect.gen(function*() {
      const routes = Layer.mergeAll(
        Route.get("/orders/:id", ok),
        Route.get("/metrics", Metrics.prometheus),
        PrometheusMetrics.layerHttp({ path: "/effect", metricNameMapper: Metrics.prometheusName })
      )
      const server = yield* start(Server.layer(routes, { edge: Metrics.make() }))
      yield* send(server, "/orders/7")
      yield* settled(server)
      const scrape = yield* send(server, "/metrics")
      assert.strictEqual(scrape.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8")
      const labels = "http_request_method=\"GET\",http_route=\"/orders/:id\",http_response_status_code=\"200\"," +
        "url_scheme=\"http\",network_protocol_version=\"1.1\""
      const lines = scrape.body.split("\n")
      assert.include(lines, "# TYPE http_server_request_duration_seconds histogram")
      assert.include(lines, `http_server_request_duration_seconds_bucket{${labels},le="+Inf"} 1`)
      assert.include(lines, `http_server_response_body_size_bytes_sum{${labels}} 5`)
      assert.include(lines, "# TYPE http_server_active_requests gauge")
      assert.include(
        (yield* send(server, "/effect")).body,
        `http_server_request_duration_seconds_count{${labels}} 1`
      )
    })))

  it.effect("Effect's OTLP layer pushes it to a collector", () =>
    own(Effect.scoped(Effect.gen(function*() {
      const agent = yield* collector()
      yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* start(Server.layer(Route.get("/orders/:id", ok), { edge: Metrics.make() }))
        yield* send(server, "/orders/7")
        yield* settled(server)
      })).pipe(
        Effect.provide(
          Layer.provide(
            Otlp.layerJson({ baseUrl: agent.url, resource: { serviceName: "shop" } }),
            FetchHttpClient.layer
          )
        )
      )
      const pushed = agent.received.filter(({ path }) => path === "/v1/metrics").map(({ body }) => JSON.parse(body))
      const [{ resource, scopeMetrics: [{ metrics }] }] = pushed[0].resourceMetrics
      assert.include(JSON.stringify(resource), "\"shop\"")
      const duration = metrics.find((metric: { readonly name: string }) =>
        metric.name === "http.server.request.duration"
      )
      assert.strictEqual(duration.unit, "s")
      const [point] = duration.histogram.dataPoints
      assert.deepStrictEqual(point.explicitBounds, Metrics.durationBoundaries)
      assert.strictEqual(Number(point.count), 1)
      assert.deepInclude(point.attributes, { key: "http.route", value: { stringValue: "/orders/:id" } })
    }))))

  it("refuses boundaries that don't rise, and a bound that is none", () => {
    assert.strictEqual(
      refused(() => Metrics.make({ durationBoundaries: [1, 1] })),
      "RangeError: durationBoundaries must be finite numbers that rise, got 1, 1"
    )
    assert.strictEqual(
      refused(() => Metrics.make({ maxSeries: 0 })),
      "RangeError: maxSeries must be a whole number of at least 1, got 0"
    )
  })
})
