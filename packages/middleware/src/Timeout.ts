/**
 * How long a handler may take until it has a response, and how long bodies may take to come in and to go out.
 *
 * **When to use** Around a group of routes, or at the edge for all of them. A route that needs longer takes
 * {@link override}, one that must not be timed at all (a long poll, a WebSocket) takes {@link none}. {@link requestBody} and
 * {@link responseBody} are clocks of their own: against clients that send or read too slowly, and handlers that stall.
 *
 * **Details** When the time is up the handler is interrupted with `Cancellation.deadlineExceeded("handler", after)`, its
 * finalizers finish in the background, and the typed {@link HandlerTimeout} goes on at once: rendered as 503, or handled
 * by a middleware further out. Calls that the handler makes can read what is left with `Deadline.remaining`. Of two nested
 * timeouts the one that is due first fires. 504 is for gateways (RFC 9110, 15.6.5); the proxy has its own clocks.
 *
 * **Gotchas** The handler's clock counts until there is a response, not until its body has been sent: a streamed body, a proxied
 * response and an Express app that has written its head are not cut off by it. A handler that computes without ever yielding
 * can't be interrupted.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.6.4
 * @since 0.1.0
 */
import * as Deadline from "@sluice/core/Deadline"
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as RequestBody from "@sluice/core/RequestBody"
import * as ResponseBody from "@sluice/core/ResponseBody"
import * as Timer from "@sluice/core/Timer"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Schema from "effect/Schema"
import { failWith } from "./internal/bodyFailure.ts"
import { requireDuration, requireRetryAfter } from "./internal/options.ts"
import { provided } from "./internal/provided.ts"

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

/**
 * Settings of {@link requestBody} and {@link responseBody}: at least one of them.
 *
 * @category models
 * @since 0.1.0
 */
export interface BodyOptions {
  /** The longest pause between two chunks. @default none, which is `Infinity` */
  readonly idle?: Duration.Input
  /** The longest time for all of it. @default none, which is `Infinity` */
  readonly total?: Duration.Input
}

/**
 * The client sent its body too slowly: 408, and the connection is closed. The exchange ends as `TimedOut` by that clock.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.5.9
 * @category errors
 * @since 0.1.0
 */
export class RequestBodyTimeout extends Problem.TaggedError<RequestBodyTimeout>()("RequestBodyTimeout", {
  status: 408,
  title: "The request body came too slowly",
  ending: "TimedOut",
  headers: () => ({ connection: "close" })
}, {
  clock: Schema.Literals(["requestBodyIdle", "requestBodyTotal"]),
  /** The time that it had, in milliseconds. */
  after: Schema.Number
}) {}

/**
 * Fails with {@link RequestBodyTimeout} when the client is too slow with the body of its request.
 *
 * **Details** The clocks start when somebody begins to read the body, with whatever: an accessor of Effect's request, a
 * stream, a proxy, an Express app. `idle` counts while the reader waits for bytes, not while what came has yet to be read.
 * `total` counts until the last byte came. Of two nested ones the inner one is in force; a clock of it that is not set is
 * that of the outer one. Throws a `RangeError` unless each of them is a positive duration, or when there is none.
 *
 * @example
 * ```ts
 * import { Timeout } from "@sluice/middleware"
 *
 * const uploads = Timeout.requestBody({ idle: "10 seconds", total: "5 minutes" })
 * console.log(uploads.label) // => Timeout.requestBody(idle 10s, total 5m)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const requestBody = (
  options: BodyOptions
): Middleware.Middleware<never, RequestBodyTimeout, HttpServerRequest> => {
  const clocks = requireClocks(options)
  return Middleware.around<RequestBodyTimeout, HttpServerRequest>(
    `Timeout.requestBody(${describe(clocks)})`,
    (handler) =>
      Effect.flatMap(RequestBody.current, (body) => {
        if (body === undefined) return handler
        return Effect.flatMap(Clock.Clock, (clock) => {
          const outer = requestClocks.get(body)
          requestClocks.set(body, { ...outer, ...clocks })
          if (outer === undefined) watchRequest(body, clock)
          return failWith(handler, body, RequestBodyTimeout)
        })
      }),
    { response: "none" }
  )
}

/**
 * The body of the response went out too slowly: its connection was aborted, and the exchange ends as `TimedOut` by that clock.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResponseBodyTimeout extends Data.TaggedError("ResponseBodyTimeout")<{
  readonly clock: "responseBodyIdle" | "responseBodyTotal"
  /** The time that it had, in milliseconds. */
  readonly after: number
}> {
  readonly [Problem.ending] = "TimedOut"
  override get message(): string {
    return `the response body was cut off by its clock ${this.clock} after ${this.after} ms`
  }
}

