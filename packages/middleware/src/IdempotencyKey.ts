/**
 * Requests that may be sent twice and are carried out once: `Idempotency-Key`.
 *
 * **When to use** Around routes that make something (an order, a payment) and whose clients try again when an answer does
 * not come. Authentication belongs outside, so that `scope` knows who asks.
 *
 * **Details** A POST or PATCH claims its key in the store, runs the handler, and keeps the response (status, fields, body,
 * with the head edits from inside) for `ttl`. Another request with the key
 *
 * - and the same method, target, content type and body receives the kept response, with `Idempotency-Replayed: true`;
 * - but with another one of these fails with {@link KeyReused} (422);
 * - while the first one still runs fails with {@link KeyInFlight} (409).
 *
 * A response with a status of 500 or more is not kept, and neither is a failure: the claim is given up, and the next
 * request with the key runs the handler. A claim lasts for `claim` and is renewed while the handler runs, so that one whose process died
 * comes free. Keys are kept by `scope`, method and route.
 *
 * The body of the request is read for its fingerprint, up to `maxRequestBytes`, and can be read again by the handler.
 *
 * **Gotchas** A client that leaves, and a timeout further out, don't interrupt the handler: what it does is finished and kept for
 * when the client asks again, unless it takes longer than `claim` from then on, or the server's drain deadline comes. Then it
 * is interrupted, and must leave nothing half done: make what can't be undone `Effect.uninterruptible`. A response whose body is over `maxResponseBytes`, and one that a Node handler (an Express app)
 * writes itself, is sent and not kept, with a warning in the log. When the store goes down after the handler has run, its response is sent and the key stays claimed until the claim ends.
 *
 * @see https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-06
 * @since 0.1.0
 */
import * as Cancellation from "@sluice/core/Cancellation"
import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { HttpServerError } from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redis from "effect/persistence/Redis"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { createHash, hash, randomUUID } from "node:crypto"
import { parseItem } from "structured-headers"
import { Lru } from "./internal/lru.ts"
import { requireCount, requireDuration, requireFieldName, requireOneOf, requireSeconds } from "./internal/options.ts"
import { retryAfterField } from "./internal/reducedCapacity.ts"
import { requestBytes } from "./internal/requestBytes.ts"
import { pathOf, urlOf } from "./internal/requestPath.ts"
import { buffer, type Buffered, sizeOf, StoredResponse, toResponse } from "./internal/storedResponse.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<X = never, Q = never> {
  /**
   * Whose key it is: the id of the user or of the account. Keys of different scopes have nothing to do with each other, so
   * one that is the same for everybody lets clients read each other's responses.
   */
  readonly scope: (request: HttpServerRequest.HttpServerRequest) => string | Effect.Effect<string, X, Q>
  /** Whether a request without a key is refused. @default true */
  readonly required?: boolean
  /** The methods that take part. @default ["POST", "PATCH"] */
  readonly methods?: ReadonlyArray<string>
  /** How long a response is kept. @default "24 hours" */
  readonly ttl?: Duration.Input
  /** How long a key stays claimed after its process died. @default "1 minute" */
  readonly claim?: Duration.Input
  /** `Retry-After` of {@link KeyInFlight}, in whole seconds. @default "1 second" */
  readonly retryAfter?: Duration.Input
  /** The longest key, in characters. @default 255 */
  readonly maxKeyLength?: number
  /** The largest request body, in bytes. @default 1048576 */
  readonly maxRequestBytes?: number
  /** The largest response body that is kept, in bytes. @default 1048576 */
  readonly maxResponseBytes?: number
  /** How long the store may take for each operation. @default "1 second" */
  readonly storeTimeout?: Duration.Input
  /** Whether requests are refused (503) or carried out unprotected when the store is down. @default "deny" */
  readonly onStoreError?: "allow" | "deny"
}

/**
 * The request must have a key: 400.
 *
 * @category errors
 * @since 0.1.0
 */
export class KeyMissing extends Problem.TaggedError<KeyMissing>()("IdempotencyKeyMissing", {
  status: 400,
  title: "Idempotency-Key is missing"
}) {}

/**
 * The key is not a string in the form of a structured field (RFC 9651, 3.3.3), is empty or is too long: 400.
 *
 * @category errors
 * @since 0.1.0
 */
export class KeyInvalid extends Problem.TaggedError<KeyInvalid>()("IdempotencyKeyInvalid", {
  status: 400,
  title: "Idempotency-Key is not a quoted string of the allowed length"
}) {}

/**
 * The key belongs to another request: 422.
 *
 * @category errors
 * @since 0.1.0
 */
