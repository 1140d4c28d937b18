import { assert, describe, it } from "@effect/vitest"
import type * as Exchange from "@sluice/core/Exchange"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as fc from "fast-check"
import * as Permits from "../src/internal/permits.ts"

/** An exchange that a test ends. */
const exchange = () => {
  const callbacks: Array<() => void> = []
  const self = {
    outcome: undefined as unknown,
    onEnded: (callback: () => void) => {
      callbacks.push(callback)
      return () => {}
    }
  }
  const end = () => {
    if (self.outcome !== undefined) return
    self.outcome = { _tag: "Completed" }
    for (const callback of callbacks) callback()
  }
  // Sound: permits look at nothing else of an exchange.
  return { exchange: self as unknown as Exchange.Exchange, end }
}

/** Takes in a fiber, which has begun to wait when this returns, if it has to. */
const taking = (permits: Permits.Permits, one: ReturnType<typeof exchange>) =>
  Effect.forkChild(permits.take(one.exchange), { startImmediately: true })

describe("permits", () => {
  it.effect("one that is granted while its fiber is interrupted comes back when the exchange ends", () =>
    Effect.gen(function*() {
      const permits = Permits.make(1, 1, Infinity)
      const [first, second, third] = [exchange(), exchange(), exchange()]
      assert.isTrue(yield* permits.take(first.exchange))
      const waiting = yield* taking(permits, second)
      first.end()
      waiting.interruptUnsafe()
      yield* Fiber.await(waiting)
      const next = yield* taking(permits, third)
      assert.isUndefined(next.pollUnsafe())
      second.end()
      assert.isTrue(yield* Fiber.join(next))
    }))

  it.effect("whatever comes and goes in whatever order, no permit is lost and none is made", () =>
    Effect.promise(() =>
      fc.assert(fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.nat(3),
        fc.array(fc.record({ action: fc.constantFrom("take", "end", "leave"), which: fc.nat(20) }), { maxLength: 40 }),
        (limit, places, actions) =>
          Effect.runPromise(Effect.gen(function*() {
            const permits = Permits.make(limit, places, Infinity)
            const all: Array<{ readonly end: () => void; readonly fiber: Fiber.Fiber<boolean>; over: boolean }> = []
            const holders = () =>
              all.filter(({ fiber, over }) => {
                const exit = fiber.pollUnsafe()
                return !over && exit?._tag === "Success" && exit.value
              }).length
            for (const { action, which } of actions) {
              const one = all[which % Math.max(1, all.length)]
              if (action === "take" || one === undefined) {
                const { end, exchange: taker } = exchange()
                all.push({
                  end,
                  over: false,
                  fiber: yield* Effect.forkChild(permits.take(taker), { startImmediately: true })
                })
              } else {
                // A client that leaves interrupts its fiber, and then its exchange ends.
                if (action === "leave") yield* Fiber.interrupt(one.fiber)
                one.over = true
                one.end()
              }
              for (let i = 0; i < 3; i++) yield* Effect.yieldNow
              assert.isAtMost(holders(), limit)
            }
            for (const one of all) {
              yield* Fiber.interrupt(one.fiber)
              one.end()
            }
            const free = yield* Effect.forEach(Array.from({ length: limit }), () => permits.take(exchange().exchange))
            assert.isTrue(free.every((taken) => taken))
          }))
      ))
    ))
})
