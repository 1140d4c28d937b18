/**
 * One log entry a request, when it has ended: what was asked, what was written, how long it took and how it ended.
 *
 * **When to use** At the server's edge, outermost: there it also sees 404s and requests that never reach a pipeline
 * (malformed, over a limit).
 *
 * **Details** The entry comes after the last byte, or when the connection was lost, so a streamed response is one entry with
 * its whole duration and size. Status and bytes are the wire's. Entries go to Effect's logger, at the level `Info`; at
 * `Error` when the status is 5xx or the response broke off through our own fault. A 4xx is an answer like any other, and a
 * client that left or sent something malformed is no trouble of the service, so these are `Info`, too.
 *
 * **Gotchas** Query strings and `Referer` are left out, since they hold secrets; `path` and `referer` bring them back.
 * Effect's loggers put time and level in front of a line of the formats `combined`, `json` and `w3c`; a log of nothing but
 * such lines takes a logger of its own.
 *
 * @since 0.1.0
 */
import type * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Middleware from "@sluice/core/Middleware"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import * as accessLine from "./internal/accessLine.ts"
import { requestIdOf, traceOf } from "./internal/attributes.ts"
import { clientAddress } from "./internal/clientAddress.ts"
import { requireOneOf } from "./internal/options.ts"
import { pathOf } from "./internal/requestPath.ts"

/**
 * What is logged of an exchange. Control characters in what a client sent are replaced by `?`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  /** When the request arrived, in milliseconds since 1970. */
  readonly time: number
  readonly method: string
  /** The template of the route. */
  readonly route: string | undefined
  readonly path: string
  /** `1.0`, `1.1` or `2.0`. */
  readonly httpVersion: string
  /** The status on the wire; `undefined` when no response was written. */
  readonly status: number | undefined
  /** Bytes of the request body that were read. */
  readonly bytesIn: number
  /** Bytes of the response body that were written. */
  readonly bytesOut: number
  /** Milliseconds from the request head to the end. */
  readonly duration: number
  /** Milliseconds until the response head was written. */
  readonly firstByteAfter: number | undefined
  readonly outcome: Exchange.Outcome["_tag"]
  readonly requestId: string | undefined
  readonly traceId: string | undefined
  /** The client's address, by the application's `TrustedPeers`. */
  readonly clientAddress: string | undefined
  readonly userAgent: string | undefined
  /** There only when {@link Options.referer} asks for it. */
  readonly referer: string | undefined
}

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * How an entry is written: `structured` is a short line whose data are log annotations, in OpenTelemetry's names where
   * it has some; the others are a line of {@link combined}, {@link json} or {@link w3c}. @default "structured"
   */
  readonly format?: "structured" | "combined" | "json" | "w3c" | ((entry: Entry) => string)
  /** The level of an entry. @default {@link defaultLevel} */
  readonly level?: (exchange: Exchange.Ended) => LogLevel.Severity
  /** Exchanges that are not logged. @default none */
  readonly skip?: (exchange: Exchange.Ended) => boolean
  /** What is logged as the path. @default the path, without query and origin */
  readonly path?: (exchange: Exchange.Ended) => string
  /** Whether `Referer` is logged. @default false */
  readonly referer?: boolean
}

/**
 * Logs every exchange.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { AccessLog } from "@sluice/middleware"
 * import { Effect, Layer, Logger } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const edge = AccessLog.make({ format: ({ method, outcome, path, status }) => `${method} ${path} ${status} ${outcome}` })
 * const Hello = Route.get("/hello", Effect.succeed(HttpServerResponse.text("hello")))
 *
 * const lines: Array<unknown> = []
 * const Lines = Logger.layer([Logger.make(({ message }) => lines.push(message))])
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello, { edge })
 *   yield* Effect.promise(() => fetch(new Request("http://localhost/hello?secret=1")))
 * })
 * await Effect.runPromise(Effect.provide(Effect.scoped(program), Lines))
 * console.log(lines.flat()) // => ["GET /hello 200 Completed"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Middleware.Middleware<never, never, HttpServerRequest> => {
  const level = options.level ?? defaultLevel
  const skip = options.skip ?? (() => false)
  const write = writer(options.format ?? "structured")
  return Middleware.observeUnsafe("AccessLog", (exchange, context) => {
    if (skip(exchange)) return undefined
    const severity = level(exchange)
    return isLogged(severity, context) ? write(entryOf(exchange, context, options), severity) : undefined
  })
}

/** What no logger will see need not be made. */
const isLogged = (level: LogLevel.Severity, context: Context.Context<never>): boolean =>
  !LogLevel.isGreaterThan(Context.get(context, References.MinimumLogLevel), level) &&
  Context.get(context, Logger.CurrentLoggers).size > 0

/**
 * `Info` for what the client is to blame for and for every response below 500; `Error` for 5xx and for responses that
 * broke off through our own fault; `Warn` for those that a shutdown cut off.
 *
 * @category getters
 * @since 0.1.0
 */
