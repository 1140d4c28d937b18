import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redis from "effect/persistence/Redis"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import * as MemoryUsages from "../src/internal/memoryUsages.ts"
import { script } from "../src/internal/rateLimitScript.ts"
import * as RateLimitStore from "../src/RateLimitStore.ts"
import { refused } from "./kit.ts"
import { hasRedis, redisNote, redisServer } from "./utils/redis.ts"

type Charge = RateLimitStore.Charge
type Balance = RateLimitStore.Balance

const charge = (key: string, options: Partial<Charge> = {}): Charge => ({
  key,
  algorithm: "fixed-window",
  quota: 1,
  window: 60_000,
  cost: 1,
  ...options
})

const usages = () => MemoryUsages.make(1000, () => {})

/** A request at a time after the one before. */
interface Step {
  readonly pause: number
  readonly cost: number
}

const steps = fc.array(
  fc.record({
    // Often nothing or little, sometimes a round part of a window, sometimes long.
    pause: fc.oneof(fc.constant(0), fc.nat(5000), fc.nat(12).map((n) => n * 10_000), fc.nat(200_000)),
    cost: fc.nat(4)
  }),
  { maxLength: 60 }
)

const policy = fc.record({
  quota: fc.integer({ min: 1, max: 9 }),
  window: fc.constantFrom(60_000, 61_000, 90_000)
})

/** Runs steps against one key, and returns when how much was asked for and admitted. */
const run = (charge: Charge, steps: ReadonlyArray<Step>) => {
  const store = usages()
  let now = 0
  return steps.map(({ cost, pause }) => {
    now += pause
    const [balance] = store.consume([{ ...charge, cost }], now)
    return { at: now, cost, balance, taken: balance.admitted ? cost : 0 }
  })
}

const total = (taken: ReadonlyArray<{ readonly taken: number }>) => taken.reduce((sum, { taken }) => sum + taken, 0)

