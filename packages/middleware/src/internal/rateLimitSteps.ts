/**
 * The arithmetic of the algorithms. The script of the Redis store does the same steps in the same order, so that both
 * come to the same numbers.
 */
import type { Balance, Charge } from "../RateLimitStore.ts"

/** What is kept of a key: units that are used up, and since when (the window's start, or when they were counted). */
export interface Usage {
  readonly used: number
  readonly at: number
}

/** Fractions of units are sums of doubles: what is lacking by less than this is there. */
const tolerance = 1e-9

/** The usage as it is now, in milliseconds, before anything is taken. */
export const usageAt = (charge: Charge, now: number, before: Usage | undefined): Usage => {
  if (before === undefined) return { used: 0, at: now }
  const passed = Math.max(0, now - before.at)
  if (charge.algorithm === "fixed-window") {
    return passed >= charge.window ? { used: 0, at: now } : { used: before.used, at: Math.min(before.at, now) }
  }
  return { used: Math.max(0, before.used - passed * charge.quota / charge.window), at: now }
}

/** Whether the quota leaves room for the cost. */
export const hasRoom = (charge: Charge, usage: Usage): boolean => usage.used + charge.cost <= charge.quota + tolerance

/** What is told about a key whose usage is `usage` now. */
export const balanceOf = (charge: Charge, now: number, usage: Usage, admitted: boolean): Balance => {
  const { quota, window } = charge
  const remaining = Math.max(0, Math.floor(quota - usage.used + tolerance))
  if (charge.algorithm === "fixed-window") {
    const left = usage.at + window - now
    return { admitted, remaining, resetAfter: left, retryAfter: admitted ? 0 : left }
  }
  return {
    admitted,
    remaining,
    resetAfter: remaining >= quota ? 0 : Math.max(0, (usage.used - (quota - remaining - 1)) * window / quota),
    retryAfter: admitted ? 0 : Math.max(0, (usage.used + charge.cost - quota) * window / quota)
  }
}

/** How long a usage has to be kept, in milliseconds: after that it is as if it had never been. */
export const lifetimeOf = (charge: Charge, now: number, usage: Usage): number =>
  charge.algorithm === "fixed-window" ? usage.at + charge.window - now : usage.used * charge.window / charge.quota
