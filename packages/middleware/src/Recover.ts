/**
 * Turns defects into responses at the point where it stands.
 *
 * **When to use** A server of this library answers every defect with a 500 problem at its edge, and `Reporting` reports it,
 * without this middleware. It is needed where something further out must see a *response*: a middleware that reads or
 * replaces the response's value (compression, entity tags, a cache, Effect's own `HttpMiddleware`), or a group of routes
 * whose 500 looks different from the rest (`render`).
 *
 * **Details** The response is the defect's own if it has one (a `Problem` that was thrown), else a 500 problem without any
 * detail. The cause is recorded in the exchange, and in `Incident` where there is one, so it is reported all the same.
 * Typed errors, interruptions and responses that were thrown pass through. So does a defect that comes when the head of
 * the response has been written: there is nothing left to answer, and the connection is aborted.
 *
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import * as Incident from "@sluice/core/Incident"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<R = never> {
  /**
   * The response for a defect. A defect in it is added to the cause, and answered with the default.
   *
   * @default the defect's own response if it has one, else a 500 problem
   */
  readonly render?: (defect: unknown, cause: Cause.Cause<unknown>) => Handler<never, R>
}

/**
 * Answers defects.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Recover } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const sorry = Recover.make({
 *   render: () => Effect.succeed(HttpServerResponse.text("sorry", { status: 500 }))
 * })
 * const Broken = Route.get("/", sorry, Effect.die(new Error("the secret is 42")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Broken)
 *   const response = yield* Effect.promise(() => fetch(new Request("http://localhost/")))
 *   return `${response.status} ${yield* Effect.promise(() => response.text())}`
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => 500 sorry
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R = never>(
  options: Options<R> = {}
): Middleware.Middleware<never, never, R | HttpServerRequest> =>
  Middleware.around<never, R | HttpServerRequest>(
    "Recover",
    (handler) => Effect.catchCauseIf(handler, isDefect, (cause) => recover(cause, options.render)),
    { response: "none" }
  )

/** Nothing but defects: an error or an interruption beside one decides the response. */
const isDefect = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.length > 0 &&
  cause.reasons.every((reason) => Cause.isDieReason(reason) && !HttpServerResponse.isHttpServerResponse(reason.defect))

const recover = <E, R>(
  cause: Cause.Cause<E>,
  render: Options<R>["render"]
): Handler<E, R | HttpServerRequest> =>
  Effect.gen(function*() {
    const exchange = yield* Exchange.current
    if (exchange.status !== undefined) return yield* Effect.failCause(cause)
    yield* record(cause)
    const defect = Cause.squash(cause)
    if (render === undefined) return yield* ownResponse(defect)
    return yield* Effect.catchCause(
      Effect.suspend(() => render(defect, cause)),
      (another) => Effect.andThen(record(Cause.combine(cause, another)), ownResponse(defect))
    )
  })

const record = (cause: Cause.Cause<unknown>): Effect.Effect<void, never, HttpServerRequest> =>
  Effect.andThen(
    Exchange.noteCause(cause),
    Effect.contextWith((context: Context.Context<never>) => {
      const incident = Context.getOrUndefined(context, Incident.Incident)
      return incident === undefined ? Effect.void : incident.cause(cause)
    })
  )

const ownResponse = (defect: unknown): Handler =>
  HttpServerRespondable.isRespondable(defect)
    ? Effect.catchCause(HttpServerRespondable.toResponse(defect), () => internalServerError)
    : internalServerError

const internalServerError: Handler = Effect.sync(() => Problem.toResponse({ status: 500 }))
