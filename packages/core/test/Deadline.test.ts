import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Cancellation from "../src/Cancellation.ts"
import * as Deadline from "../src/Deadline.ts"
import { LeakCounter } from "../src/testing/index.ts"

const left = Effect.map(Deadline.remaining, Option.map(Duration.toMillis))

const within = <A, E, R>(self: Effect.Effect<A, E, R>, clock: string, after: Duration.Input) =>
  Deadline.enforce(self, { clock, after, orElse: () => Effect.succeed(`late: ${clock}`) })

describe("Deadline", () => {
  it.effect("has none outside, and counts down inside", () =>
    Effect.gen(function*() {
      assert.isTrue(Option.isNone(yield* left))
      const seen = yield* Effect.forkChild(
        within(
          Effect.all([left, Effect.andThen(Effect.sleep("400 millis"), left)]),
          "handler",
          "1 second"
        ),
        { startImmediately: true }
      )
      yield* TestClock.adjust("400 millis")
      assert.deepStrictEqual(yield* Fiber.join(seen), [Option.some(1000), Option.some(600)])
      assert.isTrue(Option.isNone(yield* left))
    }))

  it.effect("an outer one that is nearer stays, and an inner one that is nearer shrinks it", () =>
    Effect.gen(function*() {
      const read = Effect.map(Deadline.Current, (deadline) => deadline?.clock)
      const kept = yield* within(within(Effect.all([left, read]), "inner", "5 seconds"), "outer", "1 second")
      assert.deepStrictEqual(kept, [Option.some(1000), "outer"])
      const shrunk = yield* within(within(Effect.all([left, read]), "inner", "1 second"), "outer", "5 seconds")
      assert.deepStrictEqual(shrunk, [Option.some(1000), "inner"])
    }))

  it.effect("never says less than zero is left", () =>
    Effect.gen(function*() {
      const reading = Effect.uninterruptible(Effect.andThen(Effect.sleep("3 seconds"), left))
      const seen = yield* Deferred.make<Option.Option<number>>()
      const run = Effect.onExit(reading, (exit) =>
        Exit.isSuccess(exit) ? Deferred.succeed(seen, exit.value) : Effect.void)
      yield* Effect.forkChild(within(Effect.uninterruptible(run), "handler", "1 second"), { startImmediately: true })
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* Deferred.await(seen), Option.some(0))
    }))

  it.effect("of two nested ones the first that is due decides, and can be told from the other", () =>
    Effect.gen(function*() {
      const nested = (inner: Duration.Input, outer: Duration.Input) =>
        Effect.forkChild(
          within(Effect.map(within(Effect.never, "inner", inner), (text) => `through ${text}`), "outer", outer),
          {
            startImmediately: true
          }
        )
      const first = yield* nested("50 millis", "100 millis")
      const second = yield* nested("100 millis", "50 millis")
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Fiber.join(first), "through late: inner")
      assert.strictEqual(yield* Fiber.join(second), "late: outer")
    }))

  it.effect("a result, a failure or a defect in time passes unchanged", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* within(Effect.succeed("ok"), "c", "1 second"), "ok")
      assert.strictEqual(yield* Effect.flip(within(Effect.fail("no"), "c", "1 second")), "no")
      const defect = yield* Effect.exit(within(Effect.die("boom"), "c", "1 second"))
      assert.isTrue(Exit.hasDies(defect))
      const later = yield* Effect.forkChild(within(Effect.delay(Effect.succeed("ok"), "900 millis"), "c", "1 second"), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(later), "ok")
    }))

  it.effect("C28 slow finalizers delay nobody, and the scope waits for them", () =>
    Effect.gen(function*() {
      const steps: Array<string> = []
      const slow = Effect.onInterrupt(Effect.never, () =>
        Effect.andThen(Effect.sleep("10 seconds"), Effect.sync(() => steps.push("cleaned up"))))
      const scope = yield* Scope.make()
      const run = yield* Effect.forkChild(Scope.provide(within(slow, "handler", "1 second"), scope), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 second")
      steps.push(yield* Fiber.join(run))
      const closing = yield* Effect.forkChild(
        Effect.andThen(
          Scope.close(scope, Exit.void),
          Effect.sync(() =>
            steps.push("closed")
          )
        ),
        { startImmediately: true }
      )
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(steps, ["late: handler", "cleaned up", "closed"])
    }))

  it.effect("whoever interrupts the caller interrupts the effect, and waits for its finalizers", () =>
    Effect.gen(function*() {
      const steps: Array<string> = []
      const work = Cancellation.onCancel(
        Effect.never,
        (cancellation) => Effect.andThen(Effect.yieldNow, Effect.sync(() => steps.push(cancellation._tag)))
      )
      const run = yield* Effect.forkChild(within(work, "handler", "1 hour"), { startImmediately: true })
      Cancellation.interrupt(run, Cancellation.draining)
      yield* Fiber.await(run)
      steps.push("done")
      assert.deepStrictEqual(steps, ["Draining", "done"])
    }))

  it.effect("the effect has the caller's services, and its children the deadline", () =>
    Effect.gen(function*() {
      class Name extends Context.Service<Name, string>()("test/Name") {}
      const child = Effect.flatMap(Effect.forkChild(Effect.all([Name, left])), Fiber.join)
      const seen = yield* within(child, "handler", "1 second").pipe(Effect.provide(Layer.succeed(Name)("ann")))
      assert.deepStrictEqual(seen, ["ann", Option.some(1000)])
    }))

  it.effect("an infinite one never fires, and no deadline leaves a timer behind", () =>
    Effect.gen(function*() {
      const run = yield* Effect.forkChild(
        within(Effect.delay(Effect.succeed("ok"), "400 days"), "c", Duration.infinity),
        {
          startImmediately: true
        }
      )
      yield* TestClock.adjust("400 days")
      assert.strictEqual(yield* Fiber.join(run), "ok")
    }))

  it.live("C27 a hundred thousand that are met leave no timer and no fiber", () =>
    LeakCounter.expectNoLeak(Effect.gen(function*() {
      const soon = within(Effect.andThen(Effect.yieldNow, Effect.void), "c", "1 hour")
      for (let i = 0; i < 100_000; i++) yield* soon
    })))
})
