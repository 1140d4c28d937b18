/**
 * A callback after a duration, on Effect's clock: one cancellable timer without a fiber of its own.
 *
 * **When to use** For clocks that are started and stopped once a request (timeouts, idle clocks) and must both cost next
 * to nothing and obey `TestClock`. In ordinary code `Effect.sleep` and `Effect.timeout` read better.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Clock_ from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { liveClock } from "./internal/time.ts"

/**
 * Stops a timer. Stopping one that has fired, or twice, does nothing.
 *
 * @category models
 * @since 0.1.0
 */
export type Cancel = () => void

/** Longer delays overflow Node's 32-bit timers and would fire at once. */
const longestDelay = 2 ** 31 - 1

const noop: Cancel = () => {}

/**
 * Runs `callback` after `duration` on the given clock. An infinite duration never fires.
 *
 * @example
 * ```ts
 * import { Timer } from "@sluice/core"
 * import { Clock, Effect } from "effect"
 *
 * const program = Effect.map(Clock.Clock, (clock) => {
 *   const cancel = Timer.start(clock, "5 seconds", () => console.log("late"))
 *   cancel()
 *   return "stopped"
 * })
 * console.log(Effect.runSync(program)) // => stopped
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const start = (clock: Clock.Clock, duration: Duration.Input, callback: () => void): Cancel => {
  const millis = typeof duration === "number" ? duration : Duration.toMillis(duration)
  if (!Number.isFinite(millis)) return noop
  if (clock === liveClock && millis <= longestDelay) {
    const handle = setTimeout(callback, millis)
    return () => clearTimeout(handle)
  }
  const fiber = Effect.runFork(Effect.andThen(clock.sleep(Duration.millis(millis)), Effect.sync(callback)))
  return () => fiber.interruptUnsafe()
}

/**
 * The clock of the running fiber.
 *
 * @category getters
 * @since 0.1.0
 */
export const currentClock = (): Clock.Clock => Fiber.getCurrent()?.getRef(Clock_.Clock) ?? liveClock
