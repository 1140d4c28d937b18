/**
 * One record a request: what was asked, which route matched, what was really written, and how it ended.
 *
 * **When to use** Logging, metrics and reporting read it through `Middleware.observe`. Handlers don't need it: what a
 * handler works with is in its services. A middleware that learns something worth reporting (a request id, the user)
 * leaves it with {@link annotate}.
 *
 * **Details** Every request has one, also one that no route matched, that was malformed, timed out or was abandoned, and
 * each ends exactly once. Status, fields and bytes are the wire's: they are read where the head is written, after every
 * hook. Times are from the arrival of the request head.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Fields from "./Fields.ts"
import type { Handler } from "./Handler.ts"
import { exchangeOf } from "./internal/attach.ts"
import type { ExchangeState } from "./internal/exchangeState.ts"
import { editValue } from "./internal/valueResponse.ts"
import type { HeadEdit } from "./ResponseHead.ts"

/**
 * How far an exchange had come.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "requestHead" | "handler" | "responseHead" | "responseBody" | "tunnel"

/**
 * How an exchange ended.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome =
  /** A response was written whole, and no failure of ours decided it. */
  | { readonly _tag: "Completed" }
  /** An error or defect was answered with a 5xx, or cut the response off in `phase`. */
  | { readonly _tag: "Failed"; readonly phase: Phase }
  /** The client left before the response was complete. */
  | { readonly _tag: "ClientAborted"; readonly phase: Phase }
  /** The named clock ran out. */
  | { readonly _tag: "TimedOut"; readonly clock: string }
  /** Refused because too much was going on. */
  | { readonly _tag: "Shed" }
  /** Refused or cut off because the server was shutting down. */
  | { readonly _tag: "Drained"; readonly phase: Phase }
  /** The program cancelled itself. */
  | { readonly _tag: "Cancelled"; readonly reason: string | undefined }
  /** The request was malformed or over a limit, and answered by the server itself. */
  | { readonly _tag: "Rejected"; readonly reason: string }

/**
 * The record of one request. Fields that are `undefined` are not known yet, or never came to be.
 *
 * @category models
 * @since 0.1.0
 */
export interface Exchange {
  /** As sent; empty for a request whose head could not be read. */
  readonly method: string
  /** The request target as sent, query included: don't log it unredacted. */
  readonly target: string
  /** The target without its query. */
  readonly path: string
  /** `1.0`, `1.1` or `2.0`. */
  readonly httpVersion: string
  /** Whether the request came over TLS. */
  readonly secure: boolean
  /** The socket peer's address, if it has one. */
  readonly peerAddress: string | undefined
  /** The request's fields as received. */
  readonly requestFields: Fields.Fields
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** The template of the matched route, such as `/orders/:id`. */
  readonly route: string | undefined
  /** The status on the wire. */
  readonly status: number | undefined
  /** The response fields on the wire, without those that Node adds (`Date`, `Connection`). */
  readonly responseFields: Fields.Fields
  /** Bytes of the request body that were read. */
  readonly bytesIn: number
  /** Bytes of the response body that were written, after compression and before chunking. */
  readonly bytesOut: number
  /** Milliseconds until the response head was written. */
  readonly firstByteAfter: number | undefined
  /** Milliseconds from the request head to the end of the exchange. */
  readonly duration: number | undefined
  readonly outcome: Outcome | undefined
  /** The failure behind the response, also when it was rendered or handled. */
  readonly cause: Cause.Cause<unknown> | undefined
  /** What {@link annotate} left. */
  readonly attributes: ReadonlyMap<string, unknown>
}

/**
 * An exchange that has ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ended extends Exchange {
  readonly outcome: Outcome
  readonly duration: number
}

/**
 * The exchange of the request that is being handled.
 *
 * @category getters
 * @since 0.1.0
 */
export const current: Effect.Effect<Exchange, never, HttpServerRequest.HttpServerRequest> = Effect.withFiber(
  (fiber) => Effect.succeed(stateOf(fiber))
)

/**
 * {@link current} for a middleware that runs on every request and has the fiber at hand. Throws outside a request.
 *
 * @category getters
 * @since 0.1.0
 */
export const currentUnsafe = (fiber: Fiber.Fiber<unknown, unknown>): Exchange => stateOf(fiber)

/**
 * Leaves something for the observers of this exchange, such as `("user.id", id)`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const annotate = (
  key: string,
  value: unknown
): Effect.Effect<void, never, HttpServerRequest.HttpServerRequest> => onState((state) => state.annotate(key, value))

/**
 * {@link annotate} as a plain call.
 *
 * @category combinators
 * @since 0.1.0
 */
export const annotateUnsafe = (self: Exchange, key: string, value: unknown): void =>
  // Sound: `current` and the observers are where an exchange comes from, and both hand out the state itself.
  (self as ExchangeState).annotate(key, value)

