/**
 * The timer of an exchange. It waits for one thing at a time, so there is only one, and starting it for another thing stops it
 * for the one before.
 */
import * as Timer from "@sluice/core/Timer"
import type * as Clock from "effect/Clock"
import type * as Transport from "../../Transport.ts"
import { clockOf } from "../clocks.ts"

export class Watch {
  private readonly clock: Clock.Clock
  private readonly clocks: Transport.Clocks
  private cancel: Timer.Cancel | undefined

  constructor(clock: Clock.Clock, clocks: Transport.Clocks) {
    this.clock = clock
    this.clocks = clocks
  }

  /** In milliseconds. */
  now(): number {
    return this.clock.currentTimeMillisUnsafe()
  }

  start(name: keyof Transport.Clocks, onRing: () => void): void {
    this.cancel?.()
    this.cancel = Timer.start(this.clock, clockOf(this.clocks, name), onRing)
  }

  /**
   * Rings when the clock has run out, and again after what `onRing` returns, in milliseconds, as long as that is more than 0.
   * So something that happens often need not wind it up: looking at when it happened last is enough.
   */
  wind(name: keyof Transport.Clocks, onRing: (limit: number) => number): void {
    const limit = clockOf(this.clocks, name)
    const ring = (): void => {
      const left = onRing(limit)
      if (left > 0) this.cancel = Timer.start(this.clock, left, ring)
    }
    this.cancel?.()
    this.cancel = Timer.start(this.clock, limit, ring)
  }

  stop(): void {
    this.cancel?.()
    this.cancel = undefined
  }
}