/**
 * Settings of {@link responseBody}.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResponseBodyOptions extends BodyOptions {
  /** Whether `idle` is for event streams (`text/event-stream`), too, which may be silent for long. @default false */
  readonly eventStreams?: boolean
}

/**
 * Aborts the connection when the body of a response takes too long: the handler stalls, or the client doesn't read.
 *
 * **Details** Works on whatever is written to a connection: a value that streams, a proxied response, an Express app; a
 * response that only becomes a `fetch` `Response` is not watched. `idle` counts from the head, and from each chunk that is
 * written. A client that takes nothing is given up after two such times at most. `total` counts from the head. There is no
 * response left to render, so it fails with nothing: the exchange ends as `TimedOut` with {@link ResponseBodyTimeout} for a
 * cause, and is reported. Of two nested ones the inner one is in force; a clock of it that is not set is that of the outer
 * one. Throws a `RangeError` unless each of them is a positive duration, or when there is none.
 *
 * @example
 * ```ts
 * import { Timeout } from "@sluice/middleware"
 *
 * const edge = Timeout.responseBody({ idle: "30 seconds" })
 * console.log([edge.label, edge.response].join(" ")) // => Timeout.responseBody(idle 30s) none
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const responseBody = (
  options: ResponseBodyOptions
): Middleware.Middleware<never, never, HttpServerRequest> => {
  const clocks = { ...requireClocks(options), eventStreams: options.eventStreams ?? false }
  return Middleware.around<never, HttpServerRequest>(
    `Timeout.responseBody(${describe(clocks)})`,
    (handler) =>
      Effect.flatMap(Exchange.current, (exchange) =>
        Effect.flatMap(Clock.Clock, (clock) => {
          const outer = responseClocks.get(exchange)
          responseClocks.set(exchange, { ...outer, ...clocks })
          if (outer === undefined) watchResponse(exchange, clock)
          return handler
        })),
    { response: "none" }
  )
}

/** In milliseconds. */
interface BodyClocks {
  readonly idle?: number
  readonly total?: number
}

const requireClocks = (options: BodyOptions): BodyClocks => {
  if (options.idle === undefined && options.total === undefined) throw new RangeError("idle or total must be set")
  return {
    ...(options.idle === undefined ? undefined : { idle: requireDuration("idle", options.idle) }),
    ...(options.total === undefined ? undefined : { total: requireDuration("total", options.total) })
  }
}

const describe = ({ idle, total }: BodyClocks): string =>
  Object.entries({ idle, total })
    .flatMap(([name, millis]) => millis === undefined ? [] : [`${name} ${Duration.format(Duration.millis(millis))}`])
    .join(", ")

/** The clocks in force. */
const requestClocks = new WeakMap<RequestBody.RequestBody, BodyClocks>()
const responseClocks = new WeakMap<Exchange.Exchange, BodyClocks & { readonly eventStreams: boolean }>()

const watchRequest = (body: RequestBody.RequestBody, clock: Clock.Clock): void => {
  let idle: Timer.Idle | undefined
  let stopTotal: Timer.Cancel | undefined
  const start = () => {
    const { idle: pause = Infinity, total = Infinity } = requestClocks.get(body) ?? {}
    stopTotal = Timer.start(
      clock,
      total,
      () => body.fail(new RequestBodyTimeout({ clock: "requestBodyTotal", after: total }))
    )
    return Timer.idle(
      clock,
      pause,
      () => body.fail(new RequestBodyTimeout({ clock: "requestBodyIdle", after: pause }))
    )
  }
  let waiting = false
  body.watch({
    onWait: (now) => {
      if (now === waiting) return
      waiting = now
      idle ??= start()
      if (now) idle.touch()
      else idle.pause()
    },
    onBytes: () => {
      if (waiting) idle?.touch()
    },
    onEnd: () => {
      idle?.stop()
      stopTotal?.()
    }
  })
}

