/**
 * The time that is left for a request: timeouts shrink it, outgoing calls read it.
 *
 * **When to use** {@link enforce} is what a timeout is made of. Read {@link remaining} before a call that should not outlive
 * the request (a query, an upstream).
 *
 * **Details** A deadline is a `Context.Reference`: it is inherited by every fiber of the request and by none outside it.
 * It names the clock that set it, so that whatever runs out can say which one did.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Cancellation from "./Cancellation.ts"
import * as Timer from "./Timer.ts"

/**
 * A point in time and the clock that set it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Deadline {
  /** Milliseconds since the epoch, on Effect's clock. */
  readonly at: number
  /** The clock's name, such as `handler` or `total`. */
  readonly clock: string
}

/**
 * The deadline of the running fiber; `undefined` when nothing set one.
 *
 * @category services
 * @since 0.1.0
 */
export const Current: Context.Reference<Deadline | undefined> = Context.Reference<Deadline | undefined>(
  "@sluice/core/Deadline",
  { defaultValue: () => undefined }
)

/**
 * The time left, never below zero; `None` without a deadline.
 *
 * @example
 * ```ts
 * import { Deadline } from "@sluice/core"
 * import { Effect, Option } from "effect"
 *
 * console.log(Option.isNone(Effect.runSync(Deadline.remaining))) // => true
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const remaining: Effect.Effect<Option.Option<Duration.Duration>> = Effect.withFiberSucceed((fiber) => {
  const deadline = fiber.getRef(Current)
  if (deadline === undefined) return Option.none()
  const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
  return Option.some(Duration.millis(Math.max(0, deadline.at - now)))
})

/**
 * Settings of {@link enforce}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<B, E, R> {
  /** The clock's name, for errors, reports and {@link Cancellation.Cancellation}. */
  readonly clock: string
  /** How long the effect may take. */
  readonly after: Duration.Input
  /** What to go on with when it takes longer. */
  readonly orElse: () => Effect.Effect<B, E, R>
  /**
   * Subscribes to the event after which the clock no longer counts: it is given what stops the clock, and returns what
   * takes the subscription back. @default the clock counts until the effect is done
   */
  readonly until?: (stop: () => void) => () => void
}

/**
 * Runs an effect under a deadline. When the time is up the effect is interrupted with
 * `Cancellation.deadlineExceeded(clock, after)` and the caller goes on at once: the effect's finalizers finish in the
 * background, held by the request's scope, so slow cleaning up delays nobody (nor does it outlive the services it uses).
 *
 * **Details** An outer deadline that is nearer stays the effective one. Any other interruption reaches the effect with
 * its origin.
 *
 * @category combinators
 * @since 0.1.0
 */
export const enforce: {
  <B, E2, R2>(
    options: Options<B, E2, R2>
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | B, E | E2, R | R2>
  <A, E, R, B, E2, R2>(
    self: Effect.Effect<A, E, R>,
    options: Options<B, E2, R2>
  ): Effect.Effect<A | B, E | E2, R | R2>
} = dual(
  2,
  <A, E, R, B, E2, R2>(
    self: Effect.Effect<A, E, R>,
    options: Options<B, E2, R2>
  ): Effect.Effect<A | B, E | E2, R | R2> =>
    Effect.withFiber<A | B, E | E2, R | R2>((parent) => {
      const clock = parent.getRef(Clock.Clock)
      // Sound: the fiber runs with the services of the effect that is being built here.
      const context = parent.context as Context.Context<R>
      const child = Effect.runForkWith(Context.add(context, Current, nearer(parent, clock, options)))(self)
      const exit = child.pollUnsafe()
      if (exit !== undefined) return exit
      const scope = Context.getOption(parent.context, Scope.Scope)
      const waiting = Effect.callback<A | B, E | E2, R | R2>((resume) => {
        const stop = Timer.start(clock, options.after, () => {
          unsubscribe?.()
          removeObserver()
          Cancellation.interrupt(child, Cancellation.deadlineExceeded(options.clock, options.after))
          if (Option.isSome(scope)) Fiber.runIn(child, scope.value)
          resume(options.orElse())
        })
        const unsubscribe = options.until?.(stop)
        const cancel = () => {
          stop()
          unsubscribe?.()
        }
        const removeObserver = child.addObserver((exit) => {
          cancel()
          resume(exit)
        })
        return Effect.sync(() => {
          cancel()
          removeObserver()
        })
      })
      return Effect.onExit(waiting, (exit) => passOn(exit, child))
    })
)

const nearer = (
  fiber: Fiber.Fiber<unknown, unknown>,
  clock: Clock.Clock,
  options: { readonly clock: string; readonly after: Duration.Input }
): Deadline => {
  const outer = fiber.getRef(Current)
  const { after } = options
  const at = clock.currentTimeMillisUnsafe() + (typeof after === "number" ? after : Duration.toMillis(after))
  return outer !== undefined && outer.at <= at ? outer : { at, clock: options.clock }
}

/** Whoever interrupts the waiting fiber means the effect it waits for. */
const passOn = (exit: Exit.Exit<unknown, unknown>, child: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> => {
  if (Exit.isSuccess(exit) || child.pollUnsafe() !== undefined) return Effect.void
  const cancellation = Cancellation.of(exit.cause)
  if (Option.isNone(cancellation)) return Effect.void
  Cancellation.interrupt(child, cancellation.value)
  return Effect.asVoid(Fiber.await(child))
}
