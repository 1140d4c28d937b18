import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** The exit of an effect that has nothing left to do, for what need not take another step of the fiber. */
export const settled = <A, E, R>(effect: Effect.Effect<A, E, R>): Exit.Exit<A, E> | undefined =>
  // Sound: an exit that is this effect has its types.
  Exit.isExit(effect) ? effect as Exit.Exit<A, E> : undefined
