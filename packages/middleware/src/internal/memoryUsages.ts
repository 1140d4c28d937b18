import type { Balance, Charge } from "../RateLimitStore.ts"
import { balanceOf, hasRoom, lifetimeOf, type Usage, usageAt } from "./rateLimitSteps.ts"

interface Kept extends Usage {
  readonly expiresAt: number
}

export interface MemoryUsages {
  readonly size: () => number
  readonly consume: (charges: ReadonlyArray<Charge>, now: number) => ReadonlyArray<Balance>
  /** Goes through the keys: each call forgets what has expired among the next `count`, and says whether there are more. */
  readonly sweeper: () => (now: number, count: number) => boolean
}

/**
 * Usages by key, of which there are never more than `maxEntries`.
 *
 * They are kept in two generations. A key that is asked for is, or becomes, one of the young; when these are half of what
 * there may be, they grow old, and the old are forgotten. So a key is safe until half of `maxEntries` others have been asked
 * for. (A line in the order of use would be more exact, but the head of a `Map` that is always deleted from is slow to find.)
 */
export const make = (maxEntries: number, onEvict: (count: number) => void): MemoryUsages => {
  const half = Math.floor(maxEntries / 2)
  let young = new Map<string, Kept>()
  let old = new Map<string, Kept>()

  const growOld = (now: number): void => {
    const evicted = [...old.values()].filter(({ expiresAt }) => expiresAt > now).length
    if (evicted > 0) onEvict(evicted)
    old = young
    young = new Map()
  }

  const keep = (key: string, now: number, kept: Kept): void => {
    old.delete(key)
    if (young.size >= half && !young.has(key)) growOld(now)
    young.set(key, kept)
  }

  const find = (key: string, now: number): Usage | undefined => {
    const kept = young.get(key)
    if (kept !== undefined) return kept
    const aging = old.get(key)
    if (aging !== undefined) keep(key, now, aging)
    return aging
  }

  const consumeOne = (charge: Charge, now: number): Balance => {
    const key = keyOf(charge)
    const usage = usageAt(charge, now, find(key, now))
    const room = hasRoom(charge, usage)
    if (!room || charge.cost === 0) return balanceOf(charge, now, usage, room)
    const taken = { used: usage.used + charge.cost, at: usage.at }
    keep(key, now, { used: taken.used, at: taken.at, expiresAt: now + lifetimeOf(charge, now, taken) })
    return balanceOf(charge, now, taken, true)
  }

  return {
    size: () => young.size + old.size,
    consume: (charges, now) => {
      if (charges.length === 1) return [consumeOne(charges[0], now)]
      const keys = charges.map(keyOf)
      const usages = charges.map((charge, i) => usageAt(charge, now, find(keys[i], now)))
      const rooms = charges.map((charge, i) => hasRoom(charge, usages[i]))
      const all = rooms.every((room) => room)
      return charges.map((charge, i) => {
        const { at, used } = usages[i]
        if (!all || charge.cost === 0) return balanceOf(charge, now, usages[i], rooms[i])
        const taken = { used: used + charge.cost, at }
        keep(keys[i], now, { used: taken.used, at, expiresAt: now + lifetimeOf(charge, now, taken) })
        return balanceOf(charge, now, taken, true)
      })
    },
    sweeper: () => {
      const generations = [young, old]
      let entries = generations[0].entries()
      return (now, count) => {
        for (let i = 0; i < count; i++) {
          const next = entries.next()
          if (next.done !== true) {
            const [key, { expiresAt }] = next.value
            if (expiresAt <= now) generations[0].delete(key)
          } else {
            generations.shift()
            if (generations.length === 0) return false
            entries = generations[0].entries()
          }
        }
        return true
      }
    }
  }
}

const keyOf = (charge: Charge): string => `${charge.algorithm}:${charge.key}`
