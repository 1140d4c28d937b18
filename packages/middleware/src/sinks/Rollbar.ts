/**
 * Sends reports to Rollbar, with its own SDK: `rollbar`, a peer that only this module needs.
 *
 * **When to use** Give the layer to a program whose stack has the `Reporting` middleware.
 *
 * **Details** An item has the foremost error of the cause with what it was raised from, the wire's status, method, path and
 * header fields (redacted), the route as its context, request id, trace, user, notes, further errors of the cause,
 * breadcrumbs (the note `breadcrumbs`), and the report's fingerprint. The notifier is one of our own: it installs no
 * handlers, instruments nothing, sends no lines of code and drops no repetition. Queue, limits, sampling and deduplication are the
 * reporter's policy; an item that Rollbar does not take is a batch that its sink has lost.
 *
 * @see https://docs.rollbar.com/reference/create-item
 * @since 0.1.0
 */
import * as Report from "@sluice/core/Report"
import * as Reporter from "@sluice/core/Reporter"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import Rollbar from "rollbar"
import * as reportData from "../internal/reportData.ts"

/**
 * Where items go, and what they say of the program.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** A token of the scope `post_server_item`. */
  readonly accessToken: string
  /** The URL that takes items, such as `https://api.rollbar.com/api/1/item/`. @default that one */
  readonly endpoint?: string
  /** @default "production" */
  readonly environment?: string
  /** The version of the program. @default none */
  readonly codeVersion?: string
}

/**
 * A sink, for a reporter of your own.
 *
 * **Details** Throws a `RangeError` when `accessToken` is empty.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<Reporter.Sink> => {
  if (options.accessToken === "") throw new RangeError("accessToken must not be empty")
  return Effect.sync(() => {
    const underWay = new Map<number, Report.Report>()
    const notifier = notifierOf(options, underWay)
    let last = 0
    return (batch) =>
      Effect.forEach(batch, (report) =>
        Effect.suspend(() => {
          const key = last += 1
          underWay.set(key, report)
          return Effect.ensuring(send(notifier, key, report), Effect.sync(() => underWay.delete(key)))
        }), { discard: true, concurrency: "unbounded" })
  })
}

/**
 * A reporter that sends to Rollbar.
 *
 * @example
 * ```ts
 * import * as Rollbar from "@sluice/middleware/sinks/Rollbar"
 * import { Layer } from "effect"
 *
 * const Live = Rollbar.layer({ accessToken: "token", codeVersion: "1.4.0" })
 * console.log(Layer.isLayer(Live)) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options, policy: Reporter.Policy = {}): Layer.Layer<Reporter.Reporter> =>
  Reporter.layer(make(options), policy)

/** By this the notifier finds the report of an item. */
const keyName = "sluice.report"

const notifierOf = (
  { accessToken, codeVersion, endpoint, environment }: Options,
  underWay: ReadonlyMap<number, Report.Report>
): Rollbar =>
  new Rollbar({
    accessToken,
    environment: environment ?? "production",
    ...(endpoint === undefined ? undefined : { endpoint }),
    ...(codeVersion === undefined ? undefined : { codeVersion }),
    captureUncaught: false,
    captureUnhandledRejections: false,
    autoInstrument: false,
    includeItemsInTelemetry: false,
    ignoreDuplicateErrors: false,
    // The reporter has a limit of its own.
    itemsPerMinute: 1_000_000,
    verbose: false,
    transform: (data) => {
      // Sound: this much of an item is documented.
      const { body, custom } = data as Item
      const report = underWay.get(Number(custom?.[keyName]))
      if (report !== undefined) Object.assign(data, dataOf(report))
      for (const { frames = [] } of body?.trace_chain ?? []) frames.forEach(withoutCode)
    }
  })

interface Frame {
  code?: unknown
  context?: unknown
}

interface Item {
  readonly custom?: Readonly<Record<string, unknown>>
  readonly body?: { readonly trace_chain?: ReadonlyArray<{ readonly frames?: ReadonlyArray<Frame> }> }
}

/** The notifier reads the program's sources, which are nobody else's business. */
const withoutCode = (frame: Frame): void => {
  delete frame.code
  delete frame.context
}

const levels = {
  Fatal: "critical",
  Error: "error",
  Warn: "warning",
  Info: "info",
  Debug: "debug",
  Trace: "debug"
} as const

const send = (notifier: Rollbar, key: number, report: Report.Report): Effect.Effect<void, unknown> =>
  Effect.callback((resume) => {
    const [error] = reportData.errorsOf(report)
    notifier[levels[Report.severity(report)]](
      error,
      { [keyName]: key },
      (failure: unknown) => resume(failure === null || failure === undefined ? Effect.void : Effect.fail(failure))
    )
  })

/** What takes the place of the notifier's own guesses. */
const dataOf = (report: Report.Report): Record<string, unknown> => {
  const [, ...others] = reportData.errorsOf(report)
  const breadcrumbs = reportData.breadcrumbsOf(report)
  return reportData.defined({
    timestamp: Math.floor(report.time / 1000),
    context: reportData.whereOf(report),
    fingerprint: report.fingerprint,
    person: reportData.userOf(report),
    request: report.method === undefined
      ? undefined
      : reportData.defined({ method: report.method, url: report.path, headers: { ...report.headers } }),
    custom: {
      ...reportData.notesOf(report),
      ...reportData.tagsOf(report),
      ...(report.trace === undefined ? undefined : { "span.id": report.trace.spanId }),
      duration: report.duration,
      count: report.count,
      unhandled: report.unhandled,
      ...(others.length === 0 ? undefined : { errors: others.map(String) }),
      ...(breadcrumbs.length === 0 ? undefined : { breadcrumbs })
    }
  })
}
