/**
 * Counts what a piece of work may leave behind: sockets, servers, timers, event listeners, fibers, memory.
 *
 * **When to use** {@link expectNoLeak} around the work, in a test. {@link snapshot} and {@link diff} are for long runs that print what they
 * find.
 *
 * **Gotchas** Resources are those of the whole process, so tests that run at the same time in it count, too. Only fibers
 * that are started by the work, directly or through what it builds, are counted.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { EventEmitter } from "node:events"
import { requireDuration } from "../internal/options.ts"

/**
 * What is counted besides the process's resources.
 *
 * @category models
 * @since 0.1.0
 */
export interface Watched {
  /** Emitters whose listeners are counted, by name. @default the process */
  readonly emitters?: Readonly<Record<string, EventEmitter>>
  /** Counts fibers; see {@link countFibers}. @default none */
  readonly fibers?: FiberCount
}

/**
 * Counts at one moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  /** By name: `TCPSocketWrap`, `TCPServerWrap`, `Timeout`, `process listeners`, `fibers`, … */
  readonly counts: Readonly<Record<string, number>>
  /** Bytes in use after a collection; `undefined` unless Node runs with `--expose-gc`. */
  readonly heap: number | undefined
}

/**
 * What there is more (or less) of than before.
 *
 * @category models
 * @since 0.1.0
 */
export type Difference = Readonly<Record<string, number>>

/**
 * Work left something behind.
 *
 * @category errors
 * @since 0.1.0
 */
export class Leak extends Data.TaggedError("Leak")<{ readonly left: Difference }> {
  override get message(): string {
    return `left behind: ${Object.entries(this.left).map(([name, count]) => `${count} ${name}`).join(", ")}`
  }
}

/**
 * A count of fibers that are running.
 *
 * @category models
 * @since 0.1.0
 */
export interface FiberCount {
  readonly active: () => number
  /** Runs an effect so that its fibers, and those that it starts, are counted. */
  readonly count: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/**
 * Counts fibers through Effect's runtime metrics.
 *
 * @category constructors
 * @since 0.1.0
 */
export const countFibers = (): FiberCount => {
  let active = 0
  const metrics: Metric.FiberRuntimeMetricsService = {
    recordFiberStart: () => {
      active++
    },
    recordFiberEnd: () => {
      active--
    }
  }
  return {
    active: () => active,
    count: (self) => Effect.provideService(self, Metric.FiberRuntimeMetrics, metrics)
  }
}

/**
 * Counts now.
 *
 * @category getters
 * @since 0.1.0
 */
export const snapshot = ({ emitters = { process }, fibers }: Watched = {}): Effect.Effect<Snapshot> =>
  Effect.sync(() => {
    const gc: unknown = Reflect.get(globalThis, "gc")
    if (typeof gc === "function") gc()
    const counts: Record<string, number> = {}
    for (const name of process.getActiveResourcesInfo()) counts[name] = (counts[name] ?? 0) + 1
    for (const [name, emitter] of Object.entries(emitters)) counts[`${name} listeners`] = listenersOf(emitter)
    if (fibers !== undefined) counts["fibers"] = fibers.active()
    return { counts, heap: typeof gc === "function" ? process.memoryUsage().heapUsed : undefined }
  })

const listenersOf = (emitter: EventEmitter): number =>
  emitter.eventNames().reduce((sum, name) => sum + emitter.listenerCount(name), 0)

/**
 * What changed from one snapshot to another; the heap is left out.
 *
 * @example
 * ```ts
 * import { LeakCounter } from "@sluice/core/testing"
 *
 * const before = { counts: { Timeout: 1, TCPSocketWrap: 2 }, heap: undefined }
 * const after = { counts: { Timeout: 3, TCPSocketWrap: 2 }, heap: undefined }
 * console.log(LeakCounter.diff(before, after)) // => { Timeout: 2 }
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const diff = (before: Snapshot, after: Snapshot): Difference => {
  const names = new Set([...Object.keys(before.counts), ...Object.keys(after.counts)])
  const changes = [...names].map((name) => [name, (after.counts[name] ?? 0) - (before.counts[name] ?? 0)] as const)
  return Object.fromEntries(changes.filter(([, change]) => change !== 0))
}

/**
 * Settings of {@link expectNoLeak}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Pick<Watched, "emitters"> {
  /** How long what is closing may take to be gone. @default "2 seconds" */
  readonly within?: Duration.Input
}

/**
 * Runs an effect, then fails with {@link Leak} unless the process is back to where it was. What closes asynchronously is
 * looked at again on every turn of the event loop, on real time.
 *
 * **Gotchas** Whatever is made once and kept on purpose (a connection pool, a cache) counts: run the work once before.
 *
 * @category combinators
 * @since 0.1.0
 */
export const expectNoLeak = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  options: Options = {}
): Effect.Effect<A, E | Leak, R> => {
  const within = requireDuration("within", options.within ?? "2 seconds")
  return Effect.gen(function*() {
    const fibers = countFibers()
    const watched: Watched = { ...options, fibers }
    const before = yield* snapshot(watched)
    const result = yield* fibers.count(self)
    const deadline = performance.now() + within
    for (;;) {
      const left = excess(diff(before, yield* snapshot(watched)))
      if (Object.keys(left).length === 0) return result
      if (performance.now() > deadline) return yield* new Leak({ left })
      yield* nextTurn
    }
  })
}

const excess = (difference: Difference): Difference =>
  Object.fromEntries(Object.entries(difference).filter(([, change]) => change > 0))

const nextTurn = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})
