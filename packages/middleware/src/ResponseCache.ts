/**
 * A shared cache of responses, as RFC 9111 has it.
 *
 * **When to use** Around routes, a proxy among them, whose responses say with `Cache-Control` or `Expires` how long they are
 * fresh. A response that says nothing is not kept; `CacheControl`, inside of this middleware, can say it for the handler.
 *
 * **Details** Responses to GET are kept by scheme, host and target, and by the request fields that `Vary` names; HEAD is
 * answered from them. They are what the handler's stack makes of them: head edits from inside are kept, those from outside
 * are each request's own. Nothing is kept that sets cookies, has `no-store`, `private` or `Vary: *`, or answers a request
 * with `Authorization` or `Range`. The conditions of a request are evaluated here, and never reach the handler.
 *
 * Requests that come at the same time for a response that is not there share one run of the handler, which goes on for as
 * long as one of them waits. Within `stale-while-revalidate` a stale response is sent at once and another one is fetched
 * once, in the store's scope; within `stale-if-error` it stands in for a 500, 502, 503 or 504, also for one that the
 * handler fails with (RFC 5861). A change (an unsafe method) that succeeds invalidates its target, and `Location` and
 * `Content-Location` on the same origin (RFC 9111, 4.4). {@link purgeTag} removes every response whose `Cache-Tag` field
 * names a tag. `Age` and `Cache-Status` (RFC 9211) say what happened. Time is Effect's `Clock`.
 *
 * A store that is down or slow is passed by: the handler runs, and a warning is logged once until the store is back.
 *
 * **Gotchas** The handler runs as described in `Detached`. A response with `s-maxage` is served stale when it has a `stale-*`
 * directive: without one it is not. Requests with cookies are answered from the cache as others are: what depends on one must
 * say `private` or `Vary: Cookie`. Middleware that decides who may see a response belongs outside.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9111
 * @see https://www.rfc-editor.org/rfc/rfc9211
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { hash, randomUUID } from "node:crypto"
import { hasCredentials } from "./internal/attributes.ts"
import * as CacheDirectives from "./internal/cacheDirectives.ts"
import { memoryStore } from "./internal/cacheMemory.ts"
import { type Status, statusLine, withStatus } from "./internal/cacheStatus.ts"
import { namesOf, selectionOf, variantKey } from "./internal/cacheVariants.ts"
import { evaluate } from "./internal/conditions.ts"
import * as Flights from "./internal/flights.ts"
import { type Freshness, freshnessOf, timeToLive } from "./internal/freshness.ts"
import { isSafe } from "./internal/methods.ts"
import { notModified, validatorsOf } from "./internal/notModified.ts"
import { requireCount, requireDuration, requireFieldName } from "./internal/options.ts"
import { requestedUri } from "./internal/requestedUri.ts"
import { abandon, type Outcome, sharedRun, takeLive } from "./internal/sharedRun.ts"
import { isEventStream, StoredResponse, toResponse } from "./internal/storedResponse.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What a response is kept under, besides what `Vary` names. @default scheme, host and target */
  readonly key?: (request: HttpServerRequest.HttpServerRequest) => string
  /** The largest body that is kept, in bytes; a larger one streams past. @default 1048576 */
  readonly maxBodyBytes?: number
  /**
   * Whether requests with `Authorization`, or with credentials that `ApiKey` has accepted, take part: their responses are kept, for everybody, when they have `public`,
   * `s-maxage` or `must-revalidate` (RFC 9111, 3.5). @default false: they pass by
   */
  readonly allowAuthorization?: boolean
  /** How long the store may take for each operation before it is passed by. @default "250 millis" */
  readonly storeTimeout?: Duration.Input
  /** How this cache is called in `Cache-Status`. @default "sluice" */
  readonly name?: string
}

/**
 * What a store keeps: a response with its times, or the names of the request fields by which the responses under a key
 * differ. Ages and lifetimes are in seconds, `storedAt` in milliseconds since 1970.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Stored = Schema.Union([
  Schema.TaggedStruct("Response", {
    response: StoredResponse,
    storedAt: Schema.Number,
    initialAge: Schema.Number,
    lifetime: Schema.Number,
    staleWhileRevalidate: Schema.Number,
    staleIfError: Schema.Number
  }),
  Schema.TaggedStruct("Variants", { names: Schema.Array(Schema.String), generation: Schema.String })
])

/**
 * What a store keeps.
 *
 * @category models
 * @since 0.1.0
 */