export const defaultLevel = ({ outcome, status = 0 }: Exchange.Ended): LogLevel.Severity => {
  if (outcome._tag === "ClientAborted" || outcome._tag === "Rejected") return "Info"
  if (status >= 500 || outcome._tag === "Failed") return "Error"
  if (outcome._tag === "Drained") return "Warn"
  return outcome._tag === "TimedOut" && status < 400 ? "Error" : "Info"
}

/**
 * An entry as the combined log format of Apache and nginx has it, in UTC.
 *
 * @example
 * ```ts
 * import { AccessLog } from "@sluice/middleware"
 *
 * const entry: AccessLog.Entry = {
 *   time: Date.UTC(2026, 9, 10, 13, 55, 36),
 *   method: "GET",
 *   route: "/orders/:id",
 *   path: "/orders/7",
 *   httpVersion: "1.1",
 *   status: 200,
 *   bytesIn: 0,
 *   bytesOut: 5,
 *   duration: 12,
 *   firstByteAfter: 10,
 *   outcome: "Completed",
 *   requestId: undefined,
 *   traceId: undefined,
 *   clientAddress: "198.51.100.4",
 *   userAgent: "curl/8",
 *   referer: undefined
 * }
 * const combined = AccessLog.combined(entry)
 * console.log(combined) // => 198.51.100.4 - - [10/Oct/2026:13:55:36 +0000] "GET /orders/7 HTTP/1.1" 200 5 "-" "curl/8"
 * const w3c = AccessLog.w3c(entry)
 * console.log(w3c) // => 2026-10-10 13:55:36 198.51.100.4 GET /orders/7 HTTP/1.1 200 5 0 0.012 curl/8 -
 * ```
 *
 * @see https://httpd.apache.org/docs/current/logs.html#combined
 * @category formatters
 * @since 0.1.0
 */
export const combined: (entry: Entry) => string = accessLine.combined

/**
 * An entry as an object in a line, with the members of {@link Entry}; those that are `undefined` are left out.
 *
 * @category formatters
 * @since 0.1.0
 */
export const json: (entry: Entry) => string = accessLine.json

/**
 * An entry in the W3C extended log file format, with the fields of {@link w3cDirectives}; `-` stands for what is not known,
 * `+` for a space.
 *
 * @see https://www.w3.org/TR/WD-logfile.html
 * @category formatters
 * @since 0.1.0
 */
export const w3c: (entry: Entry) => string = accessLine.w3c

/**
 * The two lines that a file of {@link w3c} lines begins with.
 *
 * @category formatters
 * @since 0.1.0
 */
export const w3cDirectives: string = accessLine.w3cDirectives

type Write = (entry: Entry, level: LogLevel.Severity) => Effect.Effect<void>

const writer = (format: NonNullable<Options["format"]>): Write => {
  if (typeof format === "function") return (entry, level) => Effect.logWithLevel(level)(format(entry))
  switch (requireOneOf("format", format, ["structured", "combined", "json", "w3c"])) {
    case "combined":
      return writer(accessLine.combined)
    case "json":
      return writer(accessLine.json)
    case "w3c":
      return writer(accessLine.w3c)
    case "structured":
      return (entry, level) =>
        Effect.updateService(
          Effect.logWithLevel(level)(accessLine.short(entry)),
          References.CurrentLogAnnotations,
          (before) => accessLine.annotations(entry, before)
        )
  }
}

const entryOf = (exchange: Exchange.Ended, context: Context.Context<never>, options: Options): Entry => {
  const header = (name: string): string | undefined => printable(Fields.get(exchange.requestFields, name))
  return {
    time: exchange.startedAt,
    method: exchange.method,
    route: exchange.route,
    path: printable((options.path ?? pathOf)(exchange)),
    httpVersion: exchange.httpVersion,
    status: exchange.status,
    bytesIn: exchange.bytesIn,
    bytesOut: exchange.bytesOut,
    duration: exchange.duration,
    firstByteAfter: exchange.firstByteAfter,
    outcome: exchange.outcome._tag,
    requestId: requestIdOf(exchange),
    traceId: (traceOf(exchange) ?? Context.getOrUndefined(context, Tracer.ParentSpan))?.traceId,
    clientAddress: clientAddress(exchange, Context.get(context, TrustedPeers.TrustedPeers)),
    userAgent: header("user-agent"),
    referer: options.referer === true ? header("referer") : undefined
  }
}

/** What a terminal or a log collector would take for something else than text. */
// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f-\u009f]/

const controls = new RegExp(control, "g")

/** Nearly every text is: to look costs less than to replace nothing. */
const printable = <A extends string | undefined>(text: A): A =>
  // Sound: a string stays one.
  text === undefined || !control.test(text) ? text : text.replaceAll(controls, "?") as A
