/**
 * Measures every exchange in the names of OpenTelemetry, with Effect's metrics: duration, requests under way, body sizes.
 *
 * **When to use** At the server's edge, once. Which exporter reads the measurements is a Layer or a route: {@link prometheus}
 * answers a scrape, `StatsD.layer` sends datagrams, Effect's `Otlp.layerJson` and `OtlpMetrics.layer` push OTLP.
 *
 * **Details** `http.server.request.duration` is a histogram in seconds, `http.server.request.body.size` and
 * `http.server.response.body.size` are histograms in bytes as on the wire. Their attributes are `http.request.method`
 * (`_OTHER` for one that OpenTelemetry does not know), `http.route` (the template, and nothing when no route matched),
 * `http.response.status_code` (the wire's), `url.scheme`, `network.protocol.version` and `error.type` (the status of a 5xx,
 * or how an exchange that broke off has ended). `http.server.active_requests` is a gauge by method and scheme; it goes down
 * when an exchange ends, however it ends.
 *
 * No attribute is a client's to choose, so the number of series follows from the routes. As a last resort, attributes
 * beyond {@link Options.maxSeries} are counted together under `otel.metric.overflow`.
 *
 * **Gotchas** Effect's exporters show each series an attribute `unit`, from which OTLP takes the metric's unit. Where the
 * middleware stands twice, the outer one measures.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Metric from "effect/Metric"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import { errorTypeOf, methodOf, schemeOf, versionOf } from "./internal/httpAttributes.ts"
import { requireCount } from "./internal/options.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The upper bounds of the duration's buckets, in seconds. @default those that OpenTelemetry advises, 0.005 to 10 */
  readonly durationBoundaries?: ReadonlyArray<number>
  /** The upper bounds of the buckets for body sizes, in bytes. @default 0 and the powers of ten from 100 to 100 million */
  readonly sizeBoundaries?: ReadonlyArray<number>
  /** How many combinations of attributes are kept apart. @default 2000 */
  readonly maxSeries?: number
}

/**
 * The bounds that OpenTelemetry advises for durations of requests, in seconds.
 *
 * @category constants
 * @since 0.1.0
 */
export const durationBoundaries: ReadonlyArray<number> = [
  0.005,
  0.01,
  0.025,
  0.05,
  0.075,
  0.1,
  0.25,
  0.5,
  0.75,
  1,
  2.5,
  5,
  7.5,
  10
]

const sizeBoundaries: ReadonlyArray<number> = [0, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8]

/**
 * Measures every exchange.
 *
 * **Details** Throws a `RangeError` when boundaries don't rise, or when `maxSeries` is no whole number above 0.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Metrics } from "@sluice/middleware"
 * import { Effect, Layer, Metric } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Routes = Layer.merge(
 *   Route.get("/orders/:id", Effect.succeed(HttpServerResponse.text("an order"))),
 *   Route.get("/metrics", Metrics.prometheus)
 * )
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Routes, { edge: Metrics.make() })
 *   const get = (path: string) => Effect.promise(() => fetch(new Request(`http://localhost${path}`)).then((_) => _.text()))
 *   yield* get("/orders/7")
 *   return yield* get("/metrics")
 * })
 * const text = await Effect.runPromise(Effect.provideService(Effect.scoped(program), Metric.MetricRegistry, new Map()))
 * console.log(/_duration_seconds_count\{.*http_route="(.*?)"/.exec(text)?.[1]) // => /orders/:id
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Middleware.Middleware<never, never, HttpServerRequest> => {
  const instruments = makeInstruments(options)
  return Middleware.named(
    "Metrics",
    Middleware.compose(
      Middleware.observeUnsafe("measure", (exchange, context) => measure(instruments, exchange, context)),
      Middleware.around<never, HttpServerRequest>(
        "begin",
        (handler) =>
          Effect.withFiber((fiber) => {
            begin(instruments, Exchange.currentUnsafe(fiber), fiber.context)
            return handler
          }),
        { response: "none" }
      )
    )
  )
}

/** The attributes of a series; those that are `undefined` are left out. */
type Attributes = Readonly<Record<string, string | undefined>>

type Update = Metric.Metric<number, unknown>

/** What is recorded of an exchange that has ended. */
interface Ended {
  readonly duration: Update
  readonly requestSize: Update
  readonly responseSize: Update
}

interface Instruments {
  readonly ended: (exchange: Exchange.Ended) => Ended
  readonly active: (exchange: Exchange.Exchange) => Update
}

const makeInstruments = (options: Options): Instruments => {
  const maxSeries = requireCount("maxSeries", options.maxSeries ?? 2000, 1)
  const seconds = requireRising("durationBoundaries", options.durationBoundaries ?? durationBoundaries)
  const bytes = requireRising("sizeBoundaries", options.sizeBoundaries ?? sizeBoundaries)
  return {
    ended: series(maxSeries, endedKey, endedAttributes, (attributes) => ({
      duration: Metric.histogram("http.server.request.duration", {
        description: "Duration of HTTP server requests.",
        boundaries: seconds,
        attributes: { unit: "s", ...attributes }
      }),
      requestSize: Metric.histogram("http.server.request.body.size", {
        description: "Size of HTTP server request bodies.",
        boundaries: bytes,
        attributes: { unit: "By", ...attributes }
      }),
      responseSize: Metric.histogram("http.server.response.body.size", {
        description: "Size of HTTP server response bodies.",
        boundaries: bytes,
        attributes: { unit: "By", ...attributes }
      })
    })),
    active: series(maxSeries, activeKey, activeAttributes, (attributes) =>
      Metric.gauge("http.server.active_requests", {
        description: "Number of active HTTP server requests.",
        attributes: { unit: "{request}", ...attributes }
      }))
  }
}

