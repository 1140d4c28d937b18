/**
 * How much of something a client may ask for in a time.
 *
 * **When to use** Against clients that ask too much, by mistake or on purpose: at the edge by address, on routes by user, API
 * key or tenant. Provide a `RateLimitStore`: in memory for one process, in Redis for several.
 *
 * **Details** Every response says in `RateLimit-Policy` and `RateLimit` which policies there are and what is left of them;
 * one that is refused is {@link RateLimited}: 429, a problem that names the policies, and `Retry-After`. Of several
 * policies all must have room; a request that is refused is charged to none. A limit that stands further in adds its
 * policies to the fields of those around it.
 *
 * By default a client is its address: what the application's `TrustedPeers` make of it, with IPv6 by its /64 network, since
 * one subscriber has at least that many addresses. A forwarding field that can't be read is refused (400), never guessed at.
 * A user's key is an effect that reads a per-request service; the compiler sees to it that it is provided above.
 *
 * **Gotchas** Behind a proxy that is not in `TrustedPeers` all clients are that proxy. A store that is down lets requests
 * through, unless `onStoreError` is `"deny"`; choose that where the limit is a lock (logins). Limits with the same name,
 * quota, window and algorithm share their counts in a store: give them different names when that is not meant.
 *
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import type { InvalidForwarded } from "@sluice/core/Forwarded"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import type { HeadEdit } from "@sluice/core/ResponseHead"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import * as Admission from "./Admission.ts"
import { addressKey } from "./internal/addressKey.ts"
import { requireCount, requireDuration, requireOneOf } from "./internal/options.ts"
import { provided } from "./internal/provided.ts"
import * as fields from "./internal/rateLimitFields.ts"
import { quotaExceeded, retryAfterField, retryAfterMember } from "./internal/reducedCapacity.ts"
import { clientUnsafe } from "./internal/requestedHost.ts"
import { settled } from "./internal/settled.ts"
import * as RateLimitStore from "./RateLimitStore.ts"

/**
 * How much there is in a time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy {
  /** What the fields and the problem call it; printable ASCII. @default "default" */
  readonly name?: string
  /** How many units there are in a window: a whole number of at least 1. */
  readonly limit: number
  /** A whole number of seconds. */
  readonly window: Duration.Input
  /** How units come back; see `RateLimitStore`. @default "fixed-window" */
  readonly algorithm?: RateLimitStore.Algorithm
  /** What is counted, as the parameter `qu` says it, such as `"content-bytes"`. @default requests, and no parameter */
  readonly unit?: string
}

/**
 * Settings of {@link make}, besides the policy.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settings<X = InvalidForwarded, K = never, C = never> {
  /** Whose quota it is. @default the client's address: {@link clientAddress} */
  readonly key?: Effect.Effect<string, X, K>
  /**
   * Units that a request takes: a whole number. One that takes 0 is told what is left and always admitted; one that takes
   * more than a policy has never is. @default 1
   */
  readonly cost?: number | Effect.Effect<number, never, C>
  /** Requests that are neither counted nor told about limits. @default none */
  readonly skip?: (request: HttpServerRequest) => boolean
  /** Whether requests pass when the store fails, or are refused with {@link RateLimitUnavailable}. @default "allow" */
  readonly onStoreError?: "allow" | "deny"
  /** Tells the client, in the parameter `pk`, whose quota it is. @default false */
  readonly partitionKey?: boolean
  /**
   * Also sends `X-RateLimit-Limit`, `-Remaining` and `-Reset`, of the policy that is nearest to its end, with the reset in
   * seconds from now or as a time since 1970. @default no such fields
   */
  readonly legacyHeaders?: "seconds" | "unix-time"
}

/**
 * Settings of {@link make}: one policy, or several.
 *
 * @category models
 * @since 0.1.0
 */
export type Options<X = InvalidForwarded, K = never, C = never> =
  & Settings<X, K, C>
  & (Policy | { readonly policies: readonly [Policy, ...ReadonlyArray<Policy>] })

