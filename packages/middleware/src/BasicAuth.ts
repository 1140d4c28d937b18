/**
 * The Basic scheme: a user name and a password with every request.
 *
 * **When to use** Machines, and pages that only a few people see, over TLS: the password is readable for whoever reads the
 * request.
 *
 * **Details** Names and passwords are UTF-8, as the challenge says (`charset="UTF-8"`). The first colon ends the name; a password
 * may contain more. What is not Base64 of UTF-8 without control characters is refused with 401, like a wrong password.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7617
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import type * as Middleware from "@sluice/core/Middleware"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { InvalidCredentials, MissingCredentials } from "./Authentication.ts"
import { challenge, credentialsIn } from "./internal/authorization.ts"
import { basicCredentials } from "./internal/basicCredentials.ts"
import { blindDigest } from "./internal/digest.ts"
import { requireQuotable } from "./internal/options.ts"
import * as passwordHash from "./internal/passwordHash.ts"
import { orRefuse, providing } from "./internal/principal.ts"

/**
 * What a client sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Credentials {
  /** Without colons and control characters; it may be empty. */
  readonly username: string
  readonly password: Redacted.Redacted
}

/**
 * Finds out whose credentials they are; `None` refuses them. A failure is the middleware's: it is what answers the request
 * when the users can't be looked up.
 *
 * @category models
 * @since 0.1.0
 */
export type Verify<S, E = never, R = never> = (credentials: Credentials) => Effect.Effect<Option.Option<S>, E, R>

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<S, E = never, R = never> {
  /** What the credentials are for; browsers show it and remember passwords by it. Printable ASCII. */
  readonly realm: string
  /** {@link table}, or an Effect of your own. Compare in constant time. */
  readonly verify: Verify<S, E, R>
  /** Whose request it is, for reports (`user`), spans and observers (`user.id`). @default nothing is said */
  readonly userId?: (principal: S) => string
}

/**
 * Provides the principal.
 *
 * **Details** Throws a `RangeError` when `realm` is not printable ASCII.
 *
 * @example
 * ```ts
 * import { Handler, RequestService, Route } from "@sluice/core"
 * import { BasicAuth } from "@sluice/middleware"
 * import { Effect, Redacted } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * class User extends RequestService.Service<User, { readonly name: string }>()("app/User") {}
 *
 * const auth = BasicAuth.make(User, {
 *   realm: "back office",
 *   verify: BasicAuth.table({ ann: { password: Redacted.make("pass:word"), principal: { name: "Ann" } } }),
 *   userId: (user) => user.name
 * })
 * const Me = Route.get("/me", auth, Effect.map(User, (user) => HttpServerResponse.text(user.name)))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Me)
 *   const headers = { authorization: `Basic ${btoa("ann:pass:word")}` }
 *   const reply = yield* Effect.promise(() => fetch(new Request("http://localhost/me", { headers })))
 *   return yield* Effect.promise(() => reply.text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => Ann
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <I, S, E = never, R = never>(
  principal: Context.Key<I, S>,
  options: Options<NoInfer<S>, E, R>
): Middleware.Middleware<I, MissingCredentials | InvalidCredentials | E, R | HttpServerRequest> => {
  const realm = requireQuotable("realm", options.realm)
  const challenges = [challenge("Basic", { realm, charset: "UTF-8" })]
  const refusal = () => new InvalidCredentials({ challenges })
  const identify = Effect.withFiber(
    (fiber): Effect.Effect<S, MissingCredentials | InvalidCredentials | E, R> => {
      const exchange = Exchange.currentUnsafe(fiber)
      const text = credentialsIn(exchange.requestFields, "basic")
      if (text === undefined) return Effect.fail(new MissingCredentials({ challenges }))
      const credentials = basicCredentials(text)
      return credentials === undefined ? Effect.fail(refusal()) : orRefuse(options.verify(credentials), refusal)
    }
  )
  return providing("BasicAuth", principal, identify, options.userId)
}

/**
 * A user of a {@link table}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry<S> {
  /** The password itself, `Redacted`, or what {@link hash} made of it. */
  readonly password: Redacted.Redacted | string
  readonly principal: S
}

/**
 * Verifies against users that are known beforehand, by name.
 *
 * **Details** How long it takes depends neither on where a password differs nor on whether there is such a user, if all
 * passwords are given in the same way. Names and passwords are compared in Unicode's form NFC. Throws a `RangeError` for an
 * empty table, a name with a colon, and a string that {@link hash} has not made.
 *
 * **Gotchas** A hashed password costs what its hash costs (some 50 ms of a thread and 32 MiB) with every request.
 *
 * @category constructors
 * @since 0.1.0
 */
export const table = <S>(users: Readonly<Record<string, Entry<S>>>): Verify<S> => {
  const entries = new Map(
    Object.entries(users).map(([name, { password, principal }]) => {
      if (name.includes(":")) throw new RangeError(`users must have names without a colon, got ${JSON.stringify(name)}`)
      return [name.normalize("NFC"), { matches: matcher(name, password), principal }] as const
    })
  )
  const [anybody] = entries.values()
  if (anybody === undefined) throw new RangeError("users must not be empty")
  return ({ password, username }) => {
    const entry = entries.get(username.normalize("NFC"))
    const principal = (matches: boolean): Option.Option<S> =>
      matches && entry !== undefined ? Option.some(entry.principal) : Option.none()
    // Somebody's password is compared for a user that does not exist, too: the time must not tell.
    const matches = (entry ?? anybody).matches(Redacted.value(password).normalize("NFC"))
    return typeof matches === "boolean" ? Effect.succeed(principal(matches)) : Effect.map(matches, principal)
  }
}

type Matcher = (sent: string) => boolean | Effect.Effect<boolean>

const matcher = (name: string, password: Redacted.Redacted | string): Matcher => {
  if (typeof password !== "string") {
    const wanted = blindDigest(Redacted.value(password).normalize("NFC"))
    return (sent) => blindDigest(sent) === wanted
  }
  const parsed = passwordHash.parse(password)
  if (parsed === undefined) {
    throw new RangeError(`users.${name}.password must be Redacted, or a hash that BasicAuth.hash has made`)
  }
  return (sent) => passwordHash.verify(parsed, sent)
}

/**
 * The scrypt hash of a password with a random salt, for a {@link table} that holds no passwords: a string in the PHC format,
 * `$scrypt$ln=15,r=8,p=1$…`.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7914
 * @category constructors
 * @since 0.1.0
 */
export const hash = (password: Redacted.Redacted): Effect.Effect<string> =>
  passwordHash.make(Redacted.value(password).normalize("NFC"))
