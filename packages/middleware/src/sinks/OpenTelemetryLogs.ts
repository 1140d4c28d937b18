/**
 * Sends reports to an OpenTelemetry collector as log records, over OTLP/HTTP, with Effect's own exporter.
 *
 * **When to use** Give the layer to a program whose stack has the `Reporting` middleware and whose logs go elsewhere. Where
 * Effect's `OtlpLogger` has all logs already, `Reporter.layerLog` does the same.
 *
 * **Details** A record has the report's severity, `exception.type`, `exception.message` and `exception.stacktrace` of the
 * whole cause, OpenTelemetry's attributes of the request (`http.route`, `http.response.status_code`, …), header fields
 * (redacted) as `http.request.header.*`, request id, user, notes and fingerprint, and the trace and span of the request. Only
 * reports go this way: the program's own log is not touched.
 *
 * **Gotchas** Effect's exporter tries again by itself while the collector is away. After the policy's `sinkTimeout` the
 * batch counts as dropped, although it may yet arrive. At the end of the scope the exporter is given
 * {@link Options.shutdownTimeout}.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-logs/
 * @since 0.1.0
 */
import * as Report from "@sluice/core/Report"
import * as Reporter from "@sluice/core/Reporter"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Headers from "effect/http/Headers"
import type * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as OtlpExporter from "effect/observability/OtlpExporter"
import * as OtlpLogger from "effect/observability/OtlpLogger"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import * as reportData from "../internal/reportData.ts"

/**
 * Where records go, and what they say of the program.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The collector's URL for logs, such as `http://127.0.0.1:4318/v1/logs`. */
  readonly url: string
  /** Header fields of each request, such as `authorization`. @default none */
  readonly headers?: Headers.Input
  /** The program. */
  readonly resource: {
    readonly serviceName: string
    readonly serviceVersion?: string
    readonly attributes?: Record<string, unknown>
  }
  /** How long the exporter may take at the end of the scope. @default "3 seconds" */
  readonly shutdownTimeout?: Duration.Input
}

/**
 * A sink, for a reporter of your own. What is buffered is sent when the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<Reporter.Sink, never, HttpClient.HttpClient | Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Layer.build(Layer.merge(OtlpExporter.layerFlusher, OtlpSerialization.layerJson))
    const logger = yield* Effect.provideContext(OtlpLogger.make({ ...options, excludeLogSpans: true }), context)
    const only = Logger.layer([logger])
    const { flush } = yield* Effect.provideContext(OtlpExporter.Flusher, context)
    return (batch) => Effect.andThen(Effect.provide(Effect.forEach(batch, write, { discard: true }), only), flush)
  })

/**
 * A reporter that sends to an OpenTelemetry collector.
 *
 * @example
 * ```ts
 * import * as OpenTelemetryLogs from "@sluice/middleware/sinks/OpenTelemetryLogs"
 * import { Layer } from "effect"
 * import { FetchHttpClient } from "effect/http"
 *
 * const Live = Layer.provide(
 *   OpenTelemetryLogs.layer({ url: "http://127.0.0.1:4318/v1/logs", resource: { serviceName: "shop" } }),
 *   FetchHttpClient.layer
 * )
 * console.log(Layer.isLayer(Live)) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options,
  policy: Reporter.Policy = {}
): Layer.Layer<Reporter.Reporter, never, HttpClient.HttpClient> => Reporter.layer(make(options), policy)

const write = (report: Report.Report): Effect.Effect<void> => {
  const [error] = reportData.errorsOf(report)
  const log = Effect.annotateLogs(
    Effect.logWithLevel(Report.severity(report))(`${reportData.whereOf(report)}: ${error.message}`, report.cause),
    attributesOf(report)
  )
  return report.trace === undefined
    ? log
    : Effect.withParentSpan(log, Tracer.externalSpan(report.trace), { captureStackTrace: false })
}

/** @see https://opentelemetry.io/docs/specs/semconv/http/http-spans/ */
const attributesOf = (report: Report.Report): Record<string, unknown> => {
  const user = reportData.userOf(report)
  const headers = Object.entries(report.headers).map(([name, value]) => [`http.request.header.${name}`, [value]])
  const { "trace.id": _trace, phase, outcome, ...tags } = reportData.tagsOf(report)
  return reportData.defined<Record<string, unknown>>({
    ...reportData.notesOf(report),
    ...Object.fromEntries(headers),
    ...tags,
    "http.response.status_code": report.status,
    "http.request.method": report.method,
    "url.path": report.path,
    "user.id": user?.id,
    "user.email": user?.email,
    "user.name": user?.username,
    "report.breadcrumbs": report.notes["breadcrumbs"] === undefined
      ? undefined
      : reportData.breadcrumbsOf(report).map(({ message }) => message),
    "report.fingerprint": report.fingerprint,
    "report.count": report.count,
    "report.time": new Date(report.time).toISOString(),
    "exchange.phase": phase,
    "exchange.outcome": outcome,
    "exchange.duration": report.duration,
    "exception.unhandled": report.unhandled
  })
}