const watchResponse = (exchange: Exchange.Exchange, clock: Clock.Clock): void =>
  ResponseBody.watch(exchange, (body) => {
    const { eventStreams, idle: pause = Infinity, total = Infinity } = responseClocks.get(exchange)!
    const cutOff = (clock: ResponseBodyTimeout["clock"], after: number) =>
      body.cutOff(Cause.fail(new ResponseBodyTimeout({ clock, after })))
    let unsent = 0
    const idle = Timer.idle(clock, pause, () => {
      if (!eventStreams && isEventStream(exchange)) return
      const before = unsent
      unsent = body.unsent()
      // A client that reads slowly takes some of it every now and then.
      if (unsent > 0 && unsent !== before) return idle.touch()
      cutOff("responseBodyIdle", pause)
    })
    const stopTotal = Timer.start(clock, total, () => cutOff("responseBodyTotal", total))
    idle.touch()
    return {
      onWrite: idle.touch,
      onEnd: () => {
        idle.stop()
        stopTotal()
      }
    }
  })

const isEventStream = ({ responseFields }: Exchange.Exchange): boolean =>
  Fields.get(responseFields, "content-type")?.toLowerCase().startsWith("text/event-stream") ?? false

/**
 * A clock that runs for the current fiber, and those around it. {@link none} can stop it, also before it has been started: the
 * handler's first steps come before that.
 */
class RunningClocks {
  /** The deadline of whoever is around all of them. */
  readonly outside: Deadline.Deadline | undefined
  private readonly outer: RunningClocks | undefined
  private stopped = false
  private stopTimer: (() => void) | undefined = undefined

  constructor(outer: RunningClocks | undefined, deadline: Deadline.Deadline | undefined) {
    this.outer = outer
    this.outside = outer === undefined ? deadline : outer.outside
  }

  /** Says what stops the timer. It counts until the head is written. */
  started(stopTimer: () => void, exchange: Exchange.Exchange): () => void {
    if (this.stopped) stopTimer()
    this.stopTimer = stopTimer
    return Exchange.onHead(exchange, stopTimer)
  }

  stop(): void {
    this.stopped = true
    this.stopTimer?.()
    this.outer?.stop()
  }
}

const Running: Context.Reference<RunningClocks | undefined> = Context.Reference<RunningClocks | undefined>(
  "@sluice/middleware/Timeout/Running",
  { defaultValue: () => undefined }
)

const timeoutError = (after: number, retryAfter: Duration.Input | undefined) => {
  const members = { clock: "handler", after } as const
  if (retryAfter === undefined) return () => new HandlerTimeout(members)
  const seconds = requireRetryAfter("retryAfter", retryAfter)
  return () => new HandlerTimeout({ ...members, retryAfter: seconds })
}

const timed = <E, R>(
  handler: Handler<E, R>,
  after: number,
  error: () => HandlerTimeout
): Handler<E | HandlerTimeout, R | HttpServerRequest> =>
  Effect.withFiber((fiber) => {
    const clocks = new RunningClocks(fiber.getRef(Running), fiber.getRef(Deadline.Current))
    return Deadline.enforce(provided(handler, Running, clocks), {
      clock: "handler",
      after,
      orElse: () => Effect.fail(error()),
      until: (stop) => clocks.started(stop, Exchange.currentUnsafe(fiber))
    })
  })

const untimed = <E, R>(handler: Handler<E, R>, running: RunningClocks): Handler<E, R> =>
  Effect.suspend(() => {
    running.stop()
    return handler.pipe(
      Effect.provideService(Running, undefined),
      Effect.provideService(Deadline.Current, running.outside)
    )
  })
