/**
 * What all ways of authentication have in common: their errors, and how several of them go together.
 *
 * **When to use** A scheme (`BasicAuth`, `BearerAuth`, `Jwt`, `ApiKey`) stands alone in a stack. Where a request may come in by
 * one of several, take {@link anyOf}; where it may come in without any, {@link optional}.
 *
 * **Details** The principal is a class of your own: `class User extends RequestService.Service<User, Claims>()("app/User") {}`.
 * A scheme is made with it and provides it, so a handler or a policy (`Policy`) that needs a `User` compiles only below a
 * scheme that provides one. Credentials are `Redacted` wherever they are handed on, and are in no error.
 *
 * A request has *no* credentials for a scheme also when it has some for another scheme. Credentials that are there and
 * wrong are never the same as none: neither `optional` nor `anyOf` goes on with them.
 *
 * **Gotchas** `Middleware.when(predicate, scheme)` does not compile: on the other requests there would be no principal. Take
 * {@link optional}, whose principal is an `Option`, or a route of its own.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-11
 * @since 0.1.0
 */
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const challenging = ({ challenges }: { readonly challenges: ReadonlyArray<string> }) => ({
  "www-authenticate": challenges.join(", ")
})

/** What the errors of this module hold. */
const members = {
  /** What a client may do about it, as in `WWW-Authenticate` (RFC 9110, 11.6.1). */
  challenges: Schema.Array(Schema.String)
}

/**
 * The request holds no credentials that the scheme could look at: 401.
 *
 * @category errors
 * @since 0.1.0
 */
export class MissingCredentials extends Problem.TaggedError<MissingCredentials>()("MissingCredentials", {
  status: 401,
  title: "Credentials are required",
  headers: challenging
}, members) {}

/**
 * The credentials were read and are not accepted: 401.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidCredentials extends Problem.TaggedError<InvalidCredentials>()("InvalidCredentials", {
  status: 401,
  title: "The credentials are not accepted",
  headers: challenging
}, members) {}

/**
 * The credentials can't be read, or there are several where one is allowed: 400 (RFC 6750, 3.1, `invalid_request`).
 *
 * @category errors
 * @since 0.1.0
 */
export class MalformedCredentials extends Problem.TaggedError<MalformedCredentials>()("MalformedCredentials", {
  status: 400,
  title: "The credentials are malformed",
  headers: challenging
}, members) {}

