/**
 * What a reporter is told about one failure: the cause, what was written on the wire, and which request it was.
 *
 * **When to use** A middleware, a proxy or a job makes one with {@link make} and hands it to `Reporter`. A sink reads it,
 * as it is or as JSON with {@link toJson}.
 *
 * **Details** A report that {@link make} returns holds no secrets that have a name: the header fields and query parameters
 * that {@link redact} knows are blanked before anybody sees them. Notes and `user` are whatever was put there on purpose.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Fiber from "effect/Fiber"
import * as Headers from "effect/http/Headers"
import * as UrlParams from "effect/http/UrlParams"
import type * as LogLevel from "effect/LogLevel"
import * as Predicate from "effect/Predicate"
import * as Tracer from "effect/Tracer"
import * as Timer from "./Timer.ts"

/**
 * How far the exchange had come when it failed. Other words are allowed: a proxy and a job have phases of their own.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "handler" | "responseHead" | "responseBody" | (string & {})

/**
 * Where the failure is found in a trace.
 *
 * @category models
 * @since 0.1.0
 */
export interface Trace {
  readonly traceId: string
  readonly spanId: string
  readonly sampled: boolean
}

/**
 * One failure.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  /** The error or defect itself, not a copy. */
  readonly error: unknown
  /** Everything that is known about why: errors, defects and interruptions. */
  readonly cause: Cause.Cause<unknown>
  /** The status on the wire; `undefined` when no response was written. */
  readonly status: number | undefined
  /** `undefined` when it was no request that failed. */
  readonly method: string | undefined
  /** The template of the route, such as `/orders/:id`. */
  readonly route: string | undefined
  /** The path without its query. */
  readonly path: string | undefined
  /** The request's header fields, with secrets blanked. */
  readonly headers: Headers.Headers
  readonly requestId: string | undefined
  readonly trace: Trace | undefined
  /** Who asked; there only when somebody chose to put it there. */
  readonly user: unknown
  /** What handlers and middleware added through `Incident`. */
  readonly notes: Readonly<Record<string, unknown>>
  readonly phase: Phase
  /** How the exchange ended, in the words of `Exchange`. */
  readonly outcome: string
  /** Whether it was a defect: nobody declared it. */
  readonly unhandled: boolean
  /** When it happened, in milliseconds since 1970. */
  readonly time: number
  /** Milliseconds from the start of the exchange. */
  readonly duration: number
  /** Reports with the same fingerprint are the same trouble. */
  readonly fingerprint: string
  /** How many failures this report stands for. */
  readonly count: number
}

/**
 * What {@link make} needs: a cause or an error; the rest has defaults.
 *
 * @category models
 * @since 0.1.0
 */
export type Input =
  & Partial<Report>
  & ({ readonly cause: Cause.Cause<unknown> } | { readonly error: unknown })

/**
 * A report. Call it on the fiber that handles the request: time and trace come from there.
 *
 * **Details** Defaults: `error` is the cause's foremost error, `cause` a failure with `error`, `phase` "handler", `outcome`
 * "Failed", `unhandled` whether the cause holds a defect, `time` now, `duration` 0, `count` 1, `trace` the current span,
 * `fingerprint` from phase, method, route, the error's name and its message with all numbers taken out. A query in `path`
 * is cut off, and secrets are blanked as {@link redact} does it.
 *
 * @example
 * ```ts
 * import { Report } from "@sluice/core"
 *
 * const report = Report.make({ error: new Error("order 7 is gone"), status: 500, method: "GET", path: "/orders/7?full" })
 * console.log(report.path) // => /orders/7
 * console.log(report.fingerprint) // => handler GET Error order # is gone
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (input: Input): Report => {
  const cause = input.cause ?? Cause.fail(input.error)
  const error = "error" in input ? input.error : Cause.squash(cause)
  const phase = input.phase ?? "handler"
  return redact({
    error,
    cause,
    status: input.status,
    method: input.method,
    route: input.route,
    path: input.path?.split(/[?#]/, 1)[0],
    headers: input.headers ?? Headers.empty,
    requestId: input.requestId,
    trace: input.trace ?? currentTrace(),
    user: input.user,
    notes: input.notes ?? {},
    phase,
    outcome: input.outcome ?? "Failed",
    unhandled: input.unhandled ?? Cause.hasDies(cause),
    time: input.time ?? Timer.currentClock().currentTimeMillisUnsafe(),
    duration: input.duration ?? 0,
    fingerprint: input.fingerprint ?? fingerprint(phase, input.method, input.route, error),
    count: input.count ?? 1
  })
}

const currentTrace = (): Trace | undefined => {
  const context = Fiber.getCurrent()?.context
  const span = context === undefined ? undefined : Context.getOrUndefined(context, Tracer.ParentSpan)
  return span === undefined ? undefined : { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled }
}

const fingerprint = (phase: string, method: string | undefined, route: string | undefined, error: unknown): string =>
  [phase, method, route, name(error), withoutNumbers(message(error))].filter((part) =>
    part !== undefined && part !== ""
  )
    .join(" ")

/** Numbers, hexadecimal ids and UUIDs: what differs between two messages about the same trouble. */
const withoutNumbers = (text: string): string =>
  text.slice(0, 200).replaceAll(/\b(?=[0-9a-f-]*\d)[0-9a-f]+(?:-[0-9a-f]+)*\b/gi, "#")