/**
 * Records the failure behind a response that a handler or middleware is about to return, so that reports have it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const noteCause = (
  cause: Cause.Cause<unknown>
): Effect.Effect<void, never, HttpServerRequest.HttpServerRequest> => onState((state) => state.noteCause(cause))

/**
 * Registers an edit of the response head for this exchange. Edits run when the head is written, on a handler's value, a
 * proxied response and an error alike; the one that was registered last runs first.
 *
 * @category combinators
 * @since 0.1.0
 */
export const editHead = (
  edit: HeadEdit
): Effect.Effect<void, never, HttpServerRequest.HttpServerRequest> => onState((state) => state.addHeadEdit(edit))

/**
 * {@link editHead} as a plain call.
 *
 * @category combinators
 * @since 0.1.0
 */
export const editHeadUnsafe = (self: Exchange, edit: HeadEdit): void =>
  // Sound: as above.
  (self as ExchangeState).addHeadEdit(edit)

/**
 * Another response in place of the one that is about to leave, or the same.
 *
 * @category models
 * @since 0.1.0
 */
export type Rewrite = (response: HttpServerResponse.HttpServerResponse) => Effect.Effect<
  HttpServerResponse.HttpServerResponse
>

/**
 * Registers a function of the response that leaves: a handler's value, a rendered error, a 404. It runs at the edge of the app,
 * before head edits; the one that was registered last runs first. What a handler writes itself (a proxied response that
 * streams, an Express app) has no value and passes it by.
 *
 * **When to use** For what concerns errors as well, and must not keep responses from streaming past: a middleware that reads
 * values forces all of them to be values.
 *
 * @category combinators
 * @since 0.1.0
 */
export const rewrite = (f: Rewrite): Effect.Effect<void, never, HttpServerRequest.HttpServerRequest> =>
  onState((state) => state.addRewrite(f))

/**
 * Says that the response's value is going to be read or replaced, as a middleware with the response access `value` does: for
 * one that needs the value of some requests only, and lets the others stream past.
 *
 * @category combinators
 * @since 0.1.0
 */
export const needValue: Effect.Effect<void, never, HttpServerRequest.HttpServerRequest> = Effect.suspend(() =>
  onState((state) => {
    state.valueNeeded = true
  })
)

/**
 * Runs a handler for its value with the head edits that are registered meanwhile, which are not applied again when the head
 * is written: for a middleware that keeps the response. When the handler fails, the edits stay for the response that is
 * made of the failure.
 *
 * @category combinators
 * @since 0.1.0
 */
export const editedValue = <E, R>(handler: Handler<E, R>): Handler<E, R | HttpServerRequest.HttpServerRequest> =>
  Effect.withFiber((fiber) => {
    const exchange = stateOf(fiber)
    const outer = exchange.headEdits
    exchange.headEdits = undefined
    exchange.valueNeeded = true
    return Effect.matchCauseEffect(handler, {
      onSuccess: (response) => {
        const inner = exchange.headEdits
        exchange.headEdits = outer
        return Effect.succeed(inner === undefined || exchange.committed ? response : editValue(response, inner))
      },
      onFailure: (cause) => {
        exchange.headEdits = outer === undefined ? exchange.headEdits : [...outer, ...exchange.headEdits ?? []]
        return Effect.failCause(cause)
      }
    })
  })

/**
 * Calls back once when the response head is written, at once when it has been, and never when there is none. What it
 * returns takes the callback back.
 *
 * **When to use** For a clock that counts until there is a response: a handler that writes its response itself (a proxied
 * one, an Express app) goes on until the body has been written.
 *
 * **Gotchas** The callback runs inside the write: it must be short and must not throw.
 *
 * @category combinators
 * @since 0.1.0
 */
export const onHead = (self: Exchange, callback: () => void): () => void =>
  // Sound: as above.
  (self as ExchangeState).onHead(callback)

/**
 * Calls back once when the exchange ends, at once when it has: after the last byte of the response was written, or when
 * nothing more will be. What it returns takes the callback back.
 *
 * **When to use** For what a request holds until its response is out, such as a permit: a handler is done when there is a
 * response, whose body may stream for long after that. Observers (`Middleware.observe`) are for what only looks on.
 *
 * **Gotchas** The callback must be short and must not throw.
 *
 * @category combinators
 * @since 0.1.0
 */
export const onEnd = (self: Exchange, callback: () => void): () => void =>
  // Sound: as above.
  (self as ExchangeState).onEnded(callback)

const stateOf = (fiber: Fiber.Fiber<unknown, unknown>): ExchangeState =>
  exchangeOf(Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest), fiber)

const onState = (
  f: (state: ExchangeState) => void
): Effect.Effect<void, never, HttpServerRequest.HttpServerRequest> =>
  Effect.withFiber((fiber) => {
    f(stateOf(fiber))
    return Effect.void
  })