export class KeyReused extends Problem.TaggedError<KeyReused>()("IdempotencyKeyReused", {
  status: 422,
  title: "Idempotency-Key is already used"
}) {}

/**
 * The first request with the key still runs: 409, with `Retry-After`.
 *
 * @category errors
 * @since 0.1.0
 */
export class KeyInFlight extends Problem.TaggedError<KeyInFlight>()("IdempotencyKeyInFlight", {
  status: 409,
  title: "A request is outstanding for this Idempotency-Key",
  headers: retryAfterField
}, {
  /** Seconds. */
  retryAfter: Schema.Number
}) {}

/**
 * The request's body is too large to be compared: 413.
 *
 * @category errors
 * @since 0.1.0
 */
export class BodyTooLarge extends Problem.TaggedError<BodyTooLarge>()("IdempotencyBodyTooLarge", {
  status: 413
}, {
  /** Bytes. */
  limit: Schema.Number
}) {}

/**
 * The store is down, so that nobody knows whether the request was carried out already: 503.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreUnavailable extends Problem.Opaque<{ readonly cause: unknown }>()("IdempotencyStoreUnavailable", {
  status: 503
}) {}

/**
 * The errors of {@link make}.
 *
 * @category errors
 * @since 0.1.0
 */
export type Refusal =
  | KeyMissing
  | KeyInvalid
  | KeyReused
  | KeyInFlight
  | BodyTooLarge
  | StoreUnavailable
  | HttpServerError

/**
 * The store failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreError extends Data.TaggedError("IdempotencyStoreError")<{ readonly cause: unknown }> {}

/**
 * A claim of a key: what the request was, and who holds it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Claim {
  readonly fingerprint: string
  /** Different for every claim. */
  readonly token: string
}

/**
 * What a store has under a key.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Stored = Schema.Union([
  Schema.TaggedStruct("Claimed", { fingerprint: Schema.String, token: Schema.String }),
  Schema.TaggedStruct("Completed", { fingerprint: Schema.String, response: StoredResponse })
])

/**
 * What a store has under a key.
 *
 * @category models
 * @since 0.1.0
 */
export type Stored = typeof Stored.Type

/**
 * Where claims and responses are kept; durations are in milliseconds. What a claim's holder does has an effect only as long as its token
 * is the one that is there.
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  /** Claims the key if nothing is there, in one step; else what is there. */
  readonly claim: (key: string, claim: Claim, timeToLive: number) => Effect.Effect<Stored | undefined, StoreError>
  /** Lets the claim last for another while. */
  readonly renew: (key: string, claim: Claim, timeToLive: number) => Effect.Effect<void, StoreError>
  /** Puts the response in the claim's place; whether the claim still held. */
  readonly complete: (
    key: string,
    claim: Claim,
    response: typeof StoredResponse.Type,
    timeToLive: number
  ) => Effect.Effect<boolean, StoreError>
  /** Gives the claim up. */
  readonly release: (key: string, claim: Claim) => Effect.Effect<void, StoreError>
}>()("@sluice/middleware/IdempotencyKey/Store") {}

/**
 * Carries requests out once.
 *
 * **Details** Throws a `RangeError` that names the option unless durations are positive (`retryAfter` may be zero), sizes are whole
 * numbers and there is at least one method.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { IdempotencyKey } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * let orders = 0
 * const order = Effect.sync(() => HttpServerResponse.text(`order ${++orders}`, { status: 201 }))
 * const once = IdempotencyKey.make({ scope: (request) => request.headers["x-account"] ?? "nobody" })
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Route.post("/orders", once, order))
 *   const headers = { "idempotency-key": "\"8e03978e-40d5-43dd\"", "x-account": "7" }
 *   const send = Effect.promise(async () =>
 *     (await fetch(new Request("http://localhost/orders", { method: "POST", headers }))).text()
 *   )
 *   return [yield* send, yield* send]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(Effect.provide(program, IdempotencyKey.layerMemory())))) // => ["order 1", "order 1"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <X = never, Q = never>(
  options: Options<X, Q>
): Middleware.Middleware<never, X | Refusal, Q | HttpServerRequest.HttpServerRequest | Store> => {
  const settings = settingsOf(options)
  const scopeOf = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<string, X, Q> => {
    const scope = options.scope(request)
    return Effect.isEffect(scope) ? scope : Effect.succeed(scope)
  }
  return Middleware.around<X | Refusal, Q | HttpServerRequest.HttpServerRequest | Store>(
    "IdempotencyKey",
    (handler) =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, (request): Handler<
        Refusal | X | Effect.Error<typeof handler>,
        Q | HttpServerRequest.HttpServerRequest | Store | Effect.Services<typeof handler>
      > => {
        if (!settings.methods.has(request.method)) return handler
        const field = request.headers["idempotency-key"]
        if (field === undefined) return settings.required ? Effect.fail(new KeyMissing({})) : handler
        return Effect.gen(function*() {
          const key = yield* keyOf(field, settings.maxKeyLength)
          const scope = yield* scopeOf(request)
          const bytes = yield* requestBytes(request, settings.maxRequestBytes)
          if (bytes === undefined) return yield* Effect.fail(new BodyTooLarge({ limit: settings.maxRequestBytes }))
          const exchange = yield* Exchange.current
          const place = digest(scope, request.method, exchange.route ?? pathOf(exchange), key)
          const fingerprint = digest(request.method, urlOf(exchange), request.headers["content-type"] ?? "", bytes)
          return yield* once(handler, settings, place, { fingerprint, token: randomUUID() })
        })
      }),
    // The value is asked for where there is a key.
    { response: "head" }
  )
}

/**
 * Settings of {@link layerMemory}.
 *
 * @category models
 * @since 0.1.0
 */
