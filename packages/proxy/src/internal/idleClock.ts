import * as Timer from "@sluice/core/Timer"
import type * as Clock from "effect/Clock"

/** A clock that is looked at when it rings, rather than wound up for every chunk. */
export class IdleClock {
  private readonly clock: Clock.Clock
  /** In milliseconds. */
  private readonly limit: number
  private readonly onIdle: () => void
  private readonly counts: () => boolean
  private since: number
  private cancel: Timer.Cancel

  /** While it does not count, there is all the time in the world. */
  constructor(clock: Clock.Clock, limit: number, onIdle: () => void, counts = always) {
    this.clock = clock
    this.limit = limit
    this.onIdle = onIdle
    this.counts = counts
    this.since = clock.currentTimeMillisUnsafe()
    this.cancel = Timer.start(clock, limit, this.ring)
  }

  /** Something has moved. */
  readonly touch = (): void => {
    this.since = this.clock.currentTimeMillisUnsafe()
  }

  readonly stop = (): void => this.cancel()

  private readonly ring = (): void => {
    const left = this.counts() ? this.since + this.limit - this.clock.currentTimeMillisUnsafe() : this.limit
    if (left > 0) this.cancel = Timer.start(this.clock, left, this.ring)
    else this.onIdle()
  }
}

const always = (): boolean => true
