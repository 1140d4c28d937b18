/**
 * JSON Web Tokens in the Bearer scheme: the claims of a token that is signed by somebody we trust are the principal.
 *
 * **When to use** Access tokens of an authorization server (RFC 9068), with {@link remoteKeySet}; tokens of other services of
 * one's own, with {@link publicKey} or {@link secret}.
 *
 * **Details** A token is accepted when all of this holds (RFC 8725): its algorithm is one of `algorithms`, the key fits it
 * and the signature is good; `iss` and `aud` are ours; `exp` is there and lies ahead, `nbf` and `iat` do not, give or take
 * `clockSkew`; `typ` is the one that is wanted, if one is; and `claims` decodes it. Time is Effect's clock. Requests are
 * answered as `BearerAuth` does it: 401 `invalid_token` with the reason for a token that is not accepted.
 *
 * When the keys can't be fetched and there are none yet, the answer is {@link KeysUnavailable}, 503: the token may be good.
 * Keys that were fetched once go on to be used while the key set can't be reached.
 *
 * A token whose signature was good is remembered by its digest, together with the key: while the key is the same object, the
 * signature is not verified again, but the times are. Keys that are fetched anew are other objects. There are at most
 * 10,000, those that were used last.
 *
 * **Gotchas** A token is good until it expires, whatever happens in the meantime. A token without `kid` takes a key set in
 * which just one key fits its algorithm.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7519
 * @see https://www.rfc-editor.org/rfc/rfc8725
 * @since 0.1.0
 */
import type * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpClient } from "effect/http/HttpClient"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createLocalJWKSet, decodeProtectedHeader, errors, jwtVerify } from "jose"
import type { CryptoKey, JSONWebKeySet, JWSHeaderParameters, JWTPayload, KeyObject } from "jose"
import { createSecretKey } from "node:crypto"
import type { InvalidCredentials, MalformedCredentials, MissingCredentials } from "./Authentication.ts"
import { bearer } from "./internal/bearer.ts"
import { memo } from "./internal/memo.ts"
import { requireDelay, requireDuration, requireOneOf, requireQuotable } from "./internal/options.ts"
import { providing } from "./internal/principal.ts"
import * as remote from "./internal/remoteKeySet.ts"
import { settled } from "./internal/settled.ts"
import * as VerifiedTokens from "./internal/verifiedTokens.ts"

/**
 * A signature algorithm (RFC 7518, 3.1; RFC 8037; RFC 9864). There is no `none`.
 *
 * @category models
 * @since 0.1.0
 */
export type Algorithm = typeof symmetric[number] | typeof asymmetric[number]

const symmetric = ["HS256", "HS384", "HS512"] as const
const asymmetric = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519"
] as const

/**
 * The keys could not be fetched, so nothing can be said about the token: 503.
 *
 * @category errors
 * @since 0.1.0
 */
export class KeysUnavailable extends Problem.Opaque<{ readonly cause: unknown }>()("KeysUnavailable", {
  status: 503,
  title: "Credentials can't be checked now",
  headers: () => ({ "retry-after": "1" })
}) {}

type Key = CryptoKey | KeyObject | Uint8Array

/**
 * Where the keys come from; what finding them takes is in the type.
 *
 * @category models
 * @since 0.1.0
 */
export interface Keys<out R = never> {
  readonly "~sluice/middleware/Jwt/Keys": {
    /** Refuses algorithms that keys of this kind must not be used with. */
    readonly check: (algorithm: Algorithm) => void
    readonly find: (header: JWSHeaderParameters) => Effect.Effect<Key | undefined, KeysUnavailable, R>
  }
}

const keys = <R>(
  check: (algorithm: Algorithm) => void,
  find: (header: JWSHeaderParameters) => Effect.Effect<Key | undefined, KeysUnavailable, R>
): Keys<R> => ({ "~sluice/middleware/Jwt/Keys": { check, find } })

/** A public key is no secret: with it as one, anybody could sign. */
const requireAsymmetric = (algorithm: Algorithm): void => {
  requireOneOf<Algorithm>("algorithms", algorithm, asymmetric)
}