export interface MemoryOptions {
  /** @default 10000 */
  readonly maxEntries?: number
  /** Of fields and bodies together. @default 67108864 (64 MiB) */
  readonly maxBytes?: number
}

/**
 * A store in this process, within bounds.
 *
 * **Gotchas** Where the bounds are reached, the key that was used longest ago is forgotten before its time.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (options: MemoryOptions = {}): Layer.Layer<Store> => {
  const bounds = {
    maxEntries: requireCount("maxEntries", options.maxEntries ?? 10_000, 1),
    maxBytes: requireCount("maxBytes", options.maxBytes ?? 67_108_864, 0)
  }
  return Layer.sync(Store)(() => {
    const lru = new Lru<Stored>(bounds)
    const set = (key: string, value: Stored, expires: number) =>
      lru.set(key, value, key.length + (value._tag === "Completed" ? sizeOf(value.response) : 100), expires)
    const held = (key: string, { token }: Claim, now: number): boolean => {
      const there = lru.get(key, now)
      return there?._tag === "Claimed" && there.token === token
    }
    const at = <A>(f: (now: number) => A): Effect.Effect<A> => Effect.map(Clock.currentTimeMillis, f)
    return Store.of({
      claim: (key, claim, timeToLive) =>
        at((now) => {
          const there = lru.get(key, now)
          if (there === undefined) set(key, { _tag: "Claimed", ...claim }, now + timeToLive)
          return there
        }),
      renew: (key, claim, timeToLive) =>
        at((now) => {
          if (held(key, claim, now)) set(key, { _tag: "Claimed", ...claim }, now + timeToLive)
        }),
      complete: (key, claim, response, timeToLive) =>
        at((now) => {
          if (!held(key, claim, now)) return false
          set(key, { _tag: "Completed", fingerprint: claim.fingerprint, response }, now + timeToLive)
          return true
        }),
      release: (key, claim) =>
        at((now) => {
          if (held(key, claim, now)) lru.delete(key)
        })
    })
  })
}

/**
 * Settings of {@link layerRedis}.
 *
 * @category models
 * @since 0.1.0
 */
export interface RedisOptions {
  /** What its keys begin with. @default "sluice:idempotency:" */
  readonly prefix?: string
}

/**
 * A store in Redis, for several processes. Each step is one script, and every key expires.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerRedis = (options: RedisOptions = {}): Layer.Layer<Store, never, Redis.Redis> => {
  const prefix = options.prefix ?? "sluice:idempotency:"
  return Layer.effect(Store)(Effect.map(Redis.Redis, (redis) => {
    const failing = Effect.mapError((cause: unknown) => new StoreError({ cause }))
    const text = (claim: Claim) => encode({ _tag: "Claimed", fingerprint: claim.fingerprint, token: claim.token })
    return Store.of({
      claim: (key, claim, timeToLive) =>
        failing(Effect.flatMap(
          Effect.flatMap(
            text(claim),
            (claimed) => redis.eval(claimScript)(prefix + key, claimed, Math.ceil(timeToLive))
          ),
          (there) => there === null ? Effect.undefined : decode(there)
        )),
      renew: (key, claim, timeToLive) =>
        failing(
          Effect.asVoid(Effect.flatMap(text(claim), (claimed) =>
            redis.eval(renewScript)(prefix + key, claimed, Math.ceil(timeToLive))))
        ),
      complete: (key, claim, response, timeToLive) =>
        failing(Effect.gen(function*() {
          const completed = yield* encode({ _tag: "Completed", fingerprint: claim.fingerprint, response })
          const done = redis.eval(completeScript)(prefix + key, yield* text(claim), Math.ceil(timeToLive), completed)
          return (yield* done) === 1
        })),
      release: (key, claim) =>
        failing(
          Effect.asVoid(Effect.flatMap(text(claim), (claimed) => redis.eval(releaseScript)(prefix + key, claimed)))
        )
    })
  }))
}

const Text = Schema.fromJsonString(Schema.toCodecJson(Stored))
const encode = Schema.encodeEffect(Text)
const decode = Schema.decodeEffect(Text)

const claimScript = Redis.script((key: string, claimed: string, millis: number) => [key, claimed, millis], {
  numberOfKeys: 1,
  lua: `local there = redis.call("GET", KEYS[1])
if there then return there end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return false`
}).withReturnType<string | null>()

/** A script that does something only while the claim is there. */
const ifHeld = (action: string): string =>
  `if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
${action}
return 1`