export type Stored = typeof Stored.Type

type Entry = Extract<Stored, { readonly _tag: "Response" }>

/**
 * The store failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreError extends Data.TaggedError("ResponseCacheStoreError")<{ readonly cause: unknown }> {}

/**
 * Where responses are kept. {@link layerMemory} and {@link layerRedis} are two; another one must behave as they do.
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  readonly get: (key: string) => Effect.Effect<Stored | undefined, StoreError>
  /** Keeps a value for a number of milliseconds, and remembers it under the tags. */
  readonly set: (
    key: string,
    value: Stored,
    timeToLive: number,
    tags: ReadonlyArray<string>
  ) => Effect.Effect<void, StoreError>
  readonly remove: (key: string) => Effect.Effect<void, StoreError>
  /** Removes whatever was kept under a tag. */
  readonly purge: (tag: string) => Effect.Effect<void, StoreError>
  /** Where responses are fetched in the background. */
  readonly scope: Scope.Scope
}>()("@sluice/middleware/ResponseCache/Store") {}

/**
 * Answers from the cache.
 *
 * **Details** Throws a `RangeError` that names the option unless `maxBodyBytes` is a whole number of at least 0,
 * `storeTimeout` a positive duration and `name` a token.
 *
 * @example
 * ```ts
 * import { Handler, Middleware, Route } from "@sluice/core"
 * import { CacheControl, ResponseCache } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * let runs = 0
 * const report = Effect.sync(() => HttpServerResponse.text(`run ${++runs}`))
 * const cached = Middleware.stack(ResponseCache.make(), CacheControl.make({ maxAge: "1 minute" }))
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Route.get("/", cached, report))
 *   const read = Effect.promise(async () => (await fetch(new Request("http://localhost/"))).text())
 *   return [yield* read, yield* read]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(Effect.provide(program, ResponseCache.layerMemory())))) // => ["run 1", "run 1"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<never, never, HttpServerRequest.HttpServerRequest | Store> => {
  const key = options.key
  const settings: Settings = {
    keyOf: key === undefined ? requestedUri : Effect.map(HttpServerRequest.HttpServerRequest, key),
    ownKey: key !== undefined,
    limit: requireCount("maxBodyBytes", options.maxBodyBytes ?? 1_048_576, 0),
    allowAuthorization: options.allowAuthorization ?? false,
    timeout: requireDuration("storeTimeout", options.storeTimeout ?? "250 millis"),
    name: requireFieldName("name", options.name ?? "sluice"),
    flights: Flights.make<Outcome<Shared>>(abandon),
    health: { down: false }
  }
  return Middleware.around<never, HttpServerRequest.HttpServerRequest | Store>(
    "ResponseCache",
    (handler) => {
      const invalidates = invalidating(handler, settings)
      const answers = cached(handler, settings, 0)
      const past = bypassed(handler, settings)
      return Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        (request): Handler<Effect.Error<typeof handler>, Effect.Services<typeof answers>> =>
          !isSafe(request.method) ? invalidates : Effect.flatMap(
            Exchange.current,
            (exchange): Handler<Effect.Error<typeof handler>, Effect.Services<typeof answers>> =>
              isBypassed(request, exchange, settings) ? past : answers
          )
      )
    },
    // What is kept is made apart from the exchange; the rest streams past.
    { response: "head" }
  )
}

/**
 * Removes every response whose `Cache-Tag` names the tag.
 *
 * @example
 * ```ts
 * import { ResponseCache } from "@sluice/middleware"
 * import { Effect } from "effect"
 *
 * const program = Effect.as(ResponseCache.purgeTag("product-7"), "purged")
 * console.log(await Effect.runPromise(Effect.provide(program, ResponseCache.layerMemory()))) // => purged
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const purgeTag = (tag: string): Effect.Effect<void, StoreError, Store> =>
  Effect.flatMap(Store, (store) => store.purge(tag.toLowerCase()))

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
 * A store in this process, within bounds: what was used longest ago goes first.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (options: MemoryOptions = {}): Layer.Layer<Store> => {
  const bounds = {
    maxEntries: requireCount("maxEntries", options.maxEntries ?? 10_000, 1),
    maxBytes: requireCount("maxBytes", options.maxBytes ?? 67_108_864, 0)
  }
  return Layer.effect(Store)(Effect.map(Effect.scope, (scope) => memoryStore(bounds, scope)))
}

/**
 * Settings of {@link layerRedis}.
 *
 * @category models
 * @since 0.1.0
 */