/**
 * One shared secret, for `HS256`, `HS384` and `HS512` only. It must be as long as the hash (RFC 7518, 3.2): 32, 48 or 64
 * bytes, or {@link make} throws a `RangeError`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const secret = (secret: Redacted.Redacted<string | Uint8Array>): Keys => {
  const value = Redacted.value(secret)
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value
  let found: Effect.Effect<KeyObject> | undefined
  return keys((algorithm) => {
    requireOneOf<Algorithm>("algorithms", algorithm, symmetric)
    const least = Number(algorithm.slice(2)) / 8
    if (bytes.length < least) {
      throw new RangeError(`keys must be a secret of at least ${least} bytes for ${algorithm}, got ${bytes.length}`)
    }
  }, () => found ??= Effect.succeed(createSecretKey(bytes)))
}

/**
 * One public key, whatever `kid` a token names. Throws a `TypeError` for a private or a secret key.
 *
 * @category constructors
 * @since 0.1.0
 */
export const publicKey = (key: CryptoKey | KeyObject): Keys => {
  if (key.type !== "public") throw new TypeError(`keys must be a public key, got a ${key.type} one`)
  const found = Effect.succeed(key)
  return keys(requireAsymmetric, () => found)
}

/**
 * A JSON Web Key Set (RFC 7517, 5) that is known beforehand. Throws a `TypeError` when it is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keySet = (set: JSONWebKeySet): Keys => {
  const find = createKeySet(set)
  return keys(requireAsymmetric, (header) => remote.keyFor(find, header))
}

const createKeySet = (set: JSONWebKeySet): remote.Find => {
  try {
    return createLocalJWKSet(set)
  } catch (cause) {
    throw new TypeError("keys must be a JSON Web Key Set", { cause })
  }
}

/**
 * Settings of {@link remoteKeySet}.
 *
 * @category models
 * @since 0.1.0
 */
export interface RemoteOptions {
  /** How long a fetch may take. @default "5 seconds" */
  readonly timeout?: Duration.Input
  /** How long keys are used before they are fetched anew; longer when that fails. @default "10 minutes" */
  readonly maxAge?: Duration.Input
  /**
   * The least time between two fetches that tokens with an unknown `kid` ask for, and between two that fail while there are
   * keys. @default "30 seconds"
   */
  readonly cooldown?: Duration.Input
}

/**
 * The JSON Web Key Set at a URL, fetched with the application's `HttpClient` when the first token comes.
 *
 * **Details** Requests that come at once wait for one fetch. A `kid` that is not in the set has it fetched once more, and
 * then not again before `cooldown` is over. A fetch that fails is logged as a warning; without any keys the next one is
 * tried a second later. A `kid` that is not in the set while it can't be reached is answered 503, too: it may be new. Throws a `TypeError` for a URL that is neither `http:` nor `https:`, and a `RangeError` for a duration
 * that is not positive.
 *
 * @category constructors
 * @since 0.1.0
 */
export const remoteKeySet = (url: string | URL, options: RemoteOptions = {}): Keys<HttpClient> => {
  const parsed = new URL(url)
  if (!/^https?:$/.test(parsed.protocol)) throw new TypeError(`url must be http: or https:, got ${parsed.protocol}`)
  const set = remote.make(parsed, {
    timeout: requireDuration("timeout", options.timeout ?? "5 seconds"),
    maxAge: requireDuration("maxAge", options.maxAge ?? "10 minutes"),
    cooldown: requireDuration("cooldown", options.cooldown ?? "30 seconds")
  })
  return keys(requireAsymmetric, (header) => findIn(set, header))
}

const findIn = (
  set: remote.RemoteKeySet,
  header: JWSHeaderParameters
): Effect.Effect<Key | undefined, KeysUnavailable, HttpClient> =>
  Effect.flatMap(
    set.keys,
    (find) =>
      find === undefined ? Effect.fail(new KeysUnavailable({ cause: set.trouble() })) : Effect.flatMap(
        remote.keyFor(find, header),
        (key) => key === undefined ? findInNewer(set, header, find) : Effect.succeed(key)
      )
  )

