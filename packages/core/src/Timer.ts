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
import { liveClock, monotonicMillis } from "./internal/time.ts"

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
 * A timer that counts from the last time it was touched.
 *
 * @category models
 * @since 0.1.0
 */
export interface Idle {
  /** Counts anew, also after a pause. */
  readonly touch: () => void
  /** Doesn't count until it is touched. */
  readonly pause: () => void
  /** Doesn't count any more. */
  readonly stop: Cancel
}

/**
 * Runs `callback` once nothing has touched it for `duration`; it may touch it to go on. It counts from its first touch.
 * A touch costs a look at the clock, not a timer, so it may come with every chunk of a body.
 *
 * @example
 * ```ts
 * import { Timer } from "@sluice/core"
 * import { Clock, Effect } from "effect"
 *
 * const program = Effect.map(Clock.Clock, (clock) => {
 *   const idle = Timer.idle(clock, "5 seconds", () => console.log("nothing came"))
 *   idle.touch()
 *   idle.stop()
 *   return "stopped"
 * })
 * console.log(Effect.runSync(program)) // => stopped
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const idle = (clock: Clock.Clock, duration: Duration.Input, callback: () => void): Idle => {
  const millis = Duration.toMillis(duration)
  let since: number | undefined
  let cancel: Cancel | undefined
  let stopped = millis === Infinity
  const look = () => {
    cancel = undefined
    if (since === undefined || stopped) return
    const left = since + millis - monotonicMillis(clock)
    if (left > 0) return wait(left)
    since = undefined
    callback()
  }
  const wait = (left: number) => {
    // Rounded up: Node's timers count whole milliseconds.
    cancel = start(clock, Math.ceil(left), look)
  }
  return {
    touch: () => {
      if (stopped) return
      since = monotonicMillis(clock)
      if (cancel === undefined) wait(millis)
    },
    pause: () => {
      since = undefined
    },
    stop: () => {
      stopped = true
      cancel?.()
      cancel = undefined
    }
  }
}

/**
 * The clock of the running fiber.
 *
 * @category getters
 * @since 0.1.0
 */
export const currentClock = (): Clock.Clock => Fiber.getCurrent()?.getRef(Clock_.Clock) ?? liveClock