export interface RedisOptions {
  /** What its keys begin with. @default "sluice:cache:" */
  readonly prefix?: string
}

/**
 * A store in Redis, for several processes. Keys are hashed, and every one of them expires; how much is kept is bounded by the
 * server's `maxmemory`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerRedis = (options: RedisOptions = {}): Layer.Layer<Store, never, Redis.Redis> => {
  const prefix = options.prefix ?? "sluice:cache:"
  const keyOf = (key: string) => `${prefix}r:${hash("sha256", key, "base64url")}`
  const tagOf = (tag: string) => `${prefix}t:${hash("sha256", tag, "base64url")}`
  return Layer.effect(Store)(Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const scope = yield* Effect.scope
    const failing = Effect.mapError((cause: unknown) => new StoreError({ cause }))
    return Store.of({
      scope,
      get: (key) =>
        redis.send<string | null>("GET", keyOf(key)).pipe(
          failing,
          Effect.flatMap((text) =>
            // What another version has written is not there.
            text === null ? Effect.undefined : Effect.orElseSucceed(decode(text.slice(markLength)), () => undefined)
          )
        ),
      set: (key, value, timeToLive, tags) =>
        failing(
          Effect.flatMap(encode(value), (text) =>
            redis.eval(keep)(keyOf(key), markOf(tags), text, Math.ceil(timeToLive), tags.map(tagOf)))
        ),
      remove: (key) => failing(Effect.asVoid(redis.send("DEL", keyOf(key)))),
      purge: (tag) => failing(redis.eval(purgeScript)(tagOf(tag)))
    })
  }))
}

const Text = Schema.fromJsonString(Schema.toCodecJson(Stored))
const encode = Schema.encodeEffect(Text)
const decode = Schema.decodeEffect(Text)

/** Stands before a kept text, and says under which tags it is kept: what is kept anew without a tag has left it. */
const markOf = (tags: ReadonlyArray<string>): string =>
  hash("sha256", JSON.stringify(tags.toSorted()), "base64url").slice(0, markLength)
const markLength = 16

/** A tag's set lives as long as the longest of its members. */
const keep = Redis.script(
  (key: string, mark: string, text: string, millis: number, tags: ReadonlyArray<string>) => [
    key,
    ...tags,
    mark,
    text,
    millis
  ],
  {
    numberOfKeys: (_key, _mark, _text, _millis, tags) => 1 + tags.length,
    lua: `redis.call("SET", KEYS[1], ARGV[1] .. ARGV[2], "PX", ARGV[3])
for i = 2, #KEYS do
  redis.call("SADD", KEYS[i], ARGV[1] .. KEYS[1])
  if redis.call("PTTL", KEYS[i]) < tonumber(ARGV[3]) then redis.call("PEXPIRE", KEYS[i], ARGV[3]) end
end`
  }
)

const purgeScript = Redis.script((tag: string) => [tag], {
  numberOfKeys: 1,
  lua: `for _, member in ipairs(redis.call("SMEMBERS", KEYS[1])) do
  local mark, key = string.sub(member, 1, ${markLength}), string.sub(member, ${markLength + 1})
  if redis.call("GETRANGE", key, 0, ${markLength - 1}) == mark then redis.call("DEL", key) end
end
redis.call("DEL", KEYS[1])`
})

type Request = HttpServerRequest.HttpServerRequest
type Response = HttpServerResponse.HttpServerResponse

interface Settings {
  readonly keyOf: Effect.Effect<string, never, Request>
  readonly ownKey: boolean
  readonly limit: number
  readonly allowAuthorization: boolean
  readonly timeout: number
  readonly name: string
  readonly flights: Flights.Flights<Outcome<Shared>>
  readonly health: { down: boolean }
}

