/**
 * How long a handler may take until it has a response.
 *
 * **When to use** Around a group of routes, or at the edge for all of them. A route that needs longer takes
 * {@link override}, one that must not be timed at all (a long poll, a WebSocket) takes {@link none}.
 *
 * **Details** When the time is up the handler is interrupted with `Cancellation.deadlineExceeded("handler", after)`, its
 * finalizers finish in the background, and the typed {@link HandlerTimeout} goes on at once: rendered as 503, or handled
 * by a middleware further out. Calls that the handler makes can read what is left with `Deadline.remaining`. Of two nested
 * timeouts the one that is due first fires. 504 is for gateways (RFC 9110, 15.6.5); the proxy has its own clocks.
 *
 * **Gotchas** The clock counts until there is a response, not until its body has been sent: a streamed body, a proxied
 * response and an Express app that has written its head are not cut off. A handler that computes without ever yielding
 * can't be interrupted.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.6.4
 * @since 0.1.0
 */
import * as Deadline from "@sluice/core/Deadline"
import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Schema from "effect/Schema"
import { requireDuration } from "./internal/options.ts"

/**
 * Settings of {@link make} and {@link override}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** When the client should try again: `Retry-After`, in whole seconds, rounded up. @default no such field */
  readonly retryAfter?: Duration.Input
}

/**
 * The handler took too long: 503, and the exchange ends as `TimedOut` by the clock `handler`.
 *
 * @category errors
 * @since 0.1.0
 */
export class HandlerTimeout extends Problem.TaggedError<HandlerTimeout>()("HandlerTimeout", {
  status: 503,
  title: "The handler took too long",
  ending: "TimedOut",
  headers: ({ retryAfter }): Record<string, string> =>
    retryAfter === undefined ? {} : { "retry-after": String(retryAfter) }
}, {
  clock: Schema.Literal("handler"),
  /** The time it had, in milliseconds. */
  after: Schema.Number,
  /** Seconds until another try makes sense. */
  retryAfter: Schema.optionalKey(Schema.Number)
}) {}

/**
 * Fails with {@link HandlerTimeout} when there is no response after `after`.
 *
 * **Details** Throws a `RangeError` unless `after` (and `retryAfter`) is a positive duration; an infinite `after` never
 * fires.
 *
 * @example
 * ```ts
 * import { Middleware } from "@sluice/core"
 * import { Timeout } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const busy = Middleware.handle(Timeout.HandlerTimeout, (error) =>
 *   Effect.succeed(HttpServerResponse.text(`no answer after ${error.after} ms`, { status: 504 })))
 * const api = Middleware.stack(busy, Timeout.make("5 seconds"))
 * console.log(api.label) // => handle(HandlerTimeout) > Timeout(5s)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  after: Duration.Input,
  options: Options = {}
): Middleware.Middleware<never, HandlerTimeout, HttpServerRequest> => {
  const millis = requireDuration("after", after)
  const error = timeoutError(millis, options.retryAfter)
  return Middleware.around<HandlerTimeout, HttpServerRequest>(
    `Timeout(${Duration.format(Duration.millis(millis))})`,
    (handler) => millis === Infinity ? handler : timed(handler, millis, error),
    { response: "none" }
  )
}

/**
 * Stops the timeouts around it: for routes that may take any time. The deadline that was there before the outermost of
 * them is in force again.
 *
 * @category presets
 * @since 0.1.0
 */
export const none: Middleware.Middleware = Middleware.around(
  "Timeout.none",
  (handler) => Effect.flatMap(Running, (running) => running === undefined ? handler : untimed(handler, running)),
  { response: "none" }
)

/**
 * A timeout in place of those around it: it may be longer than they are.
 *
 * @example
 * ```ts
 * import { Timeout } from "@sluice/middleware"
 *
 * console.log(Timeout.override("2 minutes").label) // => Timeout.override(2m)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const override = (
  after: Duration.Input,
  options: Options = {}
): Middleware.Middleware<never, HandlerTimeout, HttpServerRequest> => {
  const timeout = make(after, options)
  return Middleware.named(timeout.label.replace("Timeout", "Timeout.override"), Middleware.compose(none, timeout))
}

/** A clock that runs for the current fiber, and those around it. */
interface Clocks {
  readonly stop: () => void
  /** The deadline of whoever is around all of them. */
  readonly outside: Deadline.Deadline | undefined
}

const Running: Context.Reference<Clocks | undefined> = Context.Reference<Clocks | undefined>(
  "@sluice/middleware/Timeout/Running",
  { defaultValue: () => undefined }
)

const timeoutError = (after: number, retryAfter: Duration.Input | undefined) => {
  const members = { clock: "handler", after } as const
  if (retryAfter === undefined) return () => new HandlerTimeout(members)
  const seconds = Math.ceil(requireDuration("retryAfter", retryAfter) / 1000)
  if (!Number.isFinite(seconds)) throw new RangeError("retryAfter must be a finite duration, got Infinity")
  return () => new HandlerTimeout({ ...members, retryAfter: seconds })
}

const timed = <E, R>(
  handler: Handler<E, R>,
  after: number,
  error: () => HandlerTimeout
): Handler<E | HandlerTimeout, R | HttpServerRequest> =>
  Effect.flatMap(Exchange.current, (exchange) =>
    Effect.withFiber((fiber) => {
      const outer = fiber.getRef(Running)
      const { clocks, until } = clocksOf(exchange, outer, fiber.getRef(Deadline.Current))
      return Deadline.enforce(Effect.provideService(handler, Running, clocks), {
        clock: "handler",
        after,
        orElse: () => Effect.fail(error()),
        until
      })
    }))

/** A clock that {@link none} can stop, also before it has been started: the handler's first steps come before that. */
const clocksOf = (
  exchange: Exchange.Exchange,
  outer: Clocks | undefined,
  deadline: Deadline.Deadline | undefined
) => {
  let stopped = false
  let stopTimer = () => {
    stopped = true
  }
  const clocks: Clocks = {
    outside: outer === undefined ? deadline : outer.outside,
    stop: () => {
      stopTimer()
      outer?.stop()
    }
  }
  const until = (stop: () => void): () => void => {
    if (stopped) stop()
    stopTimer = stop
    return Exchange.onHead(exchange, stop)
  }
  return { clocks, until }
}

const untimed = <E, R>(handler: Handler<E, R>, running: Clocks): Handler<E, R> =>
  Effect.suspend(() => {
    running.stop()
    return handler.pipe(
      Effect.provideService(Running, undefined),
      Effect.provideService(Deadline.Current, running.outside)
    )
  })