describe("RateLimitStore", () => {
  describe("promises", () => {
    it("a fixed window admits no more than its quota, and leaves nothing of it unused", () => {
      fc.assert(fc.property(policy, steps, (policy, steps) => {
        let start = -Infinity
        let left = 0
        for (const { at, balance, cost, taken } of run(charge("a", policy), steps)) {
          if (at >= start + policy.window) left = policy.quota
          assert.strictEqual(balance.admitted, cost <= left)
          // A window begins with the first unit that is taken.
          if (taken > 0 && at >= start + policy.window) start = at
          left -= taken
          assert.strictEqual(balance.remaining, left)
          assert.isAtLeast(left, 0)
        }
      }))
    })

    it("a token bucket admits no more than its quota and what comes back, in any time", () => {
      fc.assert(fc.property(policy, steps, (policy, steps) => {
        const seen = run(charge("a", { ...policy, algorithm: "token-bucket" }), steps)
        for (let i = 0; i < seen.length; i++) {
          for (let j = i; j < seen.length; j++) {
            const refilled = (seen[j].at - seen[i].at) * policy.quota / policy.window
            assert.isAtMost(total(seen.slice(i, j + 1)), policy.quota + refilled + 1e-6)
          }
        }
      }))
    })

    it("neither admits more than twice the quota in any time as long as a window", () => {
      const algorithm = fc.constantFrom("fixed-window" as const, "token-bucket" as const)
      fc.assert(fc.property(policy, algorithm, steps, (policy, algorithm, steps) => {
        const seen = run(charge("a", { ...policy, algorithm }), steps)
        for (const { at } of seen) {
          const within = seen.filter((step) => step.at >= at && step.at < at + policy.window)
          assert.isAtMost(total(within), 2 * policy.quota)
        }
      }))
    })

    it("who waits as long as it is told is admitted, and not before", () => {
      const algorithm = fc.constantFrom("fixed-window" as const, "token-bucket" as const)
      fc.assert(
        fc.property(policy, algorithm, steps, fc.integer({ min: 1, max: 9 }), (policy, algorithm, steps, cost) => {
          fc.pre(cost <= policy.quota)
          const store = usages()
          const asked = { ...charge("a", { ...policy, algorithm }), cost }
          let now = 0
          for (const step of steps) {
            now += step.pause
            store.consume([{ ...asked, cost: step.cost }], now)
          }
          const [{ admitted, retryAfter }] = store.consume([asked], now)
          if (admitted) return
          assert.isFalse(store.consume([asked], now + retryAfter - 1)[0].admitted)
          assert.isTrue(store.consume([asked], now + retryAfter)[0].admitted)
        })
      )
    })

    it("a request that one policy refuses is charged to none", () => {
      const store = usages()
      const wide = charge("wide", { quota: 5 })
      const both = [charge("tight"), wide]
      assert.deepStrictEqual(store.consume(both, 0).map(({ remaining }) => remaining), [0, 4])
      const refused = store.consume(both, 1)
      assert.deepStrictEqual(refused.map(({ admitted }) => admitted), [false, true])
      assert.deepStrictEqual(refused.map(({ remaining }) => remaining), [0, 4])
    })
  })

  describe("layerMemory", () => {
    const built = (options: RateLimitStore.MemoryOptions) =>
      Effect.map(Layer.build(RateLimitStore.layerMemory(options)), Context.get(RateLimitStore.RateLimitStore))
    const evicted = Effect.map(Metric.value(RateLimitStore.evictions), ({ count }) => count)

    it("C89 a million keys take no more room than there is, and none when they have expired", () => {
      let evictions = 0
      const store = MemoryUsages.make(10_000, (count) => {
        evictions += count
      })
      for (let i = 0; i < 1e6; i++) {
        store.consume([charge(`client ${i}`)], i / 1e6)
        if (i % 1000 === 0) assert.isAtMost(store.size(), 10_000)
      }
      assert.strictEqual(store.size() + evictions, 1e6)
      const forget = store.sweeper()
      while (forget(60_001, 1000));
      assert.strictEqual(store.size(), 0)
    }, 60_000)

    it.effect("C89 expired keys are swept on the clock, in the background, and the others stay", () =>
      Effect.gen(function*() {
        const { consume } = yield* built({ maxEntries: 10, sweepEvery: "30 seconds" })
        const admits = (key: string, window = 600_000) =>
          Effect.map(consume([charge(key, { window })]), ([{ admitted }]) => admitted)
        const before = yield* evicted
        yield* admits("long")
        yield* Effect.forEach(["a", "b", "c", "d"], (key) => admits(key, 30_000))
        yield* TestClock.adjust("30 seconds")
        // The long one is safe while there are fewer than two generations of five: a to d must not count.
        yield* Effect.forEach(["e", "f", "g", "h", "i", "j", "k", "l"], (key) => admits(key))
        assert.isFalse(yield* admits("long"))
        assert.strictEqual(yield* evicted, before)
      }))

    it.effect("C89 when it is full, keys are forgotten that nobody asked for meanwhile", () =>
      Effect.gen(function*() {
        const { consume } = yield* built({ maxEntries: 4 })
        const before = yield* evicted
        const admits = (key: string) => Effect.map(consume([charge(key)]), ([{ admitted }]) => admitted)
        assert.deepStrictEqual(yield* Effect.forEach(["a", "b", "c"], admits), [true, true, true])
        // A client that is refused is one that asks.
        assert.isFalse(yield* admits("a"))
        assert.deepStrictEqual(yield* Effect.forEach(["d"], admits), [true])
        assert.strictEqual(yield* evicted, before + 1)
        assert.deepStrictEqual(yield* Effect.forEach(["a", "d", "b"], admits), [false, false, true])
      }))

    it("refuses nonsense", () => {
      assert.include(refused(() => RateLimitStore.layerMemory({ maxEntries: 1 })), "RangeError: maxEntries")
      assert.include(refused(() => RateLimitStore.layerMemory({ sweepEvery: 0 })), "RangeError: sweepEvery")
      assert.include(refused(() => RateLimitStore.layerRedis({ timeout: 0 })), "RangeError: timeout")
    })
  })

  describe("layerRedis", () => {
    it.live.skipIf(!hasRedis)(
      `agrees with the memory store on any trace, to the last digit${redisNote}`,
      () =>
        Effect.gen(function*() {
          const server = yield* redisServer
          const redis = Context.get(yield* Layer.build(server.layer), Redis.Redis)
          const ask = (prefix: string, now: number, charges: ReadonlyArray<Charge>) =>
            Effect.map(redis.eval(script)(prefix, now, charges), (answer) => answer.map(String))
          const limit = fc.record({
            key: fc.constantFrom("a", "b"),
            algorithm: fc.constantFrom("fixed-window" as const, "token-bucket" as const),
            quota: fc.integer({ min: 1, max: 7 }),
            // Redis's own clock goes on meanwhile, and must not end anything.
            window: fc.constantFrom(600_000, 610_000, 3_600_000)
          })
          // A window to the millisecond, and a clock that is set back.
          const pause = fc.oneof(
            fc.nat(2_000_000),
            fc.constantFrom(600_000, 610_000, 3_600_000),
            fc.integer({ min: -100_000, max: 0 })
          )
          const trace = fc.tuple(
            fc.uniqueArray(limit, { minLength: 1, maxLength: 3, selector: ({ algorithm, key }) => algorithm + key }),
            fc.array(fc.record({ pause, cost: fc.nat(4) }), { maxLength: 25 })
          )
          let traces = 0
          yield* Effect.promise(() =>
            fc.assert(
              fc.asyncProperty(trace, async ([limits, steps]) => {
                const prefix = `${traces++}:`
                const memory = usages()
                let now = 1_700_000_000_000
                for (const { cost, pause } of steps) {
                  now += pause
                  const charges = limits.map((limit) => ({ ...limit, cost }))
                  const here = memory.consume(charges, now).flatMap(flat)
                  assert.deepStrictEqual((await Effect.runPromise(ask(prefix, now, charges))).map(Number), here)
                }
              }),
              { numRuns: 150 }
            )
          )
          assert.isAtLeast(traces, 150)
        })
    )

    it.live.skipIf(!hasRedis)(
      `keeps keys under its prefix, and for no longer than they matter${redisNote}`,
      () =>
        Effect.gen(function*() {
          const server = yield* redisServer
          const redis = Context.get(yield* Layer.build(server.layer), Redis.Redis)
          const store = RateLimitStore.layerRedis({ prefix: "shop:", timeout: "10 seconds" })
          const { consume } = Context.get(
            yield* Layer.build(Layer.provide(store, Layer.succeed(Redis.Redis, redis))),
            RateLimitStore.RateLimitStore
          )
          const [balance] = yield* consume([charge("ann", { quota: 5 })])
          assert.deepStrictEqual(balance, { admitted: true, remaining: 4, resetAfter: 60_000, retryAfter: 0 })
          assert.deepStrictEqual(yield* redis.send("KEYS", "*"), ["shop:fixed-window:ann"])
          const left = yield* redis.send<number>("PTTL", "shop:fixed-window:ann")
          assert.isAtMost(left, 60_000)
          assert.isAbove(left, 0)
          yield* redis.send("SCRIPT", "FLUSH")
          assert.strictEqual((yield* consume([charge("ann", { quota: 5 })]))[0].remaining, 3)
          yield* redis.send("SET", "shop:fixed-window:bob", "garbage")
          assert.isTrue((yield* consume([charge("bob")]))[0].admitted)
          yield* redis.send("HSET", "shop:fixed-window:eve", "a", "b")
          const failure = yield* Effect.flip(consume([charge("eve")]))
          assert.strictEqual(failure._tag, "RateLimitStoreError")
        })
    )
  })
})

const flat = ({ admitted, remaining, resetAfter, retryAfter }: Balance): ReadonlyArray<number> => [
  admitted ? 1 : 0,
  remaining,
  resetAfter,
  retryAfter
]