/** What the responses to one run are shared by. */
interface Shared {
  readonly freshness: Freshness
  readonly names: ReadonlyArray<string>
  readonly selection: string
  readonly receivedAt: number
  stored: boolean
}

const isBypassed = ({ headers, method }: Request, exchange: Exchange.Exchange, settings: Settings): boolean =>
  (method !== "GET" && method !== "HEAD") || (!settings.allowAuthorization && hasCredentials(exchange)) ||
  headers.range !== undefined || headers.upgrade !== undefined ||
  headers["if-match"] !== undefined || headers["if-unmodified-since"] !== undefined ||
  CacheDirectives.parse(headers["cache-control"]).has("no-store")

const bypassed = <E, R>(handler: Handler<E, R>, settings: Settings): Handler<E, R | Request> => {
  const line = statusLine(settings.name, { fwd: "bypass" })
  return Effect.andThen(Exchange.editHead((head) => head.append("Cache-Status", line)), handler)
}

/** A store's operation, and what stands for its result when the store is down: nothing waits for it longer than that. */
const attempt = <A, B>(
  settings: Settings,
  operation: Effect.Effect<A, StoreError>,
  otherwise: B
): Effect.Effect<A | B> =>
  operation.pipe(
    Effect.timeoutOrElse({
      duration: settings.timeout,
      orElse: () => Effect.fail(new StoreError({ cause: new Error(`no answer after ${settings.timeout} ms`) }))
    }),
    Effect.matchCauseEffect({
      onSuccess: (value) => {
        settings.health.down = false
        return Effect.succeed<A | B>(value)
      },
      onFailure: (cause) => {
        if (Cause.hasInterrupts(cause)) return Effect.failCause(cause as Cause.Cause<never>)
        const known = settings.health.down
        settings.health.down = true
        return Effect.as(
          known ? Effect.void : Effect.logWarning("the response cache's store is down", cause),
          otherwise
        )
      }
    })
  )

/** What was found, and under which key a response to this request belongs. */
interface Found {
  readonly key: string
  readonly entry: Entry | undefined
  /** Whether there are responses to other values of the fields that `Vary` names. */
  readonly variants: Extract<Stored, { readonly _tag: "Variants" }> | undefined
}

const lookup = (
  store: Store["Service"],
  settings: Settings,
  key: string,
  headers: Request["headers"]
): Effect.Effect<Found> =>
  Effect.flatMap(attempt(settings, store.get(key), undefined), (stored): Effect.Effect<Found> => {
    if (stored?._tag !== "Variants") return Effect.succeed({ key, entry: stored, variants: undefined })
    const variant = variantKey(key, stored, headers)
    return Effect.map(attempt(settings, store.get(variant), undefined), (found) => ({
      key: variant,
      entry: found?._tag === "Response" ? found : undefined,
      variants: stored
    }))
  })

const cached = <E, R>(handler: Handler<E, R>, settings: Settings, round: number): Handler<E, R | Request | Store> =>
  Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const store = yield* Store
    const clock = yield* Clock.Clock
    const uri = yield* settings.keyOf
    const found = yield* lookup(store, settings, uri, request.headers)
    const now = clock.currentTimeMillisUnsafe()
    const verdict = judge(found, request, now)
    const { entry } = found
    if (verdict === "hit" && entry !== undefined) return fromEntry(entry, request, now, settings, { hit: true })
    const directives = CacheDirectives.parse(request.headers["cache-control"])
    if (directives.has("only-if-cached")) {
      return withStatus(Problem.toResponse({ status: 504 }), settings, { detail: "only-if-cached" })
    }
    const fetch = fetched(handler, settings, store, clock, uri, found)
    if (verdict === "refresh" && entry !== undefined) {
      const refresh = settings.flights.join(found.key, fetch, (outcome) => abandon(outcome))
      yield* Effect.forkIn(
        Effect.catchCause(refresh, (cause) => Effect.logWarning("a cached response could not be refreshed", cause)),
        store.scope
      )
      return fromEntry(entry, request, now, settings, { hit: true })
    }
    const fwd = verdict === "refresh" || verdict === "hit" ? "stale" : verdict
    // RFC 9111, 4: a response to HEAD has no body to keep.
    if (request.method === "HEAD") return withStatus(yield* handler, settings, { fwd })
    const forwarded = settings.flights.join(found.key, fetch, (outcome, led): Effect.Effect<Response | undefined> => {
      const collapsed = !led
      if (outcome._tag === "Live") {
        return Effect.map(takeLive(outcome), (response) => response && withStatus(response, settings, { fwd }))
      }
      const { value } = outcome
      if (selectionOf(value.names, request.headers) !== value.selection) return Effect.undefined
      const made = entryOf(outcome.stored, value)
      return Effect.sync(() =>
        fromEntry(made, request, value.receivedAt, settings, { fwd, stored: value.stored, collapsed }, false)
      )
    })
    // Those that could not share try once more, now that the fields are known that tell them apart; then each for itself.
    const answered = Effect.flatMap(
      forwarded,
      (response): Handler<E, R | Request | Store> =>
        response !== undefined
          ? Effect.succeed(response)
          : round === 0
          ? cached(handler, settings, 1)
          : Effect.map(handler, (response) => withStatus(response, settings, { fwd }))
    )
    return yield* entry === undefined ? answered : orStale(answered, entry, request, clock, settings)
  })