/**
 * Authenticates those who have credentials and lets everybody else through: provides the principal as an `Option`.
 *
 * **Details** No credentials are `None`; wrong ones are refused as ever, with 401. A handler below it has the `Option` only,
 * and no principal.
 *
 * @example
 * ```ts
 * import { Handler, RequestService, Route } from "@sluice/core"
 * import { ApiKey, Authentication } from "@sluice/middleware"
 * import { Effect, Option, Redacted } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * class User extends RequestService.Service<User, string>()("app/User") {}
 * class Visitor extends RequestService.Service<Visitor, Option.Option<string>>()("app/Visitor") {}
 *
 * const key = ApiKey.make(User, {
 *   in: "header",
 *   name: "x-api-key",
 *   realm: "orders",
 *   verify: ApiKey.table([[Redacted.make("k-1"), "ann"]])
 * })
 * const Hello = Route.get(
 *   "/",
 *   Authentication.optional(Visitor, User, key),
 *   Effect.map(Visitor, (visitor) => HttpServerResponse.text(Option.getOrElse(visitor, () => "whoever you are")))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello)
 *   const ask = (headers: Record<string, string>) =>
 *     Effect.promise(() => fetch(new Request("http://localhost/", { headers })))
 *   const known = yield* ask({ "x-api-key": "k-1" })
 *   const unknown = yield* ask({})
 *   const wrong = yield* ask({ "x-api-key": "k-2" })
 *   return [yield* Effect.promise(() => known.text()), yield* Effect.promise(() => unknown.text()), wrong.status]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => ["ann", "whoever you are", 401]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const optional = <J, I, S, X, Q>(
  maybe: Context.Key<J, Option.Option<S>>,
  principal: Context.Key<I, NoInfer<S>>,
  scheme: Middleware.Middleware<I, X, Q>
): Middleware.Middleware<J, Exclude<X, MissingCredentials>, Q> =>
  // Sound: the principal is read where the scheme provides it, and a failure that is caught is one of `MissingCredentials`.
  Middleware.make(
    `optional(${scheme.label})`,
    ((handler: AnyHandler): AnyHandler => {
      const without = Effect.provideService(handler, maybe, Option.none())
      return Effect.suspend(() => {
        let reached = false
        const known = Effect.flatMap(principal, (found) => {
          reached = true
          return Effect.provideService(handler, maybe, Option.some(found))
        })
        return Effect.catchIf(scheme(known) as AnyHandler, (error) => !reached && isMissing(error), () => without)
      })
    }) as never,
    { response: scheme.response }
  )

type AnyHandler = Effect.Effect<never, unknown, unknown>

const isMissing = (error: unknown): error is MissingCredentials => error instanceof MissingCredentials

/**
 * Takes the first scheme that the request has credentials for, whether they are good or not. A request without any is
 * answered with the challenges of all of them.
 *
 * **Details** It differs from `Middleware.some` in that wrong credentials are the end: an expired token does not become
 * a request by API key. Two schemes that read the same field in the same way (`Jwt` and `BearerAuth`) go together with
 * `Middleware.some`.
 *
 * @example
 * ```ts
 * import { Handler, RequestService, Route } from "@sluice/core"
 * import { Authentication, BasicAuth, BearerAuth } from "@sluice/middleware"
 * import { Effect, Option, Redacted } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * class User extends RequestService.Service<User, string>()("app/User") {}
 *
 * const either = Authentication.anyOf(
 *   BearerAuth.make(User, {
 *     realm: "orders",
 *     verify: (token) => Effect.succeed(Redacted.value(token) === "t-1" ? Option.some("ann") : Option.none())
 *   }),
 *   BasicAuth.make(User, {
 *     realm: "orders",
 *     verify: BasicAuth.table({ ben: { password: Redacted.make("s3cret"), principal: "ben" } })
 *   })
 * )
 * const Hello = Route.get("/", either, Effect.map(User, (name) => HttpServerResponse.text(name)))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello)
 *   const { headers } = yield* Effect.promise(() => fetch(new Request("http://localhost/")))
 *   return headers.get("www-authenticate")
 * })
 * const challenges = await Effect.runPromise(Effect.scoped(program))
 * console.log(challenges) // => Bearer realm="orders", Basic realm="orders", charset="UTF-8"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const anyOf = <const Ms extends readonly [Middleware.Any, ...ReadonlyArray<Middleware.Any>]>(
  ...schemes: Ms
): Middleware.Choice<Ms> => {
  const several = Middleware.some(...schemes)
  // Sound: it provides what every scheme provides, and fails with what one of them fails with.
  return Middleware.make(
    `anyOf(${schemes.map((scheme) => scheme.label).join(" | ")})`,
    ((handler: AnyHandler) => firstPresented(schemes, handler)) as never,
    { response: several.response }
  ) as unknown as Middleware.Choice<Ms>
}

const firstPresented = (schemes: ReadonlyArray<Middleware.Any>, handler: AnyHandler): AnyHandler =>
  Effect.suspend(() => {
    let reached = false
    const marked = Effect.suspend(() => {
      reached = true
      return handler
    })
    const attempt = (at: number, challenges: ReadonlyArray<string>): AnyHandler =>
      at === schemes.length
        ? Effect.fail(new MissingCredentials({ challenges }))
        : Effect.catchIf(
          schemes[at](marked) as AnyHandler,
          (error) => !reached && isMissing(error),
          (error) => attempt(at + 1, [...challenges, ...(error as MissingCredentials).challenges])
        )
    return attempt(0, [])
  })
