import type * as Clock from "effect/Clock"

export interface TokenBucket {
  /** Takes one token if there is one. */
  readonly take: () => boolean
}

/** A bucket that holds one second's worth of tokens (at least one) and is refilled as the clock goes on. */
export const make = (perSecond: number, clock: Clock.Clock): TokenBucket => {
  if (perSecond === Infinity) return { take: () => true }
  const size = Math.max(1, perSecond)
  let tokens = size
  let last = clock.currentTimeMillisUnsafe()
  return {
    take: () => {
      const now = clock.currentTimeMillisUnsafe()
      tokens = Math.min(size, tokens + Math.max(0, now - last) * perSecond / 1000)
      last = now
      if (tokens < 1) return false
      tokens--
      return true
    }
  }
}
