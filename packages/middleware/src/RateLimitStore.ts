/**
 * Where rate limits keep their counts.
 *
 * **When to use** {@link layerMemory} for one process, {@link layerRedis} where several share their limits. `RateLimit`
 * asks the store once a request.
 *
 * **Details** A request is charged to all its policies at once: when one of them has no room, none is charged. Two
 * algorithms, each with its promise:
 *
 * - `fixed-window`: a key's window begins with its first request and lasts for `window`; in it, no more than the quota is
 *   admitted. Around the end of a window, up to twice the quota may come within one window's length.
 * - `token-bucket`: a bucket holds the quota and is refilled evenly, so that it is full after `window`. In any time `t`
 *   no more than the quota and `t / window` of it are admitted. After a pause there is room for a burst; after the burst
 *   requests are let through one by one, not all at the end of a window.
 *
 * **Gotchas** Effect has a `RateLimiterStore` of its own. Its memory grows with every key that was ever seen, its windows
 * are extended by each token, and it knows one policy a call, which is why there is another one here.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redis from "effect/persistence/Redis"
import * as MemoryUsages from "./internal/memoryUsages.ts"
import { requireCount, requireDuration } from "./internal/options.ts"
import { script } from "./internal/rateLimitScript.ts"

/**
 * How a quota comes back.
 *
 * @category models
 * @since 0.1.0
 */
export type Algorithm = "fixed-window" | "token-bucket"

/**
 * What a request costs under one policy.
 *
 * @category models
 * @since 0.1.0
 */
export interface Charge {
  /** Whose count it is, and by which policy. */
  readonly key: string
  readonly algorithm: Algorithm
  /** The units that there are in a window. */
  readonly quota: number
  /** Milliseconds. */
  readonly window: number
  /** Units to take; with 0 nothing is taken. */
  readonly cost: number
}

/**
 * What is left under one policy.
 *
 * @category models
 * @since 0.1.0
 */
export interface Balance {
  /** Whether this policy had room. The request was charged when all of them had. */
  readonly admitted: boolean
  /** Whole units that are left. */
  readonly remaining: number
  /** Milliseconds until there is more: until the window ends, or until the bucket has the next unit. */
  readonly resetAfter: number
  /** Milliseconds until there is room for the request; 0 when there is. */
  readonly retryAfter: number
}

/**
 * The store did not answer.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimitStoreError extends Data.TaggedError("RateLimitStoreError")<{ readonly cause: unknown }> {
  override get message(): string {
    return "the store of the rate limits did not answer"
  }
}

/**
 * Takes from the quotas.
 *
 * @category services
 * @since 0.1.0
 */
export class RateLimitStore extends Context.Service<RateLimitStore, {
  /** Takes all charges, or none when one has no room, and returns their balances in order. */
  readonly consume: (charges: ReadonlyArray<Charge>) => Effect.Effect<ReadonlyArray<Balance>, RateLimitStoreError>
}>()("@sluice/middleware/RateLimitStore") {}

/**
 * Settings of {@link layerMemory}.
 *
 * @category models
 * @since 0.1.0
 */
export interface MemoryOptions {
  /**
   * How many keys are kept, at least 2; one takes some 200 bytes. When there are more, those that have not been asked for
   * while half of `maxEntries` others were are forgotten, so that their clients start anew, and {@link evictions} counts them.
   * @default 100_000
   */
  readonly maxEntries?: number
  /** How often expired keys are looked for. @default "1 minute" */
  readonly sweepEvery?: Duration.Input
}

/**
 * How many keys a full memory store has forgotten before their time: the counter
 * `sluice.rate_limit.evictions`. When it grows, `maxEntries` is too small, or somebody asks under ever new keys.
 *
 * @category metrics
 * @since 0.1.0
 */
export const evictions: Metric.Counter<number> = Metric.counter("sluice.rate_limit.evictions", {
  description: "Keys that a full memory store of rate limits forgot before their time",
  incremental: true
})

/**
 * Counts in this process: bounded, swept, on Effect's clock.
 *
 * **Details** Throws a `RangeError` when `maxEntries` is not a whole number of at least 2, or `sweepEvery` is not positive.
 *
 * @example
 * ```ts
 * import { RateLimitStore } from "@sluice/middleware"
 * import { Effect } from "effect"
 *
 * const charge = { key: "ann", algorithm: "token-bucket", quota: 2, window: 60_000, cost: 1 } as const
 * const program = Effect.gen(function*() {
 *   const store = yield* RateLimitStore.RateLimitStore
 *   const admitted = Effect.map(store.consume([charge]), ([balance]) => balance.admitted)
 *   return yield* Effect.all([admitted, admitted, admitted])
 * })
 * console.log(await Effect.runPromise(Effect.provide(program, RateLimitStore.layerMemory()))) // => [true, true, false]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (options: MemoryOptions = {}): Layer.Layer<RateLimitStore> => {
  const maxEntries = requireCount("maxEntries", options.maxEntries ?? 100_000, 2)
  const sweepEvery = requireDuration("sweepEvery", options.sweepEvery ?? "1 minute")
  return Layer.effect(RateLimitStore)(Effect.gen(function*() {
    const services = yield* Effect.context<never>()
    const usages = MemoryUsages.make(maxEntries, (count) => evictions.updateUnsafe(count, services))
    yield* Effect.forkScoped(Effect.forever(Effect.delay(sweep(usages), sweepEvery)))
    return {
      consume: (charges) => Effect.clockWith((clock) => Effect.succeed(usages.consume(charges, monotonicMillis(clock))))
    }
  }))
}

/** So that a clock that is set back or forward changes no limit. */
const monotonicMillis = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** How many keys are looked at before others have their turn. */
const sweepChunk = 10_000

