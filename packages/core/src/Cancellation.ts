/**
 * Where an interruption came from, as data.
 *
 * **When to use** Ask {@link of} (or {@link onCancel}) in a handler's finalizer, a report or a log line to tell apart a
 * client that left, a deadline, a server that drains, a hedge that lost and a cancellation of your own. Health, retries,
 * status and log level all follow from this one value.
 *
 * **Details** The origin travels as an annotation of the interruption's `Cause`, so it reaches the fiber that was
 * interrupted. Fibers which that fiber forked are interrupted by it and don't carry it.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import { ClientAbort } from "effect/http/HttpServerError"
import * as Option from "effect/Option"

/**
 * The origin of an interruption.
 *
 * @category models
 * @since 0.1.0
 */
export type Cancellation =
  /** The client closed or reset the connection before the response was complete. */
  | { readonly _tag: "ClientAborted" }
  /** A clock ran out; `clock` names it. */
  | { readonly _tag: "DeadlineExceeded"; readonly clock: string; readonly after: Duration.Duration }
  /** The server is shutting down and its drain deadline has passed. */
  | { readonly _tag: "Draining" }
  /** Another attempt of a hedged call answered first. */
  | { readonly _tag: "HedgeLoser" }
  /** The program interrupted itself. */
  | { readonly _tag: "UserCancelled"; readonly reason: string | undefined }

/**
 * @category constructors
 * @since 0.1.0
 */
export const clientAborted: Cancellation = { _tag: "ClientAborted" }

/**
 * @category constructors
 * @since 0.1.0
 */
export const draining: Cancellation = { _tag: "Draining" }

/**
 * @category constructors
 * @since 0.1.0
 */
export const hedgeLoser: Cancellation = { _tag: "HedgeLoser" }

/**
 * A clock called `clock` ran out after `after`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const deadlineExceeded = (clock: string, after: Duration.Input): Cancellation => ({
  _tag: "DeadlineExceeded",
  clock,
  after: Duration.fromInputUnsafe(after)
})

/**
 * @category constructors
 * @since 0.1.0
 */
export const userCancelled = (reason?: string): Cancellation => ({ _tag: "UserCancelled", reason })

class Origin extends Context.Service<Origin, Cancellation>()("@sluice/core/Cancellation") {}

/**
 * The annotations to interrupt a fiber with: `fiber.interruptUnsafe(id, Cancellation.annotations(Cancellation.draining))`.
 *
 * @category conversions
 * @since 0.1.0
 */
export const annotations = (self: Cancellation): Context.Context<never> =>
  // Sound: annotations are looked up by key; the type parameter of their context is not used.
  Context.make(Origin, self)

/**
 * The origin of the interruption in a cause; `None` when the cause has none. An interruption that says nothing of
 * itself is a {@link userCancelled}.
 *
 * @example
 * ```ts
 * import { Cancellation } from "@sluice/core"
 * import { Effect, Exit, Option } from "effect"
 *
 * const exit = Effect.runSyncExit(Cancellation.cancel("not needed any more"))
 * if (Exit.isFailure(exit)) {
 *   console.log(Option.getOrThrow(Cancellation.of(exit.cause))._tag) // => UserCancelled
 * }
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const of = <E>(cause: Cause.Cause<E>): Option.Option<Cancellation> => {
  let found: Cancellation | undefined
  for (const reason of cause.reasons) {
    if (!Cause.isInterruptReason(reason)) continue
    // Sound: only `annotations` writes under this key.
    const origin = reason.annotations.get(Origin.key) as Cancellation | undefined
    if (origin !== undefined) return Option.some(origin)
    found ??= reason.annotations.has(ClientAbort.key) ? clientAborted : userCancelled()
  }
  return Option.fromNullishOr(found)
}

/**
 * Stops the running fiber, saying why. The request's upstream call, children and finalizers follow.
 *
 * @category constructors
 * @since 0.1.0
 */
export const cancel = (reason?: string): Effect.Effect<never> =>
  Effect.withFiber((fiber) =>
    Effect.failCause(Cause.annotate(Cause.interrupt(fiber.id), annotations(userCancelled(reason))))
  )

/**
 * Runs a finalizer with the origin when `self` is interrupted, and only then.
 *
 * @category combinators
 * @since 0.1.0
 */
export const onCancel: {
  <X, R2>(
    f: (cancellation: Cancellation) => Effect.Effect<X, never, R2>
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | R2>
  <A, E, R, X, R2>(
    self: Effect.Effect<A, E, R>,
    f: (cancellation: Cancellation) => Effect.Effect<X, never, R2>
  ): Effect.Effect<A, E, R | R2>
} = dual(
  2,
  <A, E, R, X, R2>(
    self: Effect.Effect<A, E, R>,
    f: (cancellation: Cancellation) => Effect.Effect<X, never, R2>
  ): Effect.Effect<A, E, R | R2> =>
    Effect.onExit(self, (exit) => {
      const cancellation = Exit.isFailure(exit) ? of(exit.cause) : Option.none()
      return Option.isSome(cancellation) ? Effect.asVoid(f(cancellation.value)) : Effect.void
    })
)

/**
 * Interrupts a fiber from outside, saying why, without waiting for it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const interrupt = (fiber: Fiber.Fiber<unknown, unknown>, cancellation: Cancellation): void =>
  fiber.interruptUnsafe(undefined, annotations(cancellation))
