/**
 * Stops asking a handler that keeps failing: after some failures requests are refused at once, until a single one of them
 * finds out that it works again.
 *
 * **When to use** Around routes whose work depends on something that can be down: a database, an upstream. It spares the clients
 * the wait, and what is down the load.
 *
 * **Details** It is Effect's `CircuitBreaker` (`effect/persistence`): when it opens and for how long is decided where that is
 * provided, and so is where its state is kept, `layerStoreMemory` for one process or `layerStoreRedis` for several. Each route has a
 * circuit of its own unless `key` says otherwise. A request that is refused fails with {@link CircuitOpen}: 503, with
 * `Retry-After` in the seconds until the circuit is tried again.
 *
 * A response with a status of 500 or more is a failure, as are defects and errors, unless their `status` is below 500. A client
 * that leaves says nothing about the handler.
 *
 * **Gotchas** With a store that is down, requests go through unrecorded, or with `onStoreError: "fail"` of Effect's layer are
 * refused with {@link CircuitStoreUnavailable}. The memory store forgets a key that has not been used for an hour, so a `key` of
 * your own must not be one that clients can make up. A proxied response counts by its head.
 *
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Breaker from "effect/persistence/CircuitBreaker"
import { retryAfterMember, shedding } from "./internal/reducedCapacity.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Which circuit a request belongs to. @default the template of its route, such as `/orders/:id`; at the edge one for all */
  readonly key?: (exchange: Exchange.Exchange) => string
  /** Whether a response counts as a failure. @default its status is 500 or more */
  readonly isFailure?: (response: HttpServerResponse) => boolean
}

/**
 * The circuit is open: 503, and the exchange ends as `Shed`.
 *
 * @category errors
 * @since 0.1.0
 */
export class CircuitOpen extends Problem.TaggedError<CircuitOpen>()("CircuitOpen", {
  ...shedding,
  title: "The service is recovering"
}, retryAfterMember) {}

/**
 * Nobody knows whether the circuit is open, and `onStoreError` is `"fail"`: 503.
 *
 * @category errors
 * @since 0.1.0
 */
export class CircuitStoreUnavailable extends Problem.Opaque<{ readonly cause: unknown }>()("CircuitStoreUnavailable", {
  status: 503
}) {}

/**
 * Puts a circuit breaker around a handler.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { CircuitBreaker } from "@sluice/middleware"
 * import { Effect, Layer } from "effect"
 * import { HttpServerResponse } from "effect/http"
 * import { CircuitBreaker as Breaker } from "effect/persistence"
 *
 * const Down = Route.get("/", CircuitBreaker.make(), Effect.succeed(HttpServerResponse.empty({ status: 500 })))
 * const Circuits = Breaker.layer({ tripPolicy: Breaker.consecutive(2), openDuration: "30 seconds" }).pipe(
 *   Layer.provide(Breaker.layerStoreMemory())
 * )
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Down)
 *   const ask = Effect.promise(async () => (await fetch(new Request("http://localhost/"))).status)
 *   return [yield* ask, yield* ask, yield* ask].join()
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(Circuits)))) // => 500,500,503
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<
  never,
  CircuitOpen | CircuitStoreUnavailable,
  Breaker.CircuitBreaker | HttpServerRequest
> => {
  const key = options.key ?? ((exchange) => exchange.route ?? "")
  const isFailure = options.isFailure ?? (({ status }) => status >= 500)
  return Middleware.around<CircuitOpen | CircuitStoreUnavailable, Breaker.CircuitBreaker | HttpServerRequest>(
    "CircuitBreaker",
    (handler) => Effect.flatMap(Exchange.current, (exchange) => guarded(handler, key(exchange), isFailure)),
    { response: "none" }
  )
}

const guarded = <E, R>(
  handler: Handler<E, R>,
  key: string,
  isFailure: (response: HttpServerResponse) => boolean
): Handler<E | CircuitOpen | CircuitStoreUnavailable, R | Breaker.CircuitBreaker> =>
  Effect.flatMap(Breaker.CircuitBreaker, (breaker) => {
    let reached = false
    const marked = Effect.suspend(() => {
      reached = true
      return handler
    })
    const executed = breaker.execute(marked, { key, classify: (exit) => classify(exit, isFailure) })
    // A handler may have a breaker of its own, whose refusal is the handler's. Sound: ours is the only other one.
    return Effect.catchIf(
      executed,
      (error): error is Breaker.CircuitBreakerError => !reached && error instanceof Breaker.CircuitBreakerError,
      (error) => Effect.fail(refusal(error))
    ) as Handler<E | CircuitOpen | CircuitStoreUnavailable, R>
  })

const classify = <E>(
  exit: Exit.Exit<HttpServerResponse, E>,
  isFailure: (response: HttpServerResponse) => boolean
): Breaker.Outcome => {
  if (Exit.isSuccess(exit)) return isFailure(exit.value) ? Breaker.failure() : Breaker.success
  if (Cause.hasInterruptsOnly(exit.cause)) return Breaker.ignored
  return isClients(Cause.squash(exit.cause)) ? Breaker.success : Breaker.failure()
}

/** An error that is rendered below 500 is an answer like others. */
const isClients = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "status" in error && typeof error.status === "number" &&
  error.status < 500

const refusal = ({ reason }: Breaker.CircuitBreakerError): CircuitOpen | CircuitStoreUnavailable => {
  if (reason._tag === "CircuitBreakerStoreError") return new CircuitStoreUnavailable({ cause: reason })
  const seconds = reason._tag === "CircuitOpen" ? Math.ceil(Duration.toSeconds(reason.retryAfter)) : 1
  return new CircuitOpen({ retryAfter: Math.max(1, seconds) })
}
