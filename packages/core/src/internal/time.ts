import type * as Clock from "effect/Clock"
import * as Clock_ from "effect/Clock"
import * as Context from "effect/Context"

/** Effect's live clock; anything else is a test's. */
export const liveClock: Clock.Clock = Context.get(Context.empty(), Clock_.Clock)

/** Monotonic milliseconds; the live clock is read without a `bigint`. */
export const monotonicMillis = (clock: Clock.Clock): number =>
  clock === liveClock ? performance.now() : Number(clock.monotonicTimeNanosUnsafe()) / 1e6
