/**
 * A key in a field, a query parameter or a cookie.
 *
 * **When to use** Programs of customers, which get one long random key each. Prefer a field: a query ends up in the logs of
 * whoever is on the way.
 *
 * **Details** Without a key, with a wrong one, and with two of them the answer is 401 with the challenge `ApiKey realm="…"`; there
 * is no registered scheme, so clients show it to people at best. The name of the field or parameter is blanked in the
 * reports of `Reporting`, whatever it is; `AccessLog` writes neither.
 *
 * **Gotchas** Reports that are made elsewhere know the usual names (`x-api-key`, `api_key`, `token`); others take
 * `Headers.CurrentRedactedNames` and `UrlParams.CurrentRedactedNames`. A key in a cookie is sent by browsers without being
 * asked: such routes need protection against forged requests.
 *
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type * as Middleware from "@sluice/core/Middleware"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { InvalidCredentials, MissingCredentials } from "./Authentication.ts"
import { challenge } from "./internal/authorization.ts"
import { cookieValues } from "./internal/cookieValues.ts"
import { blindDigest, sha256 } from "./internal/digest.ts"
import { requireFieldName, requireOneOf, requireQuotable } from "./internal/options.ts"
import { orRefuse, providing } from "./internal/principal.ts"
import { noteSecretName } from "./internal/secretNames.ts"

/**
 * Finds out whose key it is; `None` refuses it. A failure is the middleware's: it is what answers the request when the key
 * can't be looked up.
 *
 * @category models
 * @since 0.1.0
 */
export type Verify<S, E = never, R = never> = (key: Redacted.Redacted) => Effect.Effect<Option.Option<S>, E, R>

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<S, E = never, R = never> {
  /** Where the key is. */
  readonly in: "header" | "query" | "cookie"
  /** The name of the field, parameter or cookie. A field's has no case. */
  readonly name: string
  /** What the key is for. Printable ASCII. */
  readonly realm: string
  /** {@link table}, or an Effect of your own. Compare in constant time. */
  readonly verify: Verify<S, E, R>
  /** Whose request it is, for reports (`user`), spans and observers (`user.id`). @default nothing is said */
  readonly userId?: (principal: S) => string
}

/**
 * Provides the principal.
 *
 * **Details** Throws a `RangeError` that names the option when `name` can't be a field's, parameter's or cookie's, or when
 * `realm` is not printable ASCII.
 *
 * @example
 * ```ts
 * import { Handler, RequestService, Route } from "@sluice/core"
 * import { ApiKey } from "@sluice/middleware"
 * import { Effect, Redacted } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * class Customer extends RequestService.Service<Customer, string>()("app/Customer") {}
 *
 * const auth = ApiKey.make(Customer, {
 *   in: "query",
 *   name: "key",
 *   realm: "maps",
 *   verify: ApiKey.table([[Redacted.make("k-1"), "acme"]])
 * })
 * const Tiles = Route.get("/tiles", auth, Effect.map(Customer, (name) => HttpServerResponse.text(`tiles for ${name}`)))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Tiles)
 *   const reply = yield* Effect.promise(() => fetch(new Request("http://localhost/tiles?key=k-1")))
 *   return yield* Effect.promise(() => reply.text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => tiles for acme
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <I, S, E = never, R = never>(
  principal: Context.Key<I, S>,
  options: Options<NoInfer<S>, E, R>
): Middleware.Middleware<I, MissingCredentials | InvalidCredentials | E, R | HttpServerRequest> => {
  const place = requireOneOf("in", options.in, ["header", "query", "cookie"])
  const name = place === "query" ? requireParameter(options.name) : requireFieldName("name", options.name)
  const challenges = [challenge("ApiKey", { realm: requireQuotable("realm", options.realm) })]
  const keysOf = readers[place]
  // Cookies are blanked as a whole.
  if (place !== "cookie") noteSecretName(place, name)
  const refusal = () => new InvalidCredentials({ challenges })
  const identify = Effect.withFiber(
    (fiber): Effect.Effect<S, MissingCredentials | InvalidCredentials | E, R> => {
      const exchange = Exchange.currentUnsafe(fiber)
      const keys = keysOf(exchange, name)
      if (keys.length === 0) return Effect.fail(new MissingCredentials({ challenges }))
      const verified = keys.length === 1 && keys[0] !== ""
        ? options.verify(Redacted.make(keys[0], { label: "key" }))
        : Effect.succeed(Option.none())
      return orRefuse(verified, refusal)
    }
  )
  return providing(`ApiKey(${place} ${name})`, principal, identify, options.userId)
}

const requireParameter = (name: string): string => {
  if (name !== "") return name
  throw new RangeError("name must not be empty")
}

const readers: {
  readonly [P in Options<never>["in"]]: (exchange: Exchange.Exchange, name: string) => ReadonlyArray<string>
} = {
  header: (exchange, name) => Fields.getAll(exchange.requestFields, name),
  query: ({ target }, name) => {
    const query = target.indexOf("?")
    return query === -1 ? [] : new URLSearchParams(target.slice(query + 1)).getAll(name)
  },
  cookie: (exchange, name) => cookieValues(exchange.requestFields, name)
}

/**
 * Verifies against keys that are known beforehand.
 *
 * **Details** A key is given `Redacted`, or as the 64 hexadecimal digits of its SHA-256 digest: enough for long random keys,
 * and then the configuration holds none. Only digests are kept and compared, so how long it takes tells nothing. Throws a
 * `RangeError` for an empty or repeated key and for a string that is no digest.
 *
 * @example
 * ```ts
 * import { ApiKey } from "@sluice/middleware"
 * import { Effect, Option, Redacted } from "effect"
 *
 * const verify = ApiKey.table([
 *   [Redacted.make("k-1"), "ann"],
 *   ["51df0b58dd60e24cadda9adfe32be1cdfe8a14d2e91a1e9ab00f69c5bcfad2d9", "ben"]
 * ])
 * const name = await Effect.runPromise(verify(Redacted.make("k-1")))
 * console.log(Option.getOrNull(name)) // => ann
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const table = <S>(
  keys: ReadonlyArray<readonly [key: Redacted.Redacted | string, principal: S]>
): Verify<S> => {
  const byDigest = new Map<string, Option.Option<S>>()
  const byKey = new Map<string, Option.Option<S>>()
  keys.forEach(([key, principal], index) => {
    const place = blindDigest(requireDigest(`keys[${index}]`, key))
    if (byDigest.has(place)) throw new RangeError(`keys[${index}] must not be there before`)
    const found = Option.some(principal)
    byDigest.set(place, found)
    if (typeof key !== "string") byKey.set(blindDigest(Redacted.value(key)), found)
  })
  // Where all keys are known themselves, one digest is enough.
  const onlyKeys = byKey.size === byDigest.size
  const find = (key: string): Option.Option<S> | undefined =>
    byKey.get(blindDigest(key)) ?? (onlyKeys ? undefined : byDigest.get(blindDigest(sha256(key))))
  return (key) => Effect.succeed(find(Redacted.value(key)) ?? Option.none())
}

const requireDigest = (name: string, key: Redacted.Redacted | string): string => {
  if (typeof key === "string") {
    if (/^[\da-f]{64}$/i.test(key)) return key.toLowerCase()
    throw new RangeError(`${name} must be Redacted, or a SHA-256 digest of 64 hexadecimal digits`)
  }
  const secret = Redacted.value(key)
  if (secret === "") throw new RangeError(`${name} must not be empty`)
  return sha256(secret)
}