const activeKey = (exchange: Exchange.Exchange): string => `${methodOf(exchange)} ${schemeOf(exchange)}`

const activeAttributes = (exchange: Exchange.Exchange): Attributes => ({
  "http.request.method": methodOf(exchange),
  "url.scheme": schemeOf(exchange)
})

/** All that {@link endedAttributes} are made of. The route comes last, since it may hold whatever it likes. */
const endedKey = (exchange: Exchange.Ended): string =>
  `${methodOf(exchange)} ${exchange.status} ${schemeOf(exchange)} ${exchange.httpVersion} ${errorTypeOf(exchange)} ${
    exchange.route ?? ""
  }`

const endedAttributes = (exchange: Exchange.Ended): Attributes => ({
  "http.request.method": methodOf(exchange),
  "http.route": exchange.route,
  "http.response.status_code": exchange.status === undefined ? undefined : String(exchange.status),
  "url.scheme": schemeOf(exchange),
  "network.protocol.version": versionOf(exchange),
  "error.type": errorTypeOf(exchange)
})

/** What belongs to each combination of attributes, made when it is first seen. */
const series = <X, M>(
  maxSeries: number,
  keyOf: (exchange: X) => string,
  attributesOf: (exchange: X) => Attributes,
  make: (attributes: Readonly<Record<string, string>>) => M
): (exchange: X) => M => {
  const known = new Map<string, M>()
  let overflow: M | undefined
  return (exchange) => {
    const key = keyOf(exchange)
    const before = known.get(key)
    if (before !== undefined) return before
    if (known.size >= maxSeries) return overflow ??= make({ "otel.metric.overflow": "true" })
    const metric = make(defined(attributesOf(exchange)))
    known.set(key, metric)
    return metric
  }
}

const defined = (attributes: Attributes): Record<string, string> => {
  const out: Record<string, string> = {}
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) out[name] = value
  }
  return out
}

/** The exchange attribute that holds what takes a request off the gauge again. */
const ownerKey = "@sluice/middleware/Metrics"

interface Owner {
  readonly instruments: Instruments
  readonly end: () => void
}

const begin = (instruments: Instruments, exchange: Exchange.Exchange, context: Context.Context<never>): void => {
  if (exchange.attributes.has(ownerKey)) return
  const active = instruments.active(exchange)
  active.modifyUnsafe(1, context)
  const owner: Owner = { instruments, end: () => active.modifyUnsafe(-1, context) }
  Exchange.annotateUnsafe(exchange, ownerKey, owner)
}

const measure = (instruments: Instruments, exchange: Exchange.Ended, context: Context.Context<never>): undefined => {
  // Sound: nothing else writes under this key. A request that never reached a pipeline has no owner.
  const owner = exchange.attributes.get(ownerKey) as Owner | undefined
  if (owner !== undefined && owner.instruments !== instruments) return undefined
  owner?.end()
  const { duration, requestSize, responseSize } = instruments.ended(exchange)
  duration.updateUnsafe(exchange.duration / 1000, context)
  requestSize.updateUnsafe(exchange.bytesIn, context)
  responseSize.updateUnsafe(exchange.bytesOut, context)
  return undefined
}

/**
 * The name with its unit, as Prometheus wants it, for the `metricNameMapper` of Effect's `PrometheusMetrics`, which knows
 * no units (and makes underscores of the dots). Other names than those of this module stay.
 *
 * @example
 * ```ts
 * import { Metrics } from "@sluice/middleware"
 *
 * console.log(Metrics.prometheusName("http.server.request.duration")) // => http.server.request.duration_seconds
 * ```
 *
 * @see https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
 * @category conversions
 * @since 0.1.0
 */
export const prometheusName = (name: string): string => name + (suffixes[name] ?? "")

const suffixes: Readonly<Record<string, string>> = {
  "http.server.request.duration": "_seconds",
  "http.server.request.body.size": "_bytes",
  "http.server.response.body.size": "_bytes"
}

/**
 * Answers with all of Effect's metrics in the text format of Prometheus, for a route of your own such as `/metrics`.
 *
 * **Gotchas** It tells whoever asks: mount it behind a middleware that knows who may, or on a server of its own.
 *
 * @category handlers
 * @since 0.1.0
 */
export const prometheus: Effect.Effect<HttpServerResponse.HttpServerResponse> = Effect.map(
  PrometheusMetrics.format({ metricNameMapper: prometheusName }),
  (text) => HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4; charset=utf-8" })
)

const requireRising = (name: string, boundaries: ReadonlyArray<number>): ReadonlyArray<number> => {
  if (boundaries.every((value, i) => Number.isFinite(value) && (i === 0 || boundaries[i - 1] < value))) {
    return boundaries
  }
  throw new RangeError(`${name} must be finite numbers that rise, got ${boundaries.join(", ")}`)
}