/**
 * A quota is used up: 429.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimited extends Problem.TaggedError<RateLimited>()("RateLimited", {
  status: 429,
  type: quotaExceeded,
  title: "Too many requests",
  headers: retryAfterField
}, {
  /** The names of the policies that had no room. */
  "violated-policies": Schema.Array(Schema.String),
  ...retryAfterMember
}) {}

/**
 * The store did not answer, and `onStoreError` is `"deny"`: 503.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimitUnavailable
  extends Problem.Opaque<{ readonly cause: unknown; readonly retryAfter: number }>()("RateLimitUnavailable", {
    status: 503,
    title: "The service can't admit requests at the moment",
    headers: retryAfterField
  })
{}

/**
 * The key of a client that is known by its address only: the default.
 *
 * **Details** IPv4-mapped IPv6 addresses are IPv4 addresses. Other IPv6 addresses share a key with their network of
 * `ipv6Prefix` bits. Clients without an address (a Unix socket, a proxy that hides it) share one. Throws a `RangeError` unless
 * `ipv6Prefix` is a whole number from 1 to 128.
 *
 * @category combinators
 * @since 0.1.0
 */
export const clientAddress = (
  options: {
    /** How many bits of an IPv6 address count. @default 64 */
    readonly ipv6Prefix?: number
  } = {}
): Effect.Effect<string, InvalidForwarded, HttpServerRequest> => {
  return Effect.withFiber(addressOf(options.ipv6Prefix ?? 64))
}

const addressOf = (ipv6Prefix: number): (fiber: AnyFiber) => Effect.Effect<string, InvalidForwarded> => {
  const prefix = requireCount("ipv6Prefix", ipv6Prefix, 1)
  if (prefix > 128) throw new RangeError(`ipv6Prefix must be at most 128, got ${prefix}`)
  const keyOf = addressKey(prefix)
  return (fiber) => {
    const client = clientUnsafe(fiber)
    return Result.isSuccess(client) ? Effect.succeed(keyOf(client.success.address)) : Effect.fail(client.failure)
  }
}

