import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Report from "../Report.ts"
import type { Settings } from "./reporterPolicy.ts"
import * as TokenBucket from "./tokenBucket.ts"

/**
 * Sends a batch somewhere. It may fail, throw, die or hang: nobody but the log hears of it.
 *
 * @category models
 * @since 0.1.0
 */
export type Sink<R = never> = (batch: ReadonlyArray<Report.Report>) => Effect.Effect<void, unknown, R>

/**
 * Why a report did not arrive: the queue was full, the rate limit was reached, `scrub` threw, the sink failed or took too
 * long, the deadline of the last flush was reached, or the reporter had been closed.
 *
 * @category models
 * @since 0.1.0
 */
export type DropReason = "capacity" | "rate" | "scrub" | "sink" | "deadline" | "closed"

const total = Metric.counter("sluice_reports_dropped_total", {
  description: "Reports that did not reach their sink",
  incremental: true
})

/**
 * How many reports were dropped for a reason: the counter `sluice_reports_dropped_total` with the attribute `reason`.
 *
 * @example
 * ```ts
 * import { Reporter } from "@sluice/core"
 * import { Effect, Metric } from "effect"
 *
 * const full = Effect.map(Metric.value(Reporter.dropped("capacity")), (state) => state.count)
 * console.log(Effect.runSync(full)) // => 0
 * ```
 *
 * @category metrics
 * @since 0.1.0
 */
export const dropped = (reason: DropReason): Metric.Counter<number> => counters[reason]

const counter = (reason: DropReason): Metric.Counter<number> => Metric.withAttributes(total, { reason })

const counters: { readonly [Reason in DropReason]: Metric.Counter<number> } = {
  capacity: counter("capacity"),
  rate: counter("rate"),
  scrub: counter("scrub"),
  sink: counter("sink"),
  deadline: counter("deadline"),
  closed: counter("closed")
}

/** Between two lines about a failing sink, in milliseconds. */
const logInterval = 60_000

interface Entry {
  report: Report.Report
  readonly due: number
}

export interface ReporterQueue {
  readonly report: (report: Report.Report) => Effect.Effect<void>
  readonly flush: Effect.Effect<void>
}

/**
 * A bounded queue with one fiber that feeds the sink.
 *
 * Entries leave in the order in which they came; all are held for the same window, so the first is always the first that
 * is due. `accepted` and `settled` count entries in and out: whoever flushes waits until `settled` has caught up.
 */