const findInNewer = (
  set: remote.RemoteKeySet,
  header: JWSHeaderParameters,
  find: remote.Find
): Effect.Effect<Key | undefined, KeysUnavailable, HttpClient> =>
  Effect.gen(function*() {
    const newer = yield* set.newer(find)
    const found = newer === undefined || newer === find ? undefined : yield* remote.keyFor(newer, header)
    // The key may be one that is too new for us.
    if (found === undefined && set.trouble() !== undefined) return yield* new KeysUnavailable({ cause: set.trouble() })
    return found
  })

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<S, RD = never, R = never> {
  /** What the token is for. Printable ASCII. */
  readonly realm: string
  /** {@link remoteKeySet}, {@link keySet}, {@link publicKey} or {@link secret}. */
  readonly keys: Keys<R>
  /** The algorithms that are accepted, at least one. Each must go with the kind of `keys`. */
  readonly algorithms: ReadonlyArray<Algorithm>
  /** Who may have made the token: `iss` is one of these. */
  readonly issuer: string | ReadonlyArray<string>
  /** Who we are: `aud` holds one of these. */
  readonly audience: string | ReadonlyArray<string>
  /** Makes the principal of the claims; a token that it refuses is not accepted. */
  readonly claims: Schema.ConstraintDecoder<S, RD>
  /** The type that the token's header must name, such as `at+jwt` (RFC 9068, 4). @default any */
  readonly typ?: string
  /** How far clocks may differ, for `exp`, `nbf` and `iat`. Whole seconds count. @default "30 seconds" */
  readonly clockSkew?: Duration.Input
  /** Whose request it is, for reports (`user`), spans and observers (`user.id`). @default nothing is said */
  readonly userId?: (principal: S) => string
}

/**
 * Provides the principal: the claims, decoded.
 *
 * **Details** Throws a `RangeError` that names the option when `algorithms`, `issuer` or `audience` is empty, when an algorithm
 * does not go with the keys (a secret with `RS256`, a public key with `HS256`), and when `realm` is not printable ASCII.
 *
 * @example
 * ```ts
 * import { Handler, RequestService, Route } from "@sluice/core"
 * import { Jwt } from "@sluice/middleware"
 * import { Effect, Redacted, Schema } from "effect"
 * import { HttpServerResponse } from "effect/http"
 * import { createHmac } from "node:crypto"
 *
 * const Claims = Schema.Struct({ sub: Schema.String, scope: Schema.String })
 * class User extends RequestService.Service<User, typeof Claims.Type>()("app/User") {}
 *
 * const shared = "a secret that is at least 32 bytes long"
 * const auth = Jwt.make(User, {
 *   realm: "orders",
 *   keys: Jwt.secret(Redacted.make(shared)),
 *   algorithms: ["HS256"],
 *   issuer: "https://id.test",
 *   audience: "orders",
 *   claims: Claims,
 *   userId: (user) => user.sub
 * })
 * const Me = Route.get("/me", auth, Effect.map(User, (user) => HttpServerResponse.text(`${user.sub}: ${user.scope}`)))
 *
 * const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
 * const exp = Math.floor(Date.now() / 1000) + 300
 * const claims = { iss: "https://id.test", aud: "orders", exp, sub: "ann", scope: "orders:read" }
 * const signed = `${part({ alg: "HS256" })}.${part(claims)}`
 * const token = `${signed}.${createHmac("sha256", shared).update(signed).digest("base64url")}`
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Me)
 *   const headers = { authorization: `Bearer ${token}` }
 *   const reply = yield* Effect.promise(() => fetch(new Request("http://localhost/me", { headers })))
 *   return yield* Effect.promise(() => reply.text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => ann: orders:read
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <I, S, RD = never, R = never>(
  principal: Context.Key<I, S>,
  options: Options<NoInfer<S>, RD, R>
): Middleware.Middleware<
  I,
  MissingCredentials | MalformedCredentials | InvalidCredentials | KeysUnavailable,
  R | RD | HttpServerRequest
> => {
  const { invalid, withToken } = bearer(requireQuotable("realm", options.realm))
  const verify = verifier(options, invalid)
  const decode = Schema.decodeUnknownEffect(options.claims)
  const unacceptable = () => Effect.fail(invalid("The claims are not accepted"))
  const principalOf = (claims: JWTPayload) => {
    const decoded = decode(claims)
    // Most schemas have decoded already.
    const exit = settled(decoded)
    return exit?._tag === "Success" ? Effect.succeed(exit.value) : Effect.catchTag(decoded, "SchemaError", unacceptable)
  }
  const identify = withToken((token) => Effect.flatMap(verify(token), principalOf))
  return providing("Jwt", principal, identify, options.userId)
}

/** The claims of a token, or why it is not accepted, in words that hold nothing of it. */
const verifier = <R>(
  options: Omit<Options<unknown, never, R>, "claims" | "userId">,
  invalid: (reason: string) => InvalidCredentials
) => {
  const { check, find } = options.keys["~sluice/middleware/Jwt/Keys"]
  const algorithms = [...requireSome("algorithms", options.algorithms)]
  algorithms.forEach(check)
  const skew = Math.trunc(requireDelay("clockSkew", options.clockSkew ?? "30 seconds") / 1000)
  const settings = {
    algorithms,
    issuer: [...requireSome("issuer", listOf(options.issuer))],
    audience: [...requireSome("audience", listOf(options.audience))],
    requiredClaims: ["exp"],
    clockTolerance: skew,
    ...(options.typ === undefined ? undefined : { typ: options.typ })
  }
  const verified = VerifiedTokens.make<Key>(mostVerified)
  const refuse = (reason: string) => Effect.fail(invalid(reason))
  const verifyAnew = (token: string, key: Key, now: number) =>
    Effect.flatMap(
      Effect.tryPromise({
        try: () => jwtVerify(token, key, { ...settings, currentDate: new Date(now) }),
        catch: (error) => invalid(reasonOf(error))
      }),
      ({ payload }) => {
        if (!isIssuedBy(payload, now / 1000 + skew)) return refuse("The claim iat is not accepted")
        verified.add(token, key)
        return Effect.succeed(payload)
      }
    )
  const verify = (token: string, claims: string, key: Key): Effect.Effect<JWTPayload, InvalidCredentials> =>
    Effect.clockWith((clock) => {
      const now = clock.currentTimeMillisUnsafe()
      const payload = verified.has(token, key) ? readClaims(claims) : undefined
      return payload !== undefined && isTimely(payload, now, skew)
        ? Effect.succeed(payload)
        : verifyAnew(token, key, now)
    })
  return (token: string): Effect.Effect<JWTPayload, InvalidCredentials | KeysUnavailable, R> => {
    const parts = token.split(".")
    const header = parts.length === 3 || parts.length === 5 ? readHeader(parts[0]) : undefined
    if (header === undefined) return refuse(unreadable)
    // Before the key is looked for: whoever sends nonsense must not make us fetch keys.
    if (!algorithms.some((algorithm) => algorithm === header.alg)) return refuse("The algorithm is not accepted")
    return Effect.flatMap(
      find(header),
      (key) => key === undefined ? refuse("The key is not known") : verify(token, parts[1], key)
    )
  }
}