/** What is to be done: send what is there, send it and fetch another, or ask the handler for the reason given. */
const judge = (
  { entry, variants }: Found,
  { headers }: Request,
  now: number
): "hit" | "refresh" | NonNullable<Status["fwd"]> => {
  if (entry === undefined) return variants === undefined ? "uri-miss" : "vary-miss"
  const age = ageOf(entry, now)
  const directives = CacheDirectives.parse(
    headers["cache-control"] ?? (/no-cache/i.test(headers.pragma ?? "") ? "no-cache" : undefined)
  )
  const minFresh = CacheDirectives.seconds(directives, "min-fresh") ?? 0
  const maxAge = CacheDirectives.seconds(directives, "max-age") ?? Infinity
  if (directives.has("no-cache") || age > maxAge || (minFresh > 0 && entry.lifetime - age < minFresh)) return "request"
  if (age < entry.lifetime) return "hit"
  return age < entry.lifetime + entry.staleWhileRevalidate ? "refresh" : "stale"
}

const ageOf = ({ initialAge, storedAt }: Entry, now: number): number => initialAge + Math.max(0, now - storedAt) / 1000

const entryOf = (response: StoredResponse, { freshness, receivedAt }: Shared): Entry => ({
  _tag: "Response",
  response,
  storedAt: receivedAt,
  ...freshness
})

/** The response to a request: a 304 where that is what its conditions ask for. */
const fromEntry = (
  entry: Entry,
  { headers }: Request,
  now: number,
  settings: Settings,
  status: Status,
  reused = true
): Response => {
  const age = ageOf(entry, now)
  const whole = toResponse(entry.response)
  const response = whole.status === 200 && evaluate(headers, validatorsOf(whole), true) === "notModified"
    ? notModified(whole)
    : whole
  const aged = reused || entry.initialAge >= 1
    ? HttpServerResponse.setHeader(response, "age", String(Math.floor(age)))
    : response
  return withStatus(aged, settings, reused ? { ...status, ttl: Math.floor(entry.lifetime - age) } : status)
}

/** Runs the handler apart from the request, and keeps what may be kept. */
const fetched = <E, R>(
  handler: Handler<E, R>,
  settings: Settings,
  store: Store["Service"],
  clock: Clock.Clock,
  uri: string,
  { variants }: Found
): Effect.Effect<Outcome<Shared>, E, R | Request> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const share = (response: Response, credentials: boolean): Shared | undefined => {
      if (isEventStream(response) || (credentials && !settings.allowAuthorization)) return undefined
      const receivedAt = clock.currentTimeMillisUnsafe()
      const freshness = freshnessOf(request, credentials, response, receivedAt)
      if (freshness === undefined) return undefined
      const names = namesOf(response.headers.vary)
      return { freshness, names, selection: selectionOf(names, request.headers), receivedAt, stored: false }
    }
    return Effect.tap(
      sharedRun(handler, { limit: settings.limit, share, without: conditions }),
      (outcome) =>
        outcome._tag === "Live" ? Effect.void : Effect.map(
          attempt(
            settings,
            save(store, uri, request, entryOf(withoutAge(outcome.stored), outcome.value), outcome.value, variants),
            undefined
          ),
          (saved) => {
            outcome.value.stored = saved === true
          }
        )
    )
  })

