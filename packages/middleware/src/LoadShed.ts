/**
 * Refuses requests before any work is done for them, while the process has too much to do.
 *
 * **When to use** At the edge, as the first middleware that costs anything. A process whose event loop is late answers
 * everybody late; it is better to answer some in time and to send the others away.
 *
 * **Details** The thresholds are compared with the last sample of `LoadSignals`; a signal that has no threshold is not
 * looked at, except for `LoadSignals`' own effect, which refuses whenever it says so. A refusal is {@link Overloaded}: 503
 * with `Retry-After`, and the exchange ends as `Shed`. The health routes of `Server` are answered outside the edge, so an
 * orchestrator still hears that the process is alive.
 *
 * **Gotchas** Which signal it was is logged at debug level; the response does not say. Thresholds of memory have to be above
 * what the idle process needs, or nothing is ever answered.
 *
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Admission from "./Admission.ts"
import { requireCount, requireDuration, requireNumber, requireRetryAfter } from "./internal/options.ts"
import { retryAfterMember, shedding, temporaryReducedCapacity } from "./internal/reducedCapacity.ts"
import * as LoadSignals from "./LoadSignals.ts"

/**
 * Settings of {@link make}. A request is refused when any signal is above its threshold.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** How late timers may be on average. @default not looked at */
  readonly maxEventLoopDelay?: Duration.Input
  /** The part of the time that the event loop may be busy, from 0 to 1. @default not looked at */
  readonly maxEventLoopUtilization?: number
  /** Bytes that may be in use on the JavaScript heap. @default not looked at */
  readonly maxHeapUsed?: number
  /** Bytes of memory that the process may have. @default not looked at */
  readonly maxRss?: number
  /** How many requests that went through this value may be in flight, until their response is out. @default any number */
  readonly maxInFlight?: number
  /** When a refused client should try again: `Retry-After`, in whole seconds, rounded up. @default "5 seconds" */
  readonly retryAfter?: Duration.Input
}

/**
 * The process has too much to do: 503.
 *
 * @category errors
 * @since 0.1.0
 */
export class Overloaded extends Problem.TaggedError<Overloaded>()("Overloaded", {
  ...shedding,
  type: temporaryReducedCapacity,
  title: "The server has too much to do"
}, retryAfterMember) {}

/**
 * Refuses requests while a signal is above its threshold.
 *
 * **Details** Throws a `RangeError` when a threshold is out of its range.
 *
 * @example
 * ```ts
 * import { LoadShed } from "@sluice/middleware"
 *
 * const shed = LoadShed.make({ maxEventLoopDelay: "100 millis", maxRss: 1_500_000_000 })
 * console.log(shed.label) // => LoadShed(eventLoopDelay, rss)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<never, Overloaded, HttpServerRequest | LoadSignals.LoadSignals> => {
  const thresholds = thresholdsOf(options)
  const maxInFlight = options.maxInFlight === undefined ? Infinity : requireCount("maxInFlight", options.maxInFlight, 1)
  const retryAfter = requireRetryAfter("retryAfter", options.retryAfter ?? "5 seconds")
  const refuse = (signal: string) =>
    shed.pipe(
      Effect.andThen(Effect.logDebug(`refused a request: ${signal} is above its threshold`)),
      Effect.andThen(Effect.suspend(() => Effect.fail(new Overloaded({ retryAfter }))))
    )
  let inFlight = 0
  const leave = () => {
    inFlight--
  }
  const proceed = Effect.flatMap(Exchange.current, (exchange) => {
    inFlight++
    Exchange.onEnd(exchange, leave)
    return admitted
  })
  const tooMuch = (signals: LoadSignals.Signals): string | undefined =>
    inFlight >= maxInFlight
      ? "inFlight"
      : signals.overloaded
      ? "overloaded"
      : thresholds.find(([signal, max]) => signals[signal] > max)?.[0]
  const names = [...thresholds.map(([signal]) => signal), ...(maxInFlight === Infinity ? [] : ["inFlight"])]
  const enter = Effect.flatMap(LoadSignals.LoadSignals, ({ current }) => {
    const signal = tooMuch(current())
    return signal === undefined ? proceed : refuse(signal)
  })
  return Middleware.around<Overloaded, HttpServerRequest | LoadSignals.LoadSignals>(
    `LoadShed(${names.join(", ")})`,
    (handler) => Effect.andThen(enter, handler),
    { response: "none" }
  )
}

type Threshold = readonly [signal: Exclude<keyof LoadSignals.Signals, "overloaded">, max: number]

const thresholdsOf = (options: Options): ReadonlyArray<Threshold> => {
  const thresholds: Array<Threshold> = []
  const { maxEventLoopDelay, maxEventLoopUtilization, maxHeapUsed, maxRss } = options
  if (maxEventLoopDelay !== undefined) {
    thresholds.push(["eventLoopDelay", requireDuration("maxEventLoopDelay", maxEventLoopDelay)])
  }
  if (maxEventLoopUtilization !== undefined) {
    const max = requireNumber("maxEventLoopUtilization", maxEventLoopUtilization, { max: 1 })
    thresholds.push(["eventLoopUtilization", max])
  }
  if (maxHeapUsed !== undefined) thresholds.push(["heapUsed", requireNumber("maxHeapUsed", maxHeapUsed, { min: 1 })])
  if (maxRss !== undefined) thresholds.push(["rss", requireNumber("maxRss", maxRss, { min: 1 })])
  return thresholds
}

const admitted = Admission.count("load_shed", "admitted")
const shed = Admission.count("load_shed", "shed")