/** How many tokens are remembered whose signature was good. One takes some 150 bytes. */
const mostVerified = 10_000

/** The same object for the same header; `undefined` when it can't be read. */
const readHeader = memo((part): JWSHeaderParameters | undefined => {
  try {
    return decodeProtectedHeader(`${part}..`)
  } catch {
    return undefined
  }
})

/** The claims of a token that jose has read before. They are read anew, so that no request has another's object. */
const readClaims = (part: string): JWTPayload | undefined => {
  try {
    // Sound: jose has refused what is no object.
    return JSON.parse(Buffer.from(part, "base64url").toString()) as JWTPayload
  } catch {
    return undefined
  }
}

/** Whether a token that was accepted is so now: nothing else in it can have changed. */
const isTimely = (payload: JWTPayload, now: number, skew: number): boolean => {
  const { exp = -Infinity, nbf = -Infinity } = payload
  const seconds = Math.floor(now / 1000)
  return exp > seconds - skew && nbf <= seconds + skew && isIssuedBy(payload, now / 1000 + skew)
}

const isIssuedBy = ({ iat }: JWTPayload, latest: number): boolean =>
  iat === undefined || typeof iat === "number" && iat <= latest

const unreadable = "The token can't be read"

const reasonOf = (error: unknown): string => {
  if (error instanceof errors.JWTExpired) return "The token has expired"
  if (error instanceof errors.JWTClaimValidationFailed) return `The claim ${error.claim} is not accepted`
  if (error instanceof errors.JWSSignatureVerificationFailed) return "The signature is not valid"
  return unreadable
}

const listOf = (value: string | ReadonlyArray<string>): ReadonlyArray<string> =>
  typeof value === "string" ? [value] : value

const requireSome = <A extends string>(name: string, values: ReadonlyArray<A>): ReadonlyArray<A> => {
  if (values.length > 0 && values.every((value) => value !== "")) return values
  throw new RangeError(`${name} must not be empty`)
}
