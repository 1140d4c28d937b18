import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { LeakCounter } from "../src/testing/index.ts"
import * as Timer from "../src/Timer.ts"

describe("Timer", () => {
  it.effect("fires once, on the clock it is given, in the order of what is due", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const fired: Array<string> = []
      Timer.start(clock, "2 seconds", () => fired.push("b"))
      Timer.start(clock, "1 second", () => fired.push("a"))
      const cancel = Timer.start(clock, "1500 millis", () => fired.push("cancelled"))
      Timer.start(clock, Duration.infinity, () => fired.push("never"))
      cancel()
      cancel()
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(fired, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(fired, ["a"])
      yield* TestClock.adjust("100 days")
      assert.deepStrictEqual(fired, ["a", "b"])
    }))

  it.live("on the live clock it fires, and a stopped one leaves no timer", () =>
    LeakCounter.expectNoLeak(Effect.gen(function*() {
      const clock = yield* Clock.Clock
      Timer.start(clock, "1 hour", () => {})()
      yield* Effect.callback<void>((resume) => {
        Timer.start(clock, 1, () => resume(Effect.void))
      })
    })))

  it.live("a delay that is too long for Node does not fire at once", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let fired = false
      const cancel = Timer.start(clock, "60 days", () => {
        fired = true
      })
      yield* Effect.callback<void>((resume) => {
        Timer.start(clock, 5, () => resume(Effect.void))
      })
      assert.isFalse(fired)
      cancel()
    }))

  it.effect("currentClock is the running fiber's", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      assert.strictEqual(yield* Effect.sync(Timer.currentClock), clock)
    }))
})

describe("Timer.idle", () => {
  it.effect("counts from the last touch, and not in a pause", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let fired = 0
      const idle = Timer.idle(clock, "2 seconds", () => {
        fired++
      })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(fired, 0)
      idle.touch()
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("1500 millis")
        idle.touch()
      }
      yield* TestClock.adjust("1999 millis")
      assert.strictEqual(fired, 0)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(fired, 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(fired, 1)
      idle.touch()
      yield* TestClock.adjust("1 second")
      idle.pause()
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(fired, 1)
      idle.touch()
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(fired, 2)
      idle.touch()
      idle.stop()
      idle.touch()
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(fired, 2)
    }))
})
