/**
 * Reports what a service is to blame for: every 5xx, every defect and every body that broke off, once, with its cause.
 *
 * **When to use** At the edge, outermost but for the access log. Where reports go is the Layer of `Reporter`; nothing here
 * changes with it.
 *
 * **Details** It reads the exchange when it has ended: the status is the one on the wire, whoever decided it. A 5xx is
 * reported when its handler failed, died, returned it, or when a middleware made it of an error: with the original error
 * and its cause. A handler that answers 502 by itself says why through `Incident`, which this provides; what is said there
 * and what the exchange knows are put together. A 5xx that nobody explained is reported as {@link Unexplained}.
 * A response that broke off under way is reported whatever its status, as is a defect that was answered with less than 500.
 *
 * Not reported: a client that left, a request that was malformed or over a limit, any other 4xx, and errors that say so
 * themselves (`report: false` of a `Problem`, `ErrorReporter.ignore`), unless such an error of less than 500 was turned
 * into a 5xx. Of nested ones, the outermost that wants to reports.
 *
 * A report's notes hold the request's `url` with secret parameters blanked when it had a query, the exchange's attributes
 * that are plain values, the error's own `ErrorReporter.attributes` and what `Incident` was told. The attributes
 * `request.id` and `user` become the report's members of that name.
 *
 * **Gotchas** Failures of middleware outside of it reach nobody. Effect's own `ErrorReporter` hears nothing of requests,
 * whose failures are all answered inside: give `Reporter.fromErrorReporter` to this instead.
 *
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Incident from "@sluice/core/Incident"
import * as Middleware from "@sluice/core/Middleware"
import * as Report from "@sluice/core/Report"
import * as Reporter from "@sluice/core/Reporter"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { requestIdKey, requestIdOf, traceOf, userKey } from "./internal/attributes.ts"
import { provided } from "./internal/provided.ts"
import { pathOf, urlOf } from "./internal/requestPath.ts"
import { withSecretNames } from "./internal/secretNames.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Asked last, about exchanges that would be reported. @default all of them are */
  readonly when?: (exchange: Exchange.Ended) => boolean
}

/**
 * A 5xx for which there is no cause: the handler returned it and told nobody why.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unexplained extends Data.TaggedError("Unexplained")<{ readonly status: number | undefined }> {
  override get message(): string {
    return `answered ${this.status} without a cause`
  }
}

/**
 * Reports failures, and provides `Incident`.
 *
 * @example
 * ```ts
 * import { Handler, Incident, Reporter, Route } from "@sluice/core"
 * import { Reporting } from "@sluice/middleware"
 * import { Cause, Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const buy = Effect.gen(function*() {
 *   const incident = yield* Incident.Incident
 *   yield* incident.note({ sku: "a-1" })
 *   yield* incident.cause(Cause.fail("the warehouse is closed"))
 *   return HttpServerResponse.empty({ status: 502 })
 * })
 * const Buy = Route.post("/buy", Reporting.make(), buy)
 *
 * const requests = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Buy)
 *   yield* Effect.promise(() => fetch(new Request("http://localhost/buy", { method: "POST" })))
 * })
 * const program = Effect.gen(function*() {
 *   yield* Effect.scoped(requests)
 *   const memory = yield* Reporter.Memory
 *   const [report] = yield* memory.reports
 *   return `${report.status} ${report.route} ${report.error} ${report.notes["sku"]}`
 * })
 *
 * const result = await Effect.runPromise(Effect.provide(program, Reporter.layerMemory))
 * console.log(result) // => 502 /buy the warehouse is closed a-1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<Incident.Incident, never, Reporter.Reporter | HttpServerRequest> => {
  const when = options.when ?? (() => true)
  return Middleware.named(
    "Reporting",
    Middleware.compose(
      Middleware.observeUnsafe<Reporter.Reporter>("observe", (exchange) => reportOnce(exchange, when)),
      Middleware.make<Incident.Incident, never, HttpServerRequest>(
        "provide",
        (handler) =>
          Effect.withFiber((fiber) =>
            provided(handler, Incident.Incident, pageOf(Exchange.currentUnsafe(fiber)).notebook.incident)
          ),
        { response: "none" }
      )
    )
  )
}

/** What an exchange carries from the handler to the observer, shared by all that are nested. */
interface Page {
  readonly notebook: Incident.Notebook
  reported: boolean
}

const pageKey = "@sluice/middleware/Reporting"

const pageIn = (exchange: Exchange.Exchange): Page | undefined =>
  // Sound: nothing else writes under this key.
  exchange.attributes.get(pageKey) as Page | undefined