const sweep = (usages: MemoryUsages.MemoryUsages): Effect.Effect<void> =>
  Effect.suspend(() => {
    const forget = usages.sweeper()
    const next: Effect.Effect<void> = Effect.clockWith((clock) =>
      forget(monotonicMillis(clock), sweepChunk) ? Effect.andThen(Effect.yieldNow, next) : Effect.void
    )
    return next
  })

/**
 * Settings of {@link layerRedis}.
 *
 * @category models
 * @since 0.1.0
 */
export interface RedisOptions {
  /** What all keys begin with. @default "sluice:rate-limit:" */
  readonly prefix?: string
  /** How long an answer may take before it counts as none. @default "250 millis" */
  readonly timeout?: Duration.Input
}

/**
 * Counts in Redis, for all processes that use the same one.
 *
 * **Details** One script takes a request's charges atomically, by Redis's own clock. Keys expire by themselves. When Redis
 * does not answer in time, the store fails; until it answers again, one request at a time asks it and the others fail at
 * once, so that a Redis that hangs neither holds requests up nor gathers commands. Throws a `RangeError` unless `timeout`
 * is a positive duration.
 *
 * **Gotchas** Give the client of `NodeRedis` the option `disableOfflineQueue: true`: by default it keeps commands for a
 * Redis that is gone, and does not close, which is to say that the program does not end, while it has any. The keys of one
 * request may be in different slots of a Redis Cluster, which refuses that: use a single Redis, with or without replicas.
 *
 * @example
 * ```ts
 * import * as NodeRedis from "@effect/platform-node/NodeRedis"
 * import { RateLimitStore } from "@sluice/middleware"
 * import { Layer } from "effect"
 *
 * const Live = RateLimitStore.layerRedis({ prefix: "shop:limits:" }).pipe(
 *   Layer.provide(NodeRedis.layer({ url: "redis://127.0.0.1:6379", disableOfflineQueue: true }))
 * )
 * console.log(Layer.isLayer(Live)) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerRedis = (options: RedisOptions = {}): Layer.Layer<RateLimitStore, never, Redis.Redis> => {
  const prefix = options.prefix ?? "sluice:rate-limit:"
  const timeout = requireDuration("timeout", options.timeout ?? "250 millis")
  return Layer.effect(RateLimitStore)(Effect.map(Redis.Redis, (redis) => {
    const run = redis.eval(script)
    const guarded = oneAtATimeWhenDown(timeout)
    return { consume: (charges) => guarded(Effect.map(run(prefix, undefined, charges), balances)) }
  }))
}

const balances = (answer: ReadonlyArray<string>): ReadonlyArray<Balance> =>
  Array.from({ length: answer.length / 4 }, (_, i) => ({
    admitted: answer[i * 4] === "1",
    remaining: Number(answer[i * 4 + 1]),
    resetAfter: Number(answer[i * 4 + 2]),
    retryAfter: Number(answer[i * 4 + 3])
  }))

/** Gives an effect its time; while the last one did not make it, only one is tried and the others fail at once. */
const oneAtATimeWhenDown = (timeout: number) => {
  let down = false
  let trying = false
  const unanswered = Effect.suspend(() =>
    Effect.fail(new RateLimitStoreError({ cause: new Error("no answer in time") }))
  )
  const attempt = <A>(ask: Effect.Effect<A, Redis.RedisError>): Effect.Effect<A, RateLimitStoreError> =>
    ask.pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => {
          down = true
          return unanswered
        }
      }),
      Effect.catchTag("RedisError", (error) => Effect.fail(new RateLimitStoreError({ cause: error.cause }))),
      Effect.tap(() => {
        down = false
        return Effect.void
      })
    )
  return <A>(ask: Effect.Effect<A, Redis.RedisError>): Effect.Effect<A, RateLimitStoreError> =>
    Effect.suspend(() => {
      if (!down) return attempt(ask)
      if (trying) return unanswered
      trying = true
      return Effect.ensuring(
        attempt(ask),
        Effect.sync(() => {
          trying = false
        })
      )
    })
}
