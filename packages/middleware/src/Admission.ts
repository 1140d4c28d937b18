/**
 * What `RateLimit`, `ConcurrencyLimit`, `LoadShed` and `Maintenance` decided, as a metric.
 *
 * **When to use** Read it through any of Effect's metric exporters; name it in a dashboard or an alert. Nothing has to be
 * switched on.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

/**
 * Who decides.
 *
 * @category models
 * @since 0.1.0
 */
export type Limiter = "rate_limit" | "concurrency_limit" | "load_shed" | "maintenance"

/**
 * What became of a request: it went on (`admitted`), was over a quota (`limited`, 429), was refused for lack of capacity or
 * during maintenance (`shed`, 503), or the store of a rate limit did not answer (`store_error`; what happens then is the
 * limit's `onStoreError`).
 *
 * @category models
 * @since 0.1.0
 */
export type Decision = "admitted" | "limited" | "shed" | "store_error"

/**
 * How many requests met with a decision: the counter `sluice.admission.decisions` with the attributes `limiter` and
 * `decision`.
 *
 * @example
 * ```ts
 * import { Admission } from "@sluice/middleware"
 * import { Effect, Metric } from "effect"
 *
 * const shed = Effect.map(Metric.value(Admission.decisions("load_shed", "shed")), (state) => state.count)
 * console.log(Effect.runSync(shed)) // => 0
 * ```
 *
 * @category metrics
 * @since 0.1.0
 */
export const decisions = (limiter: Limiter, decision: Decision): Metric.Counter<number> =>
  Metric.counter("sluice.admission.decisions", {
    description: "Requests that were admitted or refused, by limiter",
    incremental: true,
    attributes: { limiter, decision }
  })

/**
 * Counts one request.
 *
 * @category metrics
 * @since 0.1.0
 */
export const count = (limiter: Limiter, decision: Decision): Effect.Effect<void> =>
  Metric.update(decisions(limiter, decision), 1)
