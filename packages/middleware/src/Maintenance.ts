/**
 * Refuses requests while the service is under maintenance, except for those who do the maintenance.
 *
 * **When to use** At the edge, for work that must not be disturbed: a migration, a restore. The switch is any effect: a `Ref`
 * that an administrative route flips, a row in a database, a feature flag.
 *
 * **Details** A refusal is {@link UnderMaintenance}: 503 with `Retry-After`, and the exchange ends as `Shed`, so that
 * nobody is called. The health routes of `Server` are answered outside the edge and stay as they are.
 *
 * **Gotchas** The switch is asked with every request. What is expensive to ask has to be remembered by the effect itself
 * (`Effect.cachedWithTTL`).
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.6.4
 * @since 0.1.0
 */
import * as ClientAddress from "@sluice/core/ClientAddress"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Admission from "./Admission.ts"
import { requireRetryAfter } from "./internal/options.ts"
import { retryAfterMember, shedding } from "./internal/reducedCapacity.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<X = never, R = never> {
  /** Whether the service is under maintenance now. */
  readonly active: Effect.Effect<boolean, X, R>
  /** When a refused client should try again: `Retry-After`, in whole seconds, rounded up. @default "1 minute" */
  readonly retryAfter?: Duration.Input
  /** Which requests go through all the same. @default none */
  readonly allow?: (request: HttpServerRequest) => boolean
  /**
   * Whose requests go through all the same, by the client's address as the application's `TrustedPeers` tell it. A client
   * whose address can't be told is refused. @default nobody's
   */
  readonly allowFrom?: ReadonlyArray<TrustedPeers.Network>
}

/**
 * The service is under maintenance: 503.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnderMaintenance extends Problem.TaggedError<UnderMaintenance>()("UnderMaintenance", {
  ...shedding,
  title: "The service is under maintenance"
}, retryAfterMember) {}

/**
 * Refuses requests while `active` says so.
 *
 * **Details** Throws a `RangeError` when `retryAfter` is not a positive, finite duration or `allowFrom` has an entry that is
 * no network.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Maintenance } from "@sluice/middleware"
 * import { Effect, Ref } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const program = Effect.gen(function*() {
 *   const down = yield* Ref.make(false)
 *   const maintenance = Maintenance.make({ active: Ref.get(down), allowFrom: ["loopback", "10.0.0.0/8"] })
 *   const Hello = Route.get("/", maintenance, Effect.succeed(HttpServerResponse.text("hello")))
 *   const fetch = yield* Handler.toWebHandler(Hello)
 *   const status = Effect.promise(async () => (await fetch(new Request("http://localhost/"))).status)
 *   const before = yield* status
 *   yield* Ref.set(down, true)
 *   return [before, yield* status]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => [200, 503]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <X = never, R = never>(
  options: Options<X, R>
): Middleware.Middleware<never, X | UnderMaintenance, R | HttpServerRequest> => {
  const retryAfter = requireRetryAfter("retryAfter", options.retryAfter ?? "1 minute")
  const allowed = Effect.flatMap(
    HttpServerRequest,
    (request) => options.allow?.(request) === true ? Effect.succeed(true) : allowedFrom
  )
  const allowedFrom = addressAllowed(options.allowFrom ?? [])
  const refuse = Effect.andThen(shed, Effect.suspend(() => Effect.fail(new UnderMaintenance({ retryAfter }))))
  const through = Effect.flatMap(options.active, (active) => active ? allowed : Effect.succeed(true))
  const enter = Effect.flatMap(through, (through) => through ? admitted : refuse)
  return Middleware.around<X | UnderMaintenance, R | HttpServerRequest>(
    "Maintenance",
    (handler) => Effect.andThen(enter, handler),
    { response: "none" }
  )
}

const addressAllowed = (
  networks: ReadonlyArray<TrustedPeers.Network>
): Effect.Effect<boolean, never, HttpServerRequest> => {
  if (networks.length === 0) return Effect.succeed(false)
  const { contains } = TrustedPeers.networks(networks)
  return Effect.match(ClientAddress.fromRequest, {
    onFailure: () => false,
    onSuccess: ({ address }) => address !== undefined && contains(address)
  })
}

const admitted = Admission.count("maintenance", "admitted")
const shed = Admission.count("maintenance", "shed")