/** They are evaluated here, so that the handler makes a response for everybody. */
const conditions = ["if-none-match", "if-modified-since", "if-range"]

const withoutAge = ({ body, fields, status }: StoredResponse): StoredResponse => ({
  status,
  fields: Fields.remove(fields, "age"),
  body
})

const save = (
  store: Store["Service"],
  uri: string,
  { headers }: Request,
  entry: Entry,
  { freshness, names }: Shared,
  known: Found["variants"]
): Effect.Effect<true, StoreError> => {
  const millis = timeToLive(freshness, 0) * 1000
  const tags = namesOf(Fields.get(entry.response.fields, "cache-tag"))
  if (names.length === 0) return Effect.as(store.set(uri, entry, millis, tags), true)
  // A new generation lets go of what was kept by other fields.
  const isKnown = known !== undefined && known.names.join() === names.join()
  const variants = isKnown ? known : { _tag: "Variants" as const, names, generation: randomUUID() }
  return Effect.as(
    Effect.andThen(
      store.set(uri, variants, Math.max(millis, variantsMillis), []),
      store.set(variantKey(uri, variants, headers), entry, millis, tags)
    ),
    true
  )
}

/** What tells variants apart is kept longer than most of them. */
const variantsMillis = 86_400_000

/** RFC 5861, 4: a stale response in place of an error. */
const orStale = <E, R>(
  answered: Handler<E, R>,
  entry: Entry,
  request: Request,
  clock: Clock.Clock,
  settings: Settings
): Handler<E, R | Request> => {
  const stale = (status: number): Response | undefined => {
    const now = clock.currentTimeMillisUnsafe()
    const usable = serverErrors.has(status) && ageOf(entry, now) < entry.lifetime + entry.staleIfError
    return usable
      ? fromEntry(entry, request, now, settings, { fwd: "stale", "fwd-status": status, detail: "stale-if-error" })
      : undefined
  }
  return Effect.matchCauseEffect(answered, {
    onSuccess: (response) => Effect.succeed(stale(response.status) ?? response),
    onFailure: (cause) =>
      Effect.flatMap(statusOf(cause), (status): Handler<E, Request> => {
        const response = stale(status)
        return response === undefined
          ? Effect.failCause(cause)
          : Effect.as(Exchange.noteCause(cause), response)
      })
  })
}

const serverErrors: ReadonlySet<number> = new Set([500, 502, 503, 504])

/** The status that a failure is going to have; 0 for an interruption. */
const statusOf = (cause: Cause.Cause<unknown>): Effect.Effect<number> => {
  if (Cause.hasInterrupts(cause)) return Effect.succeed(0)
  const error = Cause.squash(cause)
  return HttpServerRespondable.isRespondable(error)
    ? Effect.map(
      Effect.exit(HttpServerRespondable.toResponse(error)),
      (exit) => exit._tag === "Success" ? exit.value.status : 500
    )
    : Effect.succeed(500)
}

/** RFC 9111, 4.4. */
const invalidating = <E, R>(handler: Handler<E, R>, settings: Settings): Handler<E, R | Request | Store> =>
  Effect.gen(function*() {
    const response = yield* handler
    if (response.status >= 400) return response
    const store = yield* Store
    const uri = yield* settings.keyOf
    const exchange = yield* Exchange.current
    // A handler that wrote its response itself gives only a receipt.
    const fields = exchange.status === undefined ? Fields.fromHeaders(response.headers) : exchange.responseFields
    const named = settings.ownKey ? [] : [Fields.get(fields, "location"), Fields.get(fields, "content-location")]
    for (const key of [uri, ...named.flatMap((reference) => sameOrigin(reference, uri))]) {
      yield* attempt(settings, store.remove(key), undefined)
    }
    return response
  })

const sameOrigin = (reference: string | undefined, uri: string): ReadonlyArray<string> => {
  if (reference === undefined || !URL.canParse(reference, uri)) return []
  const target = new URL(reference, uri)
  return target.origin === new URL(uri).origin ? [`${target.origin}${target.pathname}${target.search}`] : []
}