const renewScript = Redis.script((key: string, claimed: string, millis: number) => [key, claimed, millis], {
  numberOfKeys: 1,
  lua: ifHeld(`redis.call("PEXPIRE", KEYS[1], ARGV[2])`)
}).withReturnType<number>()

const completeScript = Redis.script(
  (key: string, claimed: string, millis: number, completed: string) => [key, claimed, millis, completed],
  { numberOfKeys: 1, lua: ifHeld(`redis.call("SET", KEYS[1], ARGV[3], "PX", ARGV[2])`) }
).withReturnType<number>()

const releaseScript = Redis.script((key: string, claimed: string) => [key, claimed], {
  numberOfKeys: 1,
  lua: ifHeld(`redis.call("DEL", KEYS[1])`)
}).withReturnType<number>()

type Settings = ReturnType<typeof settingsOf>

const settingsOf = (options: Options<unknown, unknown>) => {
  const methods = new Set((options.methods ?? ["POST", "PATCH"]).map((method) => requireFieldName("methods", method)))
  if (methods.size === 0) throw new RangeError("methods must have at least one")
  return {
    methods,
    required: options.required ?? true,
    ttl: requireFinite("ttl", options.ttl ?? "24 hours"),
    claim: requireFinite("claim", options.claim ?? "1 minute"),
    retryAfter: requireSeconds("retryAfter", options.retryAfter ?? "1 second"),
    maxKeyLength: requireCount("maxKeyLength", options.maxKeyLength ?? 255, 1),
    maxRequestBytes: requireCount("maxRequestBytes", options.maxRequestBytes ?? 1_048_576, 0),
    maxResponseBytes: requireCount("maxResponseBytes", options.maxResponseBytes ?? 1_048_576, 0),
    timeout: requireDuration("storeTimeout", options.storeTimeout ?? "1 second"),
    onStoreError: requireOneOf("onStoreError", options.onStoreError ?? "deny", ["allow", "deny"])
  }
}

const requireFinite = (name: string, value: Duration.Input): number => {
  const millis = requireDuration(name, value)
  if (!Number.isFinite(millis)) throw new RangeError(`${name} must be a finite duration, got Infinity`)
  return millis
}

/** @see https://www.rfc-editor.org/rfc/rfc9651#section-3.3.3 */
const keyOf = (field: string, maxLength: number): Effect.Effect<string, KeyInvalid> =>
  Effect.suspend(() => {
    try {
      const [value] = parseItem(field)
      if (typeof value === "string" && value !== "" && value.length <= maxLength) return Effect.succeed(value)
    } catch {
      // Falls through: it is no structured field.
    }
    return Effect.fail(new KeyInvalid({}))
  })

/** Each part with its length, so that no two lists of parts look the same. */
const digest = (...parts: ReadonlyArray<string | Uint8Array>): string => {
  const hashing = createHash("sha256")
  for (const part of parts) hashing.update(hash("sha256", part, "buffer"))
  return hashing.digest("base64url")
}

const within = <A>(settings: Settings, operation: Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> =>
  Effect.timeoutOrElse(operation, {
    duration: settings.timeout,
    orElse: () => Effect.fail(new StoreError({ cause: new Error(`no answer after ${settings.timeout} ms`) }))
  })

const once = <E, R>(
  handler: Handler<E, R>,
  settings: Settings,
  key: string,
  claim: Claim
): Handler<E | Refusal, R | HttpServerRequest.HttpServerRequest | Store> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const store = yield* Store
      const release = quietly(within(settings, store.release(key, claim)))
      const claimed = yield* Effect.exit(
        Effect.onInterrupt(restore(within(settings, store.claim(key, claim, settings.claim))), () => release)
      )
      if (Exit.isFailure(claimed)) return yield* restore(unclaimed(handler, settings, claimed.cause))
      if (claimed.value !== undefined) return yield* answered(claimed.value, claim, settings)
      return yield* carriedOut(restore, handler, settings, store, key, claim, release)
    })
  )

