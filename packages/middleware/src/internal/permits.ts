import * as Exchange from "@sluice/core/Exchange"
import * as Timer from "@sluice/core/Timer"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

interface Waiter {
  readonly exchange: Exchange.Exchange
  readonly admit: () => void
}

export interface Permits {
  /**
   * Holds a permit until the exchange ends, waiting in line for it; `false` when the line is full or the wait was too long.
   */
  readonly take: (exchange: Exchange.Exchange) => Effect.Effect<boolean>
}

/** So many permits, and a line of so many who wait for one, at most for so long. */
export const make = (limit: number, places: number, patience: number): Permits => {
  let taken = 0
  const line = new Set<Waiter>()

  const release = (): void => {
    for (const waiter of line) {
      line.delete(waiter)
      // Its fiber is about to be interrupted.
      if (waiter.exchange.outcome !== undefined) continue
      return waiter.admit()
    }
    taken--
  }
  const hold = (exchange: Exchange.Exchange): void => void Exchange.onEnd(exchange, release)

  const wait = (exchange: Exchange.Exchange, clock: Clock.Clock): Effect.Effect<boolean> =>
    Effect.callback((resume) => {
      const waiter: Waiter = {
        exchange,
        admit: () => {
          cancel()
          // Before the fiber goes on: it may be interrupted until then, and the permit must come back all the same.
          hold(exchange)
          resume(Effect.succeed(true))
        }
      }
      line.add(waiter)
      const cancel = Timer.start(clock, patience, () => {
        line.delete(waiter)
        resume(Effect.succeed(false))
      })
      return Effect.sync(() => {
        cancel()
        line.delete(waiter)
      })
    })

  return {
    take: (exchange) =>
      Effect.clockWith((clock) => {
        if (taken < limit) {
          taken++
          hold(exchange)
          return Effect.succeed(true)
        }
        return line.size < places ? wait(exchange, clock) : Effect.succeed(false)
      })
  }
}