/**
 * The name of an error: its tag, its name, or the kind of value that was thrown.
 *
 * @example
 * ```ts
 * import { Report } from "@sluice/core"
 *
 * console.log(Report.name(new TypeError("no"))) // => TypeError
 * console.log(Report.name({ _tag: "OutOfStock" })) // => OutOfStock
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const name = (error: unknown): string => {
  if (Predicate.hasProperty(error, "_tag") && typeof error._tag === "string") return error._tag
  if (Predicate.hasProperty(error, "name") && typeof error.name === "string") return error.name
  return typeof error
}

const message = (error: unknown): string => {
  if (typeof error === "string") return error
  return Predicate.hasProperty(error, "message") && typeof error.message === "string" ? error.message : ""
}

/**
 * How grave it is.
 *
 * **Details** What the error itself says (`ErrorReporter.severity`) counts first. A client that left is `Info`; what the
 * client is to blame for, by status or by the error's `blame`, is `Warn`; the rest is `Error`, as OpenTelemetry wants it
 * for failed server requests.
 *
 * @example
 * ```ts
 * import { Report } from "@sluice/core"
 *
 * console.log(Report.severity(Report.make({ error: "boom", status: 500 }))) // => Error
 * console.log(Report.severity(Report.make({ error: "boom", status: 400 }))) // => Warn
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const severity = (report: Report): LogLevel.Severity => {
  const error = report.error
  if (Predicate.hasProperty(error, ErrorReporter.severity)) return ErrorReporter.getSeverity(error)
  if (report.outcome === "ClientAborted") return "Info"
  if (report.unhandled) return "Error"
  if (Predicate.hasProperty(error, "blame") && error.blame === "client") return "Warn"
  return report.status !== undefined && report.status >= 400 && report.status < 500 ? "Warn" : "Error"
}

const blank = "<redacted>"

const secretHeaders: ReadonlyArray<string> = [
  "authorization",
  "proxy-authorization",
  "cookie",
  "set-cookie",
  "x-api-key"
]

const secretParameter =
  /^(?:.*[_-])?(?:token|secret|password|passwd|pwd|api[_-]?key|apikey|signature|sig|session|sid|jwt|auth|code)$/i

/**
 * Blanks what is secret by name: header fields (Effect's `Headers.CurrentRedactedNames` and at least `authorization`,
 * `proxy-authorization`, `cookie`, `set-cookie`, `x-api-key`), and query parameters (`UrlParams.CurrentRedactedNames` and
 * names such as `token`, `api_key`, `password`) in header fields and notes that hold a URL.
 *
 * @example
 * ```ts
 * import { Report } from "@sluice/core"
 * import { Headers } from "effect/http"
 *
 * const headers = Headers.fromInput({ authorization: "Basic eDp5", referer: "/a?token=t&page=2" })
 * const report = Report.make({ error: "boom", headers })
 * console.log(report.headers["authorization"]) // => <redacted>
 * console.log(report.headers["referer"]) // => /a?token=REDACTED&page=2
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const redact = (report: Report): Report => {
  const context = Fiber.getCurrent()?.context ?? Context.empty()
  const headers = [...secretHeaders, ...Context.get(context, Headers.CurrentRedactedNames)]
  const parameters = [secretParameter, ...Context.get(context, UrlParams.CurrentRedactedNames)]
  return {
    ...report,
    headers: Headers.fromRecordUnsafe(
      mapRecord(
        report.headers,
        (value, name) => Headers.isRedactedName(name, headers) ? blank : redactQuery(value, parameters)
      )
    ),
    notes: mapRecord(report.notes, (value) => typeof value === "string" ? redactQuery(value, parameters) : value)
  }
}

const mapRecord = <A, B>(self: Readonly<Record<string, A>>, f: (value: A, name: string) => B): Record<string, B> => {
  const out: Record<string, B> = {}
  for (const name of Object.keys(self)) out[name] = f(self[name], name)
  return out
}

const redactQuery = (text: string, names: ReadonlyArray<string | RegExp>): string =>
  text.includes("?") || text.includes("@") ? UrlParams.redactUrl(text, names) : text

/**
 * One error of a report's cause as JSON.
 *
 * @category models
 * @since 0.1.0
 */
export interface JsonError {
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  /** What it was raised from (`Error.cause`), when that is an error too. */
  readonly cause?: JsonError
}

/**
 * A report as plain data: what `Reporter.layerHttp` sends, one object a report.
 *
 * @category models
 * @since 0.1.0
 */
export interface Json extends Omit<Report, "cause" | "error"> {
  readonly severity: LogLevel.Severity
  /** Every error and defect of the cause, the foremost first. */
  readonly errors: ReadonlyArray<JsonError>
}

/**
 * A report as plain data. Members that are `undefined` are left out when it is written.
 *
 * @example
 * ```ts
 * import { Report } from "@sluice/core"
 *
 * const json = Report.toJson(Report.make({ error: new Error("boom"), status: 503 }))
 * console.log(json.severity, json.status, json.errors[0].message) // => Error 503 boom
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const toJson = (report: Report): Json => {
  const { cause, error: _error, ...rest } = report
  return {
    ...rest,
    severity: severity(report),
    errors: Cause.prettyErrors(cause).map((error) => toJsonError(error))
  }
}

/** Deep enough for any chain that somebody wrote; an end for one that bites its tail. */
const deepest = 8

const toJsonError = (error: Error, depth = 1): JsonError => ({
  name: error.name,
  message: error.message,
  stack: error.stack,
  ...(error.cause instanceof Error && depth < deepest ? { cause: toJsonError(error.cause, depth + 1) } : undefined)
})