const unclaimed = <E, R>(
  handler: Handler<E, R>,
  settings: Settings,
  cause: Cause.Cause<StoreError>
): Handler<E | StoreUnavailable, R> => {
  if (Cause.hasInterrupts(cause)) return Effect.failCause(cause as Cause.Cause<never>)
  return settings.onStoreError === "deny"
    ? Effect.fail(new StoreUnavailable({ cause: Cause.squash(cause) }))
    : Effect.andThen(Effect.logWarning("a request was carried out without its idempotency key", cause), handler)
}

const answered = (there: Stored, { fingerprint }: Claim, settings: Settings): Handler<KeyReused | KeyInFlight> => {
  if (there.fingerprint !== fingerprint) return Effect.fail(new KeyReused({}))
  return there._tag === "Claimed"
    ? Effect.fail(new KeyInFlight({ retryAfter: settings.retryAfter }))
    : Effect.succeed(HttpServerResponse.setHeader(toResponse(there.response), "idempotency-replayed", "true"))
}

const carriedOut = <E, R>(
  restore: <A, E2, R2>(effect: Effect.Effect<A, E2, R2>) => Effect.Effect<A, E2, R2>,
  handler: Handler<E, R>,
  settings: Settings,
  store: Store["Service"],
  key: string,
  claim: Claim,
  release: Effect.Effect<void>
): Handler<E, R | HttpServerRequest.HttpServerRequest> =>
  Effect.gen(function*() {
    // Every request has a scope.
    const scope = yield* Effect.withFiber(({ context }) =>
      Effect.succeed(Context.getUnsafe(context as Context.Context<Scope.Scope>, Scope.Scope))
    )
    const renewing = Effect.forever(
      Effect.andThen(
        Effect.sleep(settings.claim / 3),
        quietly(within(settings, store.renew(key, claim, settings.claim)))
      )
    )
    const exchange = yield* Exchange.current
    const whole = Effect.flatMap(
      Exchange.editedValue(handler),
      (response): Effect.Effect<Buffered> =>
        // A handler that has written its response itself gives only a receipt.
        exchange.status === undefined
          ? buffer(response, settings.maxResponseBytes, scope)
          : Effect.succeed({ _tag: "Live", response })
    )
    const keep = (kept: Buffered): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
      if (kept._tag === "Live") {
        const warning = exchange.status === undefined
          ? "a response is too large to be kept for its idempotency key"
          : "a response that its handler writes itself can't be kept for its idempotency key"
        return Effect.as(Effect.andThen(Effect.logWarning(warning), release), kept.response)
      }
      const settled = kept.stored.status >= 500
        ? release
        : quietly(within(settings, store.complete(key, claim, kept.stored, settings.ttl)))
      return Effect.as(settled, toResponse(kept.stored))
    }
    const renewal = yield* Effect.forkChild(renewing)
    const running = yield* Effect.forkChild(whole)
    const finished = Effect.flatMap(
      Fiber.await(running),
      Exit.match({ onSuccess: keep, onFailure: (cause) => Effect.andThen(release, Effect.failCause(cause)) })
    )
    // Work that is under way is finished for whoever asks again, unless it outlasts the claim or the server.
    const abandoned = Effect.gen(function*() {
      const watchdog = yield* Effect.forkChild(
        Effect.andThen(Effect.sleep(settings.claim), Fiber.interrupt(running))
      )
      yield* Effect.exit(finished)
      yield* Fiber.interrupt(watchdog)
    })
    const ended = Effect.onExit(restore(Fiber.await(running)), (exit) => {
      if (Exit.isSuccess(exit)) return Effect.void
      const isDraining = Option.exists(Cancellation.of(exit.cause), ({ _tag }) => _tag === "Draining")
      return isDraining ? Effect.andThen(Fiber.interrupt(running), release) : abandoned
    })
    return yield* Effect.ensuring(Effect.andThen(ended, finished), Fiber.interrupt(renewal))
  })

/** What is done for the store's sake must not change the response. */
const quietly = (operation: Effect.Effect<unknown, StoreError>): Effect.Effect<void> =>
  Effect.matchEffect(operation, {
    onSuccess: () => Effect.void,
    onFailure: (error) => Effect.logWarning("the store of idempotency keys is down", error)
  })