/**
 * Admits requests while there is room in every policy.
 *
 * **Details** Throws a `RangeError` that names the field when a number is out of range, a window is no whole number of
 * seconds, or two policies have the same name.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { RateLimit, RateLimitStore } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const limit = RateLimit.make({ limit: 1, window: "1 minute" })
 * const Hello = Route.get("/", limit, Effect.succeed(HttpServerResponse.text("hello")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello)
 *   const get = Effect.promise(() => fetch(new Request("http://localhost/")))
 *   const [first, second] = [yield* get, yield* get]
 *   console.log(first.headers.get("ratelimit-policy"), first.headers.get("ratelimit"))
 *   // => "default";q=1;w=60 "default";r=0;t=60
 *   return [first.status, second.status, second.headers.get("retry-after")]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(Effect.provide(program, RateLimitStore.layerMemory()))))
 * // => [200, 429, "60"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <X = InvalidForwarded, K = never, C = never>(
  options: Options<X, K, C>
): Middleware.Middleware<
  never,
  X | RateLimited | RateLimitUnavailable,
  K | C | HttpServerRequest | RateLimitStore.RateLimitStore
> => {
  const limits = limitsOf("policies" in options ? options.policies : [options])
  const key = keyOf(options)
  const cost = costOf(options.cost ?? 1)
  const announce = announcer(limits, options)
  const storeFailed = storeFailure(requireOneOf("onStoreError", options.onStoreError ?? "allow", ["allow", "deny"]))

  const decide = <E, R>(
    handler: Handler<E, R>,
    fiber: AnyFiber,
    owner: string,
    balances: Balances
  ): Handler<E | RateLimited, R> => {
    const listed = announce(fiber, owner, balances)
    const passes = balances.every((balance) => balance.admitted)
    const decision = passes ? admitted : limited
    decision.updateUnsafe(1, fiber.context)
    return passes ? provided(handler, fields.Listing, listed) : Effect.fail(refusal(limits, balances))
  }
  const pass = <E, R>(
    handler: Handler<E, R>,
    fiber: AnyFiber,
    owner: string,
    error: RateLimitStore.RateLimitStoreError
  ): Handler<E | RateLimitUnavailable, R> => {
    const listed = announce(fiber, owner, undefined)
    return Effect.andThen(storeFailed(error), provided(handler, fields.Listing, listed))
  }
  const charge = <E, R>(
    handler: Handler<E, R>,
    fiber: AnyFiber,
    owner: string,
    units: number
  ): Handler<E | RateLimited | RateLimitUnavailable, R> => {
    // Sound: the middleware requires it.
    const store = Context.getUnsafe(fiber.context, RateLimitStore.RateLimitStore)
    const account = accountOf(owner)
    const charges = limits.map(({ algorithm, id, shown: { quota, window } }) => (
      { key: id + account, algorithm, quota, window, cost: units }
    ))
    return Effect.matchEffect(store.consume(charges), {
      onSuccess: (balances) => decide(handler, fiber, owner, balances),
      onFailure: (error) => pass(handler, fiber, owner, error)
    })
  }
  const enter = <E, R>(
    handler: Handler<E, R>,
    fiber: AnyFiber
  ): Handler<E | X | RateLimited | RateLimitUnavailable, R | K | C | HttpServerRequest> => {
    const owned = (owner: string) =>
      typeof cost === "number"
        ? charge(handler, fiber, owner, cost)
        : Effect.flatMap(cost, (units) => charge(handler, fiber, owner, units))
    const owner = key(fiber)
    // The default key is known at once.
    const exit = settled(owner)
    return exit?._tag === "Success" ? owned(exit.value) : Effect.flatMap(owner, owned)
  }
  const { skip } = options
  return Middleware.around<
    X | RateLimited | RateLimitUnavailable,
    K | C | HttpServerRequest | RateLimitStore.RateLimitStore
  >(
    `RateLimit(${limits.map(({ label }) => label).join(", ")})`,
    (handler) =>
      Effect.withFiber((fiber) =>
        skip?.(Context.getUnsafe(fiber.context, HttpServerRequest)) === true ? handler : enter(handler, fiber)
      ),
    { response: "head" }
  )
}

/** A policy, with what is the same for every request. */
interface Limit {
  readonly shown: fields.Shown
  readonly algorithm: RateLimitStore.Algorithm
  /** What its keys in the store begin with: no name can be made to look like another. */
  readonly id: string
  readonly policyItem: string
  readonly limitItem: (balance: RateLimitStore.Balance) => string
  readonly label: string
}

const limitsOf = (policies: ReadonlyArray<Policy>): ReadonlyArray<Limit> => {
  if (policies.length === 0) throw new RangeError("policies must not be empty")
  const limits = policies.map(limitOf)
  const names = limits.map(({ shown }) => shown.name)
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (twice !== undefined) {
    throw new RangeError(`policies must have different names, got ${JSON.stringify(twice)} twice`)
  }
  return limits
}

const limitOf = (policy: Policy): Limit => {
  const name = requireText("name", policy.name ?? "default")
  const unit = policy.unit === undefined ? undefined : requireText("unit", policy.unit)
  const quota = requireCount("limit", policy.limit, 1)
  const window = requireDuration("window", policy.window)
  if (!Number.isSafeInteger(window / 1000)) {
    throw new RangeError(`window must be a whole number of seconds, got ${window} ms`)
  }
  const algorithm = requireOneOf("algorithm", policy.algorithm ?? "fixed-window", ["fixed-window", "token-bucket"])
  const shown = { name, quota, window, unit }
  return {
    shown,
    algorithm,
    policyItem: fields.policyItem(shown),
    limitItem: fields.limitItems(shown),
    id: `${quota}/${window}/${encodeURIComponent(name)}:`,
    label: `${quota}/${Duration.format(Duration.millis(window))}`
  }
}

/** @see https://www.rfc-editor.org/rfc/rfc9651#section-3.3.3 */
const requireText = (field: string, value: string): string => {
  if (/^[\x20-\x7e]+$/.test(value)) return value
  throw new RangeError(`${field} must be printable ASCII, got ${JSON.stringify(value)}`)
}

const keyOf = <X, K, C>(
  { key }: Settings<X, K, C>
): (fiber: AnyFiber) => Effect.Effect<string, X, K | HttpServerRequest> =>
  // Sound: where no key is given, `X` is what the default one fails with.
  key === undefined ? addressOf(64) as (fiber: AnyFiber) => Effect.Effect<string> : () => key