export const make = (sink: Sink, settings: Settings): Effect.Effect<ReporterQueue, never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context()
    const clock = yield* Clock.Clock
    const wake = Latch.makeUnsafe(false)
    const bucket = TokenBucket.make(settings.rateLimit, clock)
    const waiting: Array<Entry> = []
    const held = new Map<string, Entry>()
    let flushers: Array<{ readonly upTo: number; readonly resume: () => void }> = []
    let accepted = 0
    let settled = 0
    let releasedUpTo = 0
    let closed = false
    let loggedAt = -Infinity
    let failures = 0

    const drop = (reason: DropReason, count: number): void => {
      if (count > 0) dropped(reason).updateUnsafe(count, context)
    }

    /** Whether something new waits for the pump. */
    const offer = (report: Report.Report, random: Random.Random): boolean => {
      if (closed) return refuse("closed")
      const same = held.get(report.fingerprint)
      if (same !== undefined) {
        same.report = { ...same.report, count: same.report.count + report.count }
        return false
      }
      if (settings.sampleRate < 1 && random.nextDoubleUnsafe() >= settings.sampleRate) return false
      if (waiting.length >= settings.capacity) return refuse("capacity")
      if (!bucket.take()) return refuse("rate")
      const scrubbed = settings.scrub(Report.redact(report))
      if (scrubbed === undefined) return false
      enqueue(scrubbed, report.fingerprint)
      return true
    }

    const refuse = (reason: DropReason): false => {
      drop(reason, 1)
      return false
    }

    const enqueue = (report: Report.Report, fingerprint: string): void => {
      const entry: Entry = { report, due: clock.currentTimeMillisUnsafe() + settings.dedupeWindow }
      waiting.push(entry)
      accepted++
      if (settings.dedupeWindow > 0) held.set(fingerprint, entry)
    }

    const openWake = (): boolean => wake.openUnsafe()

    const report = (report: Report.Report): Effect.Effect<void> =>
      Effect.withFiber((fiber) => {
        try {
          const isNew = offer(report, fiber.getRef(Random.Random))
          if (isNew) fiber.currentDispatcher.scheduleTask(openWake, 0)
        } catch {
          drop("scrub", 1)
        }
        return Effect.void
      })

    const take = (): ReadonlyArray<Report.Report> => {
      const now = clock.currentTimeMillisUnsafe()
      const gone = accepted - waiting.length
      let size = 0
      while (
        size < waiting.length && size < settings.batchSize && (gone + size < releasedUpTo || waiting[size].due <= now)
      ) size++
      const batch = waiting.splice(0, size)
      for (const [fingerprint, entry] of held) {
        if (!batch.includes(entry)) break
        held.delete(fingerprint)
      }
      return batch.map((entry) => entry.report)
    }

    const settle = (count: number): void => {
      settled += count
      const ready = flushers.filter((flusher) => flusher.upTo <= settled)
      flushers = flushers.filter((flusher) => flusher.upTo > settled)
      for (const flusher of ready) flusher.resume()
    }

    const logFailure = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
      Effect.suspend(() => {
        failures++
        const now = clock.currentTimeMillisUnsafe()
        if (now - loggedAt < logInterval) return Effect.void
        const annotations = { "sluice.reporter.failures": failures }
        loggedAt = now
        failures = 0
        return Effect.logWarning("The sink of a reporter failed", cause).pipe(Effect.annotateLogs(annotations))
      }).pipe(Effect.catchCause(() => Effect.void))

    /** The sink runs on a fiber that nobody joins, so not even one that can't be interrupted holds up the queue. */
    const send = (batch: ReadonlyArray<Report.Report>): Effect.Effect<void> =>
      Effect.gen(function*() {
        const sending = yield* Effect.forkDetach(Effect.suspend(() => sink(batch)))
        const exit = yield* Fiber.await(sending).pipe(
          Effect.timeoutOption(settings.sinkTimeout),
          Effect.onInterrupt(() => Effect.sync(() => sending.interruptUnsafe()))
        )
        if (Option.isSome(exit) && exit.value._tag === "Success") return
        sending.interruptUnsafe()
        drop("sink", batch.length)
        yield* logFailure(
          Option.isSome(exit) && exit.value._tag === "Failure" ? exit.value.cause : Cause.fail(new Cause.TimeoutError())
        )
      })

    const untilNext: Effect.Effect<unknown> = Effect.suspend(() => {
      if (waiting.length === 0) return wake.await
      return Effect.timeoutOption(wake.await, Math.max(0, waiting[0].due - clock.currentTimeMillisUnsafe()))
    })

    /** Woken by the scheduler, never by the fiber that reports: the sink does not run in the turn of a request. */
    const pump: Effect.Effect<never> = Effect.forever(Effect.gen(function*() {
      wake.closeUnsafe()
      const batch = take()
      if (batch.length === 0) {
        return yield* untilNext
      }
      yield* send(batch)
      settle(batch.length)
    }))

    const flush: Effect.Effect<void> = Effect.suspend(() => {
      if (settled >= accepted) return Effect.void
      releasedUpTo = accepted
      const upTo = accepted
      return Effect.timeoutOption(
        Effect.callback<void>((resume) => {
          if (settled >= upTo) return resume(Effect.void)
          flushers.push({ upTo, resume: () => resume(Effect.void) })
          wake.openUnsafe()
        }),
        settings.flushTimeout
      )
    })

    const fiber = yield* Effect.forkDetach(pump)
    yield* Effect.addFinalizer(() => {
      closed = true
      return Effect.andThen(
        flush,
        Effect.sync(() => {
          fiber.interruptUnsafe()
          drop("deadline", accepted - settled)
        })
      )
    })
    return { report, flush }
  })
