/**
 * The port through which failures leave the process: to a console, a log, a webhook, a test.
 *
 * **When to use** A middleware (`Reporting`), the proxy or a job calls `report`; which Layer is provided decides where it
 * goes, and nothing else changes. To write an adapter for a service, write a {@link Sink} of ten lines and hand it to
 * {@link layer}.
 *
 * **Details** `report` cannot fail and cannot wait: it puts the report into a bounded queue and returns. One fiber feeds
 * the sink, in batches, in a turn of its own. A sink that throws, fails, dies, hangs or takes its time changes no response
 * and no latency; it loses reports, which are counted ({@link dropped}), and once a minute a warning is logged. When the
 * scope closes, what is queued is delivered, within a deadline.
 *
 * **Gotchas** JavaScript has one thread: a sink that computes for 300 ms delays no response whose request reported, but
 * requests that come in meanwhile wait, as they would for anything else that computes.
 *
 * @since 0.1.0
 */
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import type * as Headers from "effect/http/Headers"
import type * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as errorReporter from "./internal/errorReporter.ts"
import { settings } from "./internal/reporterPolicy.ts"
import type { Policy } from "./internal/reporterPolicy.ts"
import * as reporterQueue from "./internal/reporterQueue.ts"
import type { Sink } from "./internal/reporterQueue.ts"
import * as reportText from "./internal/reportText.ts"
import * as webhook from "./internal/webhook.ts"
import * as Report from "./Report.ts"

export type { Policy } from "./internal/reporterPolicy.ts"
export type { DropReason, Sink } from "./internal/reporterQueue.ts"
export { dropped } from "./internal/reporterQueue.ts"

/**
 * The port.
 *
 * @example
 * ```ts
 * import { Report, Reporter } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const reporter = yield* Reporter.Reporter
 *   yield* reporter.report(Report.make({ error: new Error("boom"), status: 500, method: "GET", route: "/orders/:id" }))
 *   const memory = yield* Reporter.Memory
 *   return yield* memory.reports
 * })
 *
 * const reports = Effect.runSync(Effect.provide(program, Reporter.layerMemory))
 * console.log(reports.map((report) => report.route).join()) // => /orders/:id
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Reporter extends Context.Service<Reporter, {
  /** Takes a report. Cannot fail, does not wait. */
  readonly report: (report: Report.Report) => Effect.Effect<void>
  /** Waits until everything reported so far has been delivered or given up, at most for the policy's `flushTimeout`. */
  readonly flush: Effect.Effect<void>
}>()("@sluice/core/Reporter") {}

/**
 * A reporter that sends to a sink under a policy, for as long as the scope is open.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R = never>(
  sink: Sink<R>,
  policy: Policy = {}
): Effect.Effect<Reporter["Service"], never, R | Scope.Scope> => {
  const checked = settings(policy)
  return Effect.contextWith((context: Context.Context<R>) => {
    // What a sink reports to Effect must not come back here.
    const quiet = Context.add(context, ErrorReporter.CurrentErrorReporters, new Set())
    return reporterQueue.make((batch) => Effect.provideContext(sink(batch), quiet), checked)
  })
}

/**
 * A reporter from an Effect that builds its sink. The sink's own resources outlive the last flush.
 *
 * **Details** Throws a `RangeError` that names the field when the policy makes no sense.
 *
 * @example
 * ```ts
 * import { Report, Reporter } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * const sink: Reporter.Sink = (batch) => Effect.sync(() => console.log(batch.length, batch[0].count))
 *
 * const program = Effect.gen(function*() {
 *   const { flush, report } = yield* Reporter.Reporter
 *   yield* report(Report.make({ error: "boom" }))
 *   yield* report(Report.make({ error: "boom" }))
 *   yield* flush // => 1 2
 * })
 *
 * const Live = Reporter.layer(Effect.succeed(sink), { dedupeWindow: "5 seconds" })
 * await Effect.runPromise(Effect.provide(program, Live))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <E = never, R = never, RS = never>(
  sink: Effect.Effect<Sink<RS>, E, R>,
  policy: Policy = {}
): Layer.Layer<Reporter, E, Exclude<R | RS, Scope.Scope>> => {
  settings(policy)
  return Layer.effect(Reporter, Effect.flatMap(sink, (sink) => make(sink, policy)))
}

/**
 * Forgets every report.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoop: Layer.Layer<Reporter> = Layer.succeed(Reporter, {
  report: () => Effect.void,
  flush: Effect.void
})

/**
 * What a test reads: the reports, in the order in which they were made.
 *
 * @category services
 * @since 0.1.0
 */