const pageOf = (exchange: Exchange.Exchange): Page => {
  const known = pageIn(exchange)
  if (known !== undefined) return known
  const page: Page = { notebook: Incident.make(), reported: false }
  Exchange.annotateUnsafe(exchange, pageKey, page)
  return page
}

const reportOnce = (
  exchange: Exchange.Ended,
  when: (exchange: Exchange.Ended) => boolean
): Effect.Effect<void, never, Reporter.Reporter> | undefined => {
  const page = pageIn(exchange)
  if (page === undefined || page.reported || !isSuspect(exchange)) return undefined
  const entries = page.notebook.read()
  const cause = causeOf(exchange.cause, entries.cause)
  if (!isFailure(exchange, cause) || isIgnored(exchange, cause) || !when(exchange)) return undefined
  page.reported = true
  const report = withSecretNames(Effect.sync(() => toReport(exchange, cause, entries.notes)))
  return Effect.flatMap(Reporter.Reporter, (reporter) => Effect.flatMap(report, reporter.report))
}

/** Everything but what was the client's doing. */
const isSuspect = ({ outcome }: Exchange.Ended): boolean =>
  outcome._tag !== "ClientAborted" && outcome._tag !== "Rejected"

const isFailure = (exchange: Exchange.Ended, cause: Cause.Cause<unknown>): boolean =>
  answered5xx(exchange) || Cause.hasDies(cause) || brokeOff(exchange)

const answered5xx = ({ status }: Exchange.Exchange): boolean => status !== undefined && status >= 500

/** A whole head was written and less than a whole body. */
const brokeOff = ({ outcome, status }: Exchange.Ended): boolean =>
  outcome._tag === "Failed" || outcome._tag === "TimedOut" && status !== undefined && status < 400

/** What is known from both sides, the exchange's first. A response that was thrown is no reason. */
const causeOf = (
  exchange: Cause.Cause<unknown> | undefined,
  incident: Cause.Cause<unknown> | undefined
): Cause.Cause<unknown> => {
  if (exchange === undefined && incident === undefined) return Cause.empty
  const both = Cause.combine(exchange ?? Cause.empty, incident ?? Cause.empty)
  return Cause.fromReasons(
    both.reasons.filter((reason) =>
      !(Cause.isDieReason(reason) && HttpServerResponse.isHttpServerResponse(reason.defect))
    )
  )
}

const isIgnored = (exchange: Exchange.Exchange, cause: Cause.Cause<unknown>): boolean => {
  const errors = cause.reasons.filter((reason) => !Cause.isInterruptReason(reason))
    .map((reason) => Cause.isFailReason(reason) ? reason.error : reason.defect)
  return errors.length > 0 &&
    errors.every((error) => ErrorReporter.isIgnored(error) && !wasRaised(exchange, error))
}

/** An error that stands for less than 500 became a 5xx: what it says of itself is no longer what was answered. */
const wasRaised = (exchange: Exchange.Exchange, error: unknown): boolean => {
  // Sound: an error that is ignored is an object.
  const { status } = error as { readonly status?: unknown }
  return answered5xx(exchange) && typeof status === "number" && status < 500
}

const toReport = (
  exchange: Exchange.Ended,
  cause: Cause.Cause<unknown>,
  notes: Readonly<Record<string, unknown>>
): Report.Report => {
  const why = cause.reasons.length > 0 ? cause : Cause.fail(new Unexplained({ status: exchange.status }))
  const trace = traceOf(exchange)
  return Report.make({
    cause: why,
    status: exchange.status,
    method: exchange.method,
    route: exchange.route,
    path: pathOf(exchange),
    headers: Fields.toHeaders(exchange.requestFields),
    requestId: requestIdOf(exchange),
    ...(trace === undefined
      ? undefined
      : { trace: { traceId: trace.traceId, spanId: trace.spanId, sampled: trace.sampled } }),
    user: exchange.attributes.get(userKey),
    notes: { ...plainAttributes(exchange), ...ownAttributes(Cause.squash(why)), ...notes },
    phase: "phase" in exchange.outcome ? exchange.outcome.phase : "handler",
    outcome: exchange.outcome._tag,
    time: exchange.startedAt + exchange.duration,
    duration: exchange.duration
  })
}

const plainAttributes = (exchange: Exchange.Exchange): Record<string, unknown> => {
  const out: Record<string, unknown> = exchange.target.includes("?") ? { url: urlOf(exchange) } : {}
  for (const [key, value] of exchange.attributes) {
    if (typeof value !== "object" && typeof value !== "function" && key !== requestIdKey && key !== userKey) {
      out[key] = value
    }
  }
  return out
}

/** What the error itself wants reporters to know. */
const ownAttributes = (error: unknown): Readonly<Record<string, unknown>> =>
  typeof error === "object" && error !== null ? ErrorReporter.getAttributes(error) : {}
