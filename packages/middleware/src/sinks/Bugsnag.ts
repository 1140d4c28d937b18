/**
 * Sends reports to Bugsnag, with its own SDK: `@bugsnag/js`, a peer that only this module needs.
 *
 * **When to use** Give the layer to a program whose stack has the `Reporting` middleware.
 *
 * **Details** An event has the foremost error of the cause with what it was raised from, the wire's status, method, path and
 * header fields (redacted), the route as its context, request id, trace, user, notes, further errors of the cause as
 * metadata, breadcrumbs (the note `breadcrumbs`), and the report's fingerprint as its grouping hash. The client is one of our
 * own: it installs no handlers, tracks no sessions and reads no code. Queue, limits, sampling and deduplication are the
 * reporter's policy; an event that could not be delivered is a batch that its sink has lost.
 *
 * @see https://bugsnagerrorreportingapi.docs.apiary.io/
 * @since 0.1.0
 */
import bugsnag from "@bugsnag/js"
import type { Client, Event } from "@bugsnag/js"
import * as Report from "@sluice/core/Report"
import * as Reporter from "@sluice/core/Reporter"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as reportData from "../internal/reportData.ts"

/**
 * Where events go, and what they say of the program.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** 32 hexadecimal digits. */
  readonly apiKey: string
  /** The URL that takes events. @default Bugsnag's */
  readonly endpoint?: string
  /** @default "production" */
  readonly releaseStage?: string
  /** The version of the program. @default none */
  readonly appVersion?: string
}

/**
 * A sink, for a reporter of your own.
 *
 * **Details** Throws a `RangeError` when `apiKey` is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<Reporter.Sink> => {
  if (!/^[\da-f]{32}$/i.test(options.apiKey)) throw new RangeError("apiKey must be 32 hexadecimal digits")
  return Effect.sync(() => {
    const client = clientOf(options)
    return (batch) =>
      Effect.forEach(batch, (report) => send(client, report), { discard: true, concurrency: "unbounded" })
  })
}

/**
 * A reporter that sends to Bugsnag.
 *
 * @example
 * ```ts
 * import * as Bugsnag from "@sluice/middleware/sinks/Bugsnag"
 * import { Layer } from "effect"
 *
 * const Live = Bugsnag.layer({ apiKey: "0123456789abcdef0123456789abcdef", appVersion: "1.4.0" })
 * console.log(Layer.isLayer(Live)) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options, policy: Reporter.Policy = {}): Layer.Layer<Reporter.Reporter> =>
  Reporter.layer(make(options), policy)

const clientOf = ({ apiKey, appVersion, endpoint, releaseStage }: Options): Client =>
  bugsnag.default.createClient({
    apiKey,
    releaseStage: releaseStage ?? "production",
    ...(appVersion === undefined ? undefined : { appVersion }),
    ...(endpoint === undefined ? undefined : { endpoints: { notify: endpoint, sessions: endpoint } }),
    autoDetectErrors: false,
    autoTrackSessions: false,
    enabledBreadcrumbTypes: [],
    // What is redacted is redacted already.
    redactedKeys: [],
    sendCode: false,
    logger: null
  })

const send = (client: Client, report: Report.Report): Effect.Effect<void, unknown> =>
  Effect.callback((resume) => {
    const [error, ...others] = reportData.errorsOf(report)
    client.notify(
      error,
      (event) => describe(event, report, others),
      (failure: unknown) => resume(failure === null || failure === undefined ? Effect.void : Effect.fail(failure))
    )
  })

const severities = {
  Fatal: "error",
  Error: "error",
  Warn: "warning",
  Info: "info",
  Debug: "info",
  Trace: "info"
} as const

const describe = (event: Event, report: Report.Report, others: ReadonlyArray<Error>): void => {
  event.severity = severities[Report.severity(report)]
  event.unhandled = report.unhandled
  event.context = reportData.whereOf(report)
  event.groupingHash = report.fingerprint
  event.request = reportData.defined({
    httpMethod: report.method,
    url: report.path,
    headers: report.method === undefined ? undefined : { ...report.headers }
  })
  if (report.status !== undefined) event.response = { statusCode: report.status, headers: {} }
  if (report.trace !== undefined) event.setTraceCorrelation(report.trace.traceId, report.trace.spanId)
  const user = reportData.userOf(report)
  if (user !== undefined) event.setUser(user.id, user.email, user.username)
  event.addMetadata("report", {
    ...reportData.tagsOf(report),
    time: new Date(report.time).toISOString(),
    duration: report.duration,
    count: report.count
  })
  event.addMetadata("notes", reportData.notesOf(report))
  if (others.length > 0) event.addMetadata("report", "errors", others.map(String))
  // Sound: these are the members of a breadcrumb on the wire, and the SDK only writes them there.
  event.breadcrumbs = reportData.breadcrumbsOf(report).map(({ category, message, time }) => ({
    type: "manual",
    name: message,
    metaData: category === undefined ? {} : { category },
    timestamp: new Date(time)
  })) as unknown as Event["breadcrumbs"]
}