export class Memory extends Context.Service<Memory, {
  readonly reports: Effect.Effect<ReadonlyArray<Report.Report>>
  readonly clear: Effect.Effect<void>
}>()("@sluice/core/Reporter/Memory") {}

/**
 * Keeps every report, for tests. No queue, no other fiber: what has been reported is there.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Reporter | Memory> = Layer.effectContext(Effect.sync(() => {
  let reports: ReadonlyArray<Report.Report> = []
  const write = (next: ReadonlyArray<Report.Report>): Effect.Effect<void> =>
    Effect.sync(() => {
      reports = next
    })
  return Context.make(Reporter, {
    report: (report) => Effect.suspend(() => write([...reports, Report.redact(report)])),
    flush: Effect.void
  }).pipe(Context.add(Memory, { reports: Effect.sync(() => reports), clear: write([]) }))
}))

/**
 * One readable line and the whole cause, to stderr.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConsole: Layer.Layer<Reporter> = layer(
  Effect.succeed((batch) =>
    Effect.forEach(batch, (report) => Console.error(reportText.text(report)), { discard: true })
  )
)

/**
 * An entry a report in Effect's log, with the cause, at the report's severity, with annotations in the names of
 * OpenTelemetry (`http.route`, `http.response.status_code`, `error.type`, …) where it has them.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerLog: Layer.Layer<Reporter> = layer(Effect.succeed((batch) =>
  Effect.forEach(
    batch,
    (report) =>
      Effect.annotateLogs(
        Effect.logWithLevel(Report.severity(report))(reportText.line(report), report.cause),
        reportText.annotations(report)
      ),
    { discard: true }
  )
))

/**
 * Where {@link layerHttp} sends to.
 *
 * @category models
 * @since 0.1.0
 */
export interface HttpOptions {
  readonly url: string | URL
  /** Header fields of each request, such as `authorization`. @default none */
  readonly headers?: Headers.Input
  /** The JSON body for a batch. @default `{ "reports": [Report.Json, …] }` */
  readonly encode?: (batch: ReadonlyArray<Report.Report>) => unknown
}

/**
 * Posts batches to a webhook, as `application/json`: `{ "reports": [ … ] }`, each of them a `Report.Json`.
 *
 * **Details** Any 2xx is success. Transport errors, 408, 429 and 5xx (500, 502, 503, 504) are tried again, five times at
 * most, after 250 ms, 500 ms, 1 s, … and never before the time that `Retry-After` names; any other status loses the batch.
 * The policy's `sinkTimeout`, here 2 minutes by default, ends the attempts.
 *
 * @example
 * ```ts
 * import { Reporter } from "@sluice/core"
 * import { Layer } from "effect"
 * import { FetchHttpClient } from "effect/http"
 *
 * const Live = Reporter.layerHttp({ url: "https://errors.example/hook", headers: { authorization: "Bearer t" } }).pipe(
 *   Layer.provide(FetchHttpClient.layer)
 * )
 * console.log(Layer.isLayer(Live)) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHttp = (
  options: HttpOptions,
  policy: Policy = {}
): Layer.Layer<Reporter, never, HttpClient.HttpClient> =>
  layer(webhook.sink(options), { sinkTimeout: "2 minutes", ...policy })

/**
 * One reporter that reports to all of several; none of them can keep a report from the others.
 *
 * @category combinators
 * @since 0.1.0
 */
export const tee = (reporters: ReadonlyArray<Reporter["Service"]>): Reporter["Service"] => ({
  report: (report) =>
    Effect.forEach(reporters, (reporter) => Effect.catchCause(reporter.report(report), () => Effect.void), {
      discard: true
    }),
  flush: Effect.forEach(reporters, (reporter) => Effect.catchCause(reporter.flush, () => Effect.void), {
    discard: true,
    concurrency: "unbounded"
  })
})

