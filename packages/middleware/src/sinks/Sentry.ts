/**
 * Sends reports to Sentry, with its own SDK: `@sentry/node`, a peer that only this module needs.
 *
 * **When to use** Give the layer to a program whose stack has the `Reporting` middleware.
 *
 * **Details** An event has every error of the cause with what each was raised from, the wire's status, method, path and
 * header fields (redacted), the route as its transaction, request id, trace id, user, notes, breadcrumbs (the note
 * `breadcrumbs`) and the report's fingerprint. The client is one of our own: nothing is patched, no handler of the process
 * is installed, no trace is sent, and a `Sentry.init` elsewhere is not disturbed. Queue, limits, sampling and deduplication
 * are the reporter's policy; an event that Sentry does not take is a batch that its sink has lost.
 *
 * @see https://develop.sentry.dev/sdk/data-model/envelopes/
 * @since 0.1.0
 */
import { defaultStackParser, makeNodeTransport, NodeClient, Scope } from "@sentry/node"
import type { ErrorEvent, Exception } from "@sentry/node"
import * as Report from "@sluice/core/Report"
import * as Reporter from "@sluice/core/Reporter"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope_ from "effect/Scope"
import * as reportData from "../internal/reportData.ts"

/**
 * Where events go, and what they say of the program.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly dsn: string
  /** @default "production" */
  readonly environment?: string
  /** The version of the program. @default none */
  readonly release?: string
  /** @default the machine's host name */
  readonly serverName?: string
}

/**
 * A sink, for a reporter of your own. Its client is closed with the scope.
 *
 * **Details** Throws a `RangeError` when `dsn` is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<Reporter.Sink, never, Scope_.Scope> => {
  requireDsn(options.dsn)
  return Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => clientOf(options)),
      // The last flush is behind us, so that there is nothing to wait for; the SDK takes 0 for ever.
      (client) => Effect.promise(() => Promise.resolve(client.close(1)))
    ),
    (client) => (batch) => send(client, batch)
  )
}

/**
 * A reporter that sends to Sentry.
 *
 * @example
 * ```ts
 * import * as Sentry from "@sluice/middleware/sinks/Sentry"
 * import { Layer } from "effect"
 *
 * const Live = Sentry.layer({ dsn: "https://key@o1.ingest.sentry.io/2", release: "shop@1.4.0" })
 * console.log(Layer.isLayer(Live)) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options, policy: Reporter.Policy = {}): Layer.Layer<Reporter.Reporter> =>
  Reporter.layer(make(options), policy)

const requireDsn = (dsn: string): void => {
  const url = URL.parse(dsn)
  if (url !== null && url.username !== "" && /\/\d+$/.test(url.pathname)) return
  throw new RangeError("dsn must be a DSN such as https://key@host/1")
}

const clientOf = ({ dsn, environment, release, serverName }: Options): NodeClient => {
  const client = new NodeClient({
    dsn,
    environment: environment ?? "production",
    ...(release === undefined ? undefined : { release }),
    ...(serverName === undefined ? undefined : { serverName }),
    integrations: [],
    stackParser: defaultStackParser,
    transport: makeNodeTransport,
    sendClientReports: false
  })
  client.init()
  return client
}

/** Waits for the answers, so that what was not taken is known. */
const send = (client: NodeClient, batch: ReadonlyArray<Report.Report>): Effect.Effect<void, Error> =>
  Effect.callback((resume) => {
    const waiting = new Set<string | undefined>()
    let refused = 0
    const stop = client.on("afterSendEvent", (event, { statusCode = 0 }) => {
      if (!waiting.delete(event.event_id)) return
      if (statusCode < 200 || statusCode > 299) refused += 1
      if (waiting.size > 0) return
      stop()
      resume(
        refused === 0 ? Effect.void : Effect.fail(new Error(`Sentry took all but ${refused} of ${batch.length} events`))
      )
    })
    for (const report of batch) waiting.add(client.captureEvent(eventOf(report), {}, scopeOf(report)))
    return Effect.sync(stop)
  })

/** One that has nothing of anybody else's. */
const scopeOf = ({ trace }: Report.Report): Scope => {
  const scope = new Scope()
  if (trace !== undefined) {
    scope.setPropagationContext({ traceId: trace.traceId, parentSpanId: trace.spanId, sampleRand: 0 })
  }
  return scope
}

const levels = {
  Fatal: "fatal",
  Error: "error",
  Warn: "warning",
  Info: "info",
  Debug: "debug",
  Trace: "debug"
} as const

const eventOf = (report: Report.Report): ErrorEvent => {
  const user = reportData.userOf(report)
  return {
    type: undefined,
    timestamp: report.time / 1000,
    platform: "node",
    level: levels[Report.severity(report)],
    transaction: reportData.whereOf(report),
    fingerprint: [report.fingerprint],
    exception: { values: exceptionsOf(report) },
    tags: reportData.tagsOf(report),
    extra: {
      ...reportData.notesOf(report),
      ...(report.count > 1 ? { count: report.count } : undefined),
      "exchange.duration": report.duration
    },
    contexts: {
      ...(report.status === undefined ? undefined : { response: { status_code: report.status } }),
      ...(report.trace === undefined
        ? undefined
        : { trace: { trace_id: report.trace.traceId, span_id: report.trace.spanId } })
    },
    breadcrumbs: reportData.breadcrumbsOf(report).map(({ category, message, time }) => ({
      timestamp: time / 1000,
      message,
      ...(category === undefined ? undefined : { category })
    })),
    ...(report.method === undefined ? undefined : {
      request: {
        method: report.method,
        ...(report.path === undefined ? undefined : { url: report.path }),
        headers: { ...report.headers }
      }
    }),
    ...(user === undefined ? undefined : { user })
  }
}

/** Sentry wants the innermost first and the one that counts last. */
const exceptionsOf = (report: Report.Report): Array<Exception> =>
  reportData.errorsOf(report).flatMap(reportData.chainOf).map((error) => ({
    type: error.name,
    value: error.message,
    mechanism: { type: "sluice", handled: !report.unhandled },
    stacktrace: { frames: defaultStackParser(error.stack ?? "") }
  })).toReversed()
