/**
 * How many requests are handled at once, and how many more may wait in line.
 *
 * **When to use** In front of what can only do so much at a time: a pool of connections, a renderer that needs memory, a
 * slow upstream. Beyond the limit requests wait for a while; beyond the line they are refused at once, while a client can
 * still go elsewhere.
 *
 * **Details** A request holds its permit until its exchange has ended: until the last byte of its response is out, or its
 * client has left. Who waits longest comes first. A client that leaves while it waits frees its place, and its handler
 * never runs. A refusal is {@link AtCapacity}: 503 with `Retry-After`, and the exchange ends as `Shed`.
 *
 * **Gotchas** A limit belongs to the value that {@link make} returns: routes with the same value share it, each call makes
 * another. Event streams and tunnels hold their permit for as long as they are open. A slow reader holds one, too: see to
 * it that responses have a clock.
 *
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Admission from "./Admission.ts"
import { requireCount, requireDuration, requireRetryAfter } from "./internal/options.ts"
import * as Permits from "./internal/permits.ts"
import { retryAfterMember, shedding, temporaryReducedCapacity } from "./internal/reducedCapacity.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** How many requests are handled at once: a whole number of at least 1. */
  readonly limit: number
  /** How many more may wait. @default 0 */
  readonly queue?: number
  /** How long one may wait; an infinite duration is for as long as its client does. @default "5 seconds" */
  readonly queueTimeout?: Duration.Input
  /** When a refused client should try again: `Retry-After`, in whole seconds, rounded up. @default "1 second" */
  readonly retryAfter?: Duration.Input
}

/**
 * As many requests as may be are being handled, and the line is full or did not move in time: 503.
 *
 * @category errors
 * @since 0.1.0
 */
export class AtCapacity extends Problem.TaggedError<AtCapacity>()("AtCapacity", {
  ...shedding,
  type: temporaryReducedCapacity,
  title: "Too many requests are being handled"
}, retryAfterMember) {}

/**
 * Lets `limit` requests through at once and `queue` more wait.
 *
 * **Details** Throws a `RangeError` when a number is not whole or too small, or a duration is not positive.
 *
 * @example
 * ```ts
 * import { ConcurrencyLimit } from "@sluice/middleware"
 *
 * const reports = ConcurrencyLimit.make({ limit: 4, queue: 20, queueTimeout: "2 seconds" })
 * console.log(reports.label) // => ConcurrencyLimit(4 + 20)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Middleware.Middleware<never, AtCapacity, HttpServerRequest> => {
  const limit = requireCount("limit", options.limit, 1)
  const queue = requireCount("queue", options.queue ?? 0, 0)
  const queueTimeout = requireDuration("queueTimeout", options.queueTimeout ?? "5 seconds")
  const retryAfter = requireRetryAfter("retryAfter", options.retryAfter ?? "1 second")
  const permits = Permits.make(limit, queue, queueTimeout)
  const refuse = Effect.andThen(shed, Effect.suspend(() => Effect.fail(new AtCapacity({ retryAfter }))))
  const enter = Effect.flatMap(
    Effect.flatMap(Exchange.current, permits.take),
    (taken) => taken ? admitted : refuse
  )
  return Middleware.around<AtCapacity, HttpServerRequest>(
    `ConcurrencyLimit(${limit}${queue === 0 ? "" : ` + ${queue}`})`,
    (handler) => Effect.andThen(enter, handler),
    { response: "none" }
  )
}

const admitted = Admission.count("concurrency_limit", "admitted")
const shed = Admission.count("concurrency_limit", "shed")