/**
 * Reports to the reporters of all the layers. Whatever else they provide (`Memory`) is provided too.
 *
 * @example
 * ```ts
 * import { Reporter } from "@sluice/core"
 * import { Layer } from "effect"
 *
 * const Live = Reporter.layerTee(Reporter.layerMemory, Reporter.layerLog)
 * console.log(Layer.isLayer(Live)) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerTee = <const Layers extends ReadonlyArray<Layer.Layer<Reporter, unknown, unknown>>>(
  ...layers: Layers
): Layer.Layer<
  Reporter | Layer.Success<Layers[number]>,
  Layer.Error<Layers[number]>,
  Layer.Services<Layers[number]>
> => {
  type Out = Layer.Success<Layers[number]>
  const build = Effect.gen(function*() {
    let context: Context.Context<never> = Context.empty()
    const reporters: Array<Reporter["Service"]> = []
    for (const layer of layers) {
      const built = yield* Layer.build(layer)
      reporters.push(Context.get(built, Reporter))
      context = Context.merge(context, built)
    }
    // Sound: every layer's services have been merged in; only `Reporter` is replaced.
    return Context.add(context, Reporter, tee(reporters)) as Context.Context<Reporter | Out>
  })
  // Sound: building the layers fails and needs what each of them does, which the constraint's `unknown` hides.
  return Layer.effectContext(
    build as Effect.Effect<
      Context.Context<Reporter | Out>,
      Layer.Error<Layers[number]>,
      Layer.Services<Layers[number]>
    >
  )
}

/**
 * Reports to Effect's `ErrorReporter`s: the ones given, or else those that are registered where the layer is built.
 *
 * **When to use** For an adapter that somebody else wrote for Effect, such as Sentry's.
 *
 * **Details** Each is called on the reporter's own fiber and guarded: one that throws keeps nothing from the others. The
 * fiber that they are shown carries the report's route, status, request id and so on as log annotations.
 *
 * @example
 * ```ts
 * import { Report, Reporter } from "@sluice/core"
 * import { Effect, ErrorReporter } from "effect"
 *
 * const theirs = ErrorReporter.make(({ error }) => console.log(error.message))
 *
 * const program = Effect.gen(function*() {
 *   const { flush, report } = yield* Reporter.Reporter
 *   yield* report(Report.make({ error: new Error("boom"), status: 500 }))
 *   yield* flush // => boom
 * })
 * await Effect.runPromise(Effect.provide(program, Reporter.fromErrorReporter(theirs)))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const fromErrorReporter = (...reporters: ReadonlyArray<ErrorReporter.ErrorReporter>): Layer.Layer<Reporter> =>
  layer(
    Effect.map(
      ErrorReporter.CurrentErrorReporters,
      (registered) => errorReporter.sink(reporters.length > 0 ? reporters : [...registered])
    )
  )

/**
 * Registers with Effect's `ErrorReporter`: what is reported by `ErrorReporter.report` and `Effect.withErrorReporting`
 * arrives here, with the request, route and span of the fiber that reported it.
 *
 * **When to use** For failures outside of requests: background fibers, queues, schedules. Reporters that are registered
 * already stay.
 *
 * **Details** Interruptions and errors marked with `ErrorReporter.ignore` are left out. Unlike a reporter that
 * `ErrorReporter.make` made, this one reports an error object that occurs twice, twice.
 *
 * **Gotchas** Effect's server boundary reports every failed handler, whatever its status. Where the `Reporting` middleware
 * is in the stack, register this layer for the background part of the application only, or failures arrive twice.
 *
 * @example
 * ```ts
 * import { Reporter } from "@sluice/core"
 * import { Effect, Layer } from "effect"
 *
 * const job = Effect.fail("the mail server is away").pipe(Effect.withErrorReporting, Effect.ignore)
 * const program = Effect.gen(function*() {
 *   yield* job
 *   const memory = yield* Reporter.Memory
 *   return yield* memory.reports
 * })
 *
 * const Live = Layer.provideMerge(Reporter.layerErrorReporter, Reporter.layerMemory)
 * console.log(Effect.runSync(Effect.provide(program, Live))[0].error) // => the mail server is away
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerErrorReporter: Layer.Layer<never, never, Reporter> = ErrorReporter.layer(
  [Effect.map(Reporter, (reporter) => errorReporter.bridge(reporter.report))],
  { mergeWithExisting: true }
)
