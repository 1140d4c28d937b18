/**
 * Server-sent events as a response: a stream of events for `EventSource`.
 *
 * **When to use** For what a page or a client is told as it happens. A client that lost its connection comes back by itself
 * and says in `Last-Event-ID` what it saw last ({@link lastEventId}), so give events ids that you can go on from.
 *
 * **Details** Each event leaves as one chunk, so that a response never ends within one: when the server drains, the
 * response ends in order behind the last event, and the client reconnects elsewhere. An opening line makes the head leave
 * before there is an event. When nothing was sent for a while, a comment keeps what stands in between from taking the
 * connection for dead. `Cache-Control: no-store` and `X-Accel-Buffering: no` keep it from being stored and held back.
 *
 * **Gotchas** A browser opens no more than six connections to a host over HTTP/1.1, and each `EventSource` is one. `EventSource`
 * reconnects when a response ends; 204 (`HttpServerResponse.empty()`) tells it not to.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Timer from "@sluice/core/Timer"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Sse from "effect/encoding/Sse"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { requireDelay, requireDuration } from "./internal/options.ts"

/**
 * An event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Event {
  /** Any text. The client gets line breaks of any kind as line feeds. */
  readonly data: string
  /** The name that the client listens for, without line breaks. @default "message" */
  readonly event?: string | undefined
  /**
   * What the client says it saw last when it comes back; without line breaks and NUL. An empty one makes it forget.
   * @default the client keeps the last one
   */
  readonly id?: string | undefined
}

/**
 * Settings of {@link response}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** After how long without a byte a comment is sent. `"Infinity"` switches that off. @default "15 seconds" */
  readonly heartbeat?: Duration.Input
  /** How long the client waits before it comes back, in whole milliseconds. @default the client decides */
  readonly retry?: Duration.Input
}

const comment = ":\n\n"

/**
 * A response that sends events as they come, and ends when they do.
 *
 * **Details** Throws a `RangeError` unless `heartbeat` is a positive duration and `retry` a finite one. A stream that fails,
 * also with an event that can't be encoded ({@link encode}), cuts the response off with that cause.
 *
 * @example
 * ```ts
 * import { Route } from "@sluice/core"
 * import { App } from "@sluice/core/testing"
 * import { EventStream } from "@sluice/middleware"
 * import { Effect, Stream } from "effect"
 *
 * const news = Stream.make({ id: "7", event: "order", data: "placed" })
 * const News = Route.get("/news", EventStream.response(news, { retry: "2 seconds" }))
 *
 * const program = Effect.gen(function*() {
 *   const app = yield* App.make(News)
 *   return JSON.stringify(yield* app.text("/news"))
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program)))
 * // => "retry: 2000\n\nid: 7\nevent: order\ndata: placed\n\n"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const response = <E, R>(
  events: Stream.Stream<Event, E, R>,
  options: Options = {}
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, R> => {
  const heartbeat = requireDuration("heartbeat", options.heartbeat ?? "15 seconds")
  // Node sends the head with the first byte, so there is always one.
  const opening = options.retry === undefined
    ? comment
    : `retry: ${Math.round(requireDelay("retry", options.retry))}\n\n`
  const texts = Stream.map(events, encode)
  const body = Stream.encodeText(Stream.concat(
    Stream.succeed(opening),
    heartbeat === Infinity ? texts : withHeartbeats(texts, heartbeat)
  ))
  return Effect.contextWith((context: Context.Context<R>) =>
    Effect.succeed(HttpServerResponse.stream(Stream.provideContext(body, context), {
      contentType: "text/event-stream",
      headers: { "cache-control": "no-store", "x-accel-buffering": "no" }
    }))
  )
}

/** A comment whenever nothing has been taken for that long: one that a slow client has not taken is not followed by more. */
const withHeartbeats = <E, R>(texts: Stream.Stream<string, E, R>, millis: number): Stream.Stream<string, E, R> =>
  Stream.unwrap(Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const comments = yield* Queue.sliding<string>(1)
    const idle = yield* Effect.acquireRelease(
      Effect.sync(() => Timer.idle(clock, millis, () => void Queue.offerUnsafe(comments, comment))),
      (idle) => Effect.sync(idle.stop)
    )
    idle.touch()
    return Stream.merge(texts, Stream.fromQueue(comments), { haltStrategy: "left" }).pipe(
      Stream.map((text) => {
        idle.touch()
        return text
      })
    )
  }))

/**
 * An event as it is sent. Throws a `RangeError` that names the member whose value would break out of its line.
 *
 * @example
 * ```ts
 * import { EventStream } from "@sluice/middleware"
 *
 * const text = EventStream.encode({ id: "7", data: "two\nlines" })
 * console.log(JSON.stringify(text)) // => "id: 7\ndata: two\ndata: lines\n\n"
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const encode = ({ data, event = "message", id }: Event): string => {
  requireLine("event", event)
  if (id !== undefined) requireLine("id", id)
  return Sse.encoder.write({ _tag: "Event", event, id, data })
}

/** NUL makes a client ignore an id, so that it would go on from an older one. */
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const unsafe = /[\r\n\0]/

const requireLine = (name: string, value: string): void => {
  if (unsafe.test(value)) {
    throw new RangeError(`${name} must have no line break and no NUL, got ${JSON.stringify(value)}`)
  }
}

/**
 * The id of the event that the client saw last: `Last-Event-ID`, which is UTF-8. None when the client has seen no event with
 * an id, and when the field is there twice or can't be read.
 *
 * **Gotchas** The client may say anything here: decode it, and treat what you don't know as none.
 *
 * @example
 * ```ts
 * import { Route } from "@sluice/core"
 * import { App } from "@sluice/core/testing"
 * import { EventStream } from "@sluice/middleware"
 * import { Effect, Option, Stream } from "effect"
 *
 * const after = (id: number) => Stream.map(Stream.range(id + 1, 3), (n) => ({ id: `${n}`, data: "tick" }))
 * const Ticks = Route.get(
 *   "/ticks",
 *   Effect.flatMap(EventStream.lastEventId, (id) =>
 *     EventStream.response(after(Option.match(id, { onNone: () => 0, onSome: Number }))))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const app = yield* App.make(Ticks)
 *   return JSON.stringify(yield* app.text("/ticks", { headers: { "last-event-id": "2" } }))
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => ":\n\nid: 3\ndata: tick\n\n"
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const lastEventId: Effect.Effect<Option.Option<string>, never, HttpServerRequest> = Effect.map(
  Exchange.current,
  ({ requestFields }) => {
    const lines = Fields.getAll(requestFields, "last-event-id")
    return lines.length === 1 && lines[0] !== "" ? decode(lines[0]) : Option.none()
  }
)

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** Fields are read as Latin-1: each character is a byte. */
const decode = Option.liftThrowable((value: string): string => utf8.decode(Buffer.from(value, "latin1")))
