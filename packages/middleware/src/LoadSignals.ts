/**
 * How busy the process is: what `LoadShed` goes by.
 *
 * **When to use** Provide {@link layer} once, under the server. A test provides {@link layerTest}, or a service of its own.
 *
 * **Details** One timer per Layer takes a sample every `every`; nothing is measured when a request comes. The timer does
 * not keep the process alive and ends with the Layer's scope.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { type IntervalHistogram, monitorEventLoopDelay, performance } from "node:perf_hooks"
import { requireDuration } from "./internal/options.ts"

/**
 * One sample.
 *
 * @category models
 * @since 0.1.0
 */
export interface Signals {
  /** How late timers were on average since the sample before, in milliseconds. */
  readonly eventLoopDelay: number
  /** The part of the time since the sample before in which the event loop was busy, from 0 to 1. */
  readonly eventLoopUtilization: number
  /** Bytes in use on the JavaScript heap. */
  readonly heapUsed: number
  /** Bytes of memory that the process has: its resident set size. */
  readonly rss: number
  /** What the effect of one's own said last. */
  readonly overloaded: boolean
}

/**
 * Settings of {@link layer}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<R = never> {
  /** Between two samples. @default "1 second" */
  readonly every?: Duration.Input
  /**
   * A signal of one's own, such as the length of a queue: `true` means that requests should be refused. It runs with each
   * sample, not before the last run is done; one that fails, dies or is interrupted counts as `true`. @default never
   */
  readonly overloaded?: Effect.Effect<boolean, unknown, R>
}

/**
 * The last sample.
 *
 * @category services
 * @since 0.1.0
 */
export class LoadSignals extends Context.Service<LoadSignals, {
  readonly current: () => Signals
}>()("@sluice/middleware/LoadSignals") {}

/** What is true of an idle process. */
const idle: Signals = { eventLoopDelay: 0, eventLoopUtilization: 0, heapUsed: 0, rss: 0, overloaded: false }

/** How precisely the delay of the event loop is measured, in milliseconds: Node wakes up that often to do so. */
const resolution = 10

/**
 * Measures this process.
 *
 * **Details** Throws a `RangeError` unless `every` is a positive, finite duration.
 *
 * @example
 * ```ts
 * import { LoadSignals } from "@sluice/middleware"
 * import { Effect } from "effect"
 *
 * const program = Effect.map(LoadSignals.LoadSignals, (signals) => signals.current().rss > 0)
 * console.log(await Effect.runPromise(Effect.provide(program, LoadSignals.layer()))) // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <R = never>(options: Options<R> = {}): Layer.Layer<LoadSignals, never, R> => {
  const every = requireDuration("every", options.every ?? "1 second")
  if (every > 2 ** 31 - 1) throw new RangeError(`every must be less than 25 days, got ${every} ms`)
  return Layer.effect(LoadSignals)(Effect.gen(function*() {
    const delay = yield* Effect.acquireRelease(
      Effect.sync(startDelayMonitor),
      (monitor) => Effect.sync(() => monitor.disable())
    )
    const own = yield* ownSignal(options.overloaded)
    const sample = sampler(delay, every, own.last)
    let current = sample()
    own.run()
    const timer = setInterval(() => {
      current = sample()
      own.run()
    }, every)
    timer.unref()
    yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(timer)))
    return { current: () => current }
  }))
}

/**
 * Signals that a test sets: what is left out is that of an idle process.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerTest = (current: () => Partial<Signals>): Layer.Layer<LoadSignals> =>
  Layer.succeed(LoadSignals, { current: () => ({ ...idle, ...current() }) })

const startDelayMonitor = (): IntervalHistogram => {
  const monitor = monitorEventLoopDelay({ resolution })
  monitor.enable()
  return monitor
}

const sampler = (delay: IntervalHistogram, every: number, overloaded: () => boolean): () => Signals => {
  let utilizationBefore = performance.eventLoopUtilization()
  let before = performance.now()
  return () => {
    const now = performance.now()
    const utilizationNow = performance.eventLoopUtilization()
    // The histogram counts from one wake-up to the next, and is empty when one turn took longer than a whole period.
    const late = delay.count === 0 ? now - before - every : delay.mean / 1e6 - resolution
    const { utilization } = performance.eventLoopUtilization(utilizationNow, utilizationBefore)
    delay.reset()
    before = now
    utilizationBefore = utilizationNow
    const { heapUsed, rss } = process.memoryUsage()
    return {
      eventLoopDelay: Math.max(0, late),
      eventLoopUtilization: utilization,
      heapUsed,
      rss,
      overloaded: overloaded()
    }
  }
}

const never = { run: () => {}, last: () => false }

/** Runs the effect in the background, one run at a time, and remembers what it said. */
const ownSignal = Effect.fnUntraced(function*<R>(overloaded: Effect.Effect<boolean, unknown, R> | undefined) {
  if (overloaded === undefined) return never
  const services = yield* Effect.context<R>()
  const scope = yield* Effect.scope
  let last = false
  let running = false
  const fork = Effect.runForkWith(services)
  const run = () => {
    if (running) return
    running = true
    fork(Effect.forkIn(
      Effect.onExit(overloaded, (exit) =>
        Effect.sync(() => {
          running = false
          last = Exit.isSuccess(exit) ? exit.value : true
        })),
      scope
    ))
  }
  return { run, last: () => last }
})