const costOf = <C>(cost: number | Effect.Effect<number, never, C>): number | Effect.Effect<number, never, C> =>
  Effect.isEffect(cost) ? Effect.map(cost, (units) => requireCount("cost", units, 0)) : requireCount("cost", cost, 0)

/** Longer keys than this are kept as their digests. */
const longestKey = 128

const accountOf = (owner: string): string =>
  owner.length <= longestKey ? owner : createHash("sha256").update(owner).digest("base64url")

type Balances = ReadonlyArray<RateLimitStore.Balance>

/** Puts the policies, and their balances if they are known, on the response. */
const announcer = (limits: ReadonlyArray<Limit>, options: Settings<unknown, unknown, unknown>) => {
  const legacy = options.legacyHeaders === undefined
    ? undefined
    : requireOneOf("legacyHeaders", options.legacyHeaders, ["seconds", "unix-time"])
  return (fiber: AnyFiber, owner: string, balances: Balances | undefined): fields.Listed => {
    const exchange = Exchange.currentUnsafe(fiber)
    const around = fiber.getRef(fields.Listing)
    const listed = around ?? { policies: [], limits: [] }
    const suffix = options.partitionKey === true ? fields.partitionKey(owner) : ""
    limits.forEach(({ limitItem, policyItem }, i) => {
      listed.policies.push(policyItem + suffix)
      if (balances !== undefined) listed.limits.push(limitItem(balances[i]) + suffix)
    })
    if (around === undefined) Exchange.editHeadUnsafe(exchange, fields.writeListed(listed))
    if (legacy !== undefined && balances !== undefined) {
      const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
      Exchange.editHeadUnsafe(exchange, legacyEdit(legacy, limits, balances, now))
    }
    return listed
  }
}

type AnyFiber = Fiber.Fiber<unknown, unknown>

const refusal = (limits: ReadonlyArray<Limit>, balances: Balances): RateLimited =>
  new RateLimited({
    "violated-policies": limits.filter((_, i) => !balances[i].admitted).map(({ shown }) => shown.name),
    retryAfter: Math.max(1, ...balances.map(({ retryAfter }) => fields.toSeconds(retryAfter)))
  })

const legacyEdit = (
  legacy: fields.Legacy,
  limits: ReadonlyArray<Limit>,
  balances: Balances,
  now: number
): HeadEdit => {
  const left = balances.map(({ admitted, remaining }, i) => admitted ? remaining / limits[i].shown.quota : -1)
  const tightest = left.indexOf(Math.min(...left))
  return fields.writeLegacy(legacy, limits[tightest].shown, balances[tightest], now)
}

/** Between two lines about a store that fails, in milliseconds. */
const logInterval = 60_000

/** When a client should try again whose quota can't be read, in seconds. */
const unavailableRetryAfter = 5

const storeFailure = (onStoreError: "allow" | "deny") => {
  let silentUntil = -Infinity
  const complain = (error: RateLimitStore.RateLimitStoreError) =>
    Effect.clockWith((clock) => {
      const now = clock.currentTimeMillisUnsafe()
      if (now < silentUntil) return Effect.void
      silentUntil = now + logInterval
      const instead = onStoreError === "allow" ? "requests pass unlimited" : "requests are refused"
      return Effect.logWarning(`the store of a rate limit fails, ${instead}`, error.cause)
    })
  return (error: RateLimitStore.RateLimitStoreError): Effect.Effect<undefined, RateLimitUnavailable> =>
    Effect.andThen(
      Effect.andThen(storeErrors, complain(error)),
      Effect.suspend(() =>
        onStoreError === "allow"
          ? Effect.succeed(undefined)
          : Effect.fail(new RateLimitUnavailable({ cause: error.cause, retryAfter: unavailableRetryAfter }))
      )
    )
}

const admitted = Admission.decisions("rate_limit", "admitted")
const limited = Admission.decisions("rate_limit", "limited")
const storeErrors = Admission.count("rate_limit", "store_error")
