/**
 * The Bearer scheme: a token that somebody else has given out, and that only a look-up can tell anything about.
 *
 * **When to use** Opaque tokens: of a session store, of an authorization server that is asked (RFC 7662). For tokens that are
 * signed, take `Jwt`, which answers in the same way.
 *
 * **Details** Answers as RFC 6750, section 3.1 says: without a token 401 and a challenge that names no error; with a field
 * that can't be read, or two tokens, 400 `invalid_request`; with a token that is not accepted 401 `invalid_token`. A scope that
 * is missing is a matter of authorisation: `Policy.scope` answers 403 `insufficient_scope`.
 *
 * **Gotchas** Tokens are read from `Authorization` only. One in the query is not looked at (RFC 9700, 4.3.2), and one in both
 * places is refused.
 *
 * @see https://www.rfc-editor.org/rfc/rfc6750
 * @since 0.1.0
 */
import type * as Middleware from "@sluice/core/Middleware"
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { InvalidCredentials, MalformedCredentials, MissingCredentials } from "./Authentication.ts"
import { bearer } from "./internal/bearer.ts"
import { requireQuotable } from "./internal/options.ts"
import { orRefuse, providing } from "./internal/principal.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<S, E = never, R = never> {
  /** What the token is for. Printable ASCII. */
  readonly realm: string
  /**
   * Finds out whose token it is; `None` refuses it. A failure is the middleware's: it is what answers the request when the
   * token can't be looked up. `ApiKey.table` is one for tokens that are known beforehand.
   */
  readonly verify: (token: Redacted.Redacted) => Effect.Effect<Option.Option<S>, E, R>
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
 * import { BearerAuth } from "@sluice/middleware"
 * import { Effect, Option, Redacted } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * class User extends RequestService.Service<User, string>()("app/User") {}
 *
 * const sessions = new Map([["t-1", "ann"]])
 * const auth = BearerAuth.make(User, {
 *   realm: "orders",
 *   verify: (token) => Effect.sync(() => Option.fromUndefinedOr(sessions.get(Redacted.value(token))))
 * })
 * const Me = Route.get("/me", auth, Effect.map(User, (name) => HttpServerResponse.text(name)))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Me)
 *   const { headers, status } = yield* Effect.promise(() => fetch(new Request("http://localhost/me")))
 *   return `${status} ${headers.get("www-authenticate")}`
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => 401 Bearer realm="orders"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <I, S, E = never, R = never>(
  principal: Context.Key<I, S>,
  options: Options<NoInfer<S>, E, R>
): Middleware.Middleware<
  I,
  MissingCredentials | MalformedCredentials | InvalidCredentials | E,
  R | HttpServerRequest
> => {
  const { invalid, withToken } = bearer(requireQuotable("realm", options.realm))
  const refusal = () => invalid("The token is not accepted")
  const identify = withToken((token) => orRefuse(options.verify(Redacted.make(token, { label: "token" })), refusal))
  return providing("BearerAuth", principal, identify, options.userId)
}
