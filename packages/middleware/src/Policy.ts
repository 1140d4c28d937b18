/**
 * Who may do what: decisions about a principal that somebody above has authenticated.
 *
 * **When to use** {@link enforce} a policy in the stack of a route or a group. {@link narrow} is for handlers that need more than
 * a decision: it provides a service of a narrower type, so a handler that takes an `Admin` can't be mounted where nobody has
 * made sure that there is one.
 *
 * **Details** A policy is a value; {@link all}, {@link any} and {@link not} make one of others. It requires the principal: a stack in
 * which no scheme stands above it does not compile. Policies belong to routes, not to paths: the stack of a route holds
 * for every spelling of its path.
 *
 * A request that is denied is answered 403, with {@link Forbidden} or {@link InsufficientScope}, or, if nobody is to learn that
 * there is something, 404 (RFC 9110, 15.5.4).
 *
 * @since 0.1.0
 */
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Route from "@sluice/core/Route"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { challenge } from "./internal/authorization.ts"

/**
 * The principal may not do this: 403.
 *
 * @category errors
 * @since 0.1.0
 */
export class Forbidden extends Problem.TaggedError<Forbidden>()("Forbidden", { status: 403 }) {}

/**
 * The token does not cover this: 403, and the challenge says what would (RFC 6750, 3.1).
 *
 * @category errors
 * @since 0.1.0
 */
export class InsufficientScope extends Problem.TaggedError<InsufficientScope>()("InsufficientScope", {
  status: 403,
  title: "The token's scope is not enough",
  headers: ({ scope }) => ({ "www-authenticate": challenge("Bearer", { error: "insufficient_scope", scope }) })
}, {
  /** The scopes that the request takes, with spaces between them. */
  scope: Schema.String
}) {}

/**
 * Why a policy says no.
 *
 * @category models
 * @since 0.1.0
 */
export type Denial = Forbidden | InsufficientScope

/**
 * A decision about the request that is being handled: `undefined` is a yes. What it takes is in `R`, the principal included.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy<out E = never, out R = never> {
  /** How it is called in a printed pipeline. */
  readonly label: string
  readonly decide: Effect.Effect<Denial | undefined, E, R>
}

/**
 * A policy of a predicate on the principal, which may be an Effect that looks something up.
 *
 * @example
 * ```ts
 * import { RequestService } from "@sluice/core"
 * import { Policy } from "@sluice/middleware"
 *
 * class User extends RequestService.Service<User, { readonly roles: ReadonlyArray<string>; readonly blocked: boolean }>()(
 *   "app/User"
 * ) {}
 *
 * const staff = Policy.make("staff", User, (user) => user.roles.includes("staff"))
 * const blocked = Policy.make("blocked", User, (user) => user.blocked)
 * const policy = Policy.enforce(Policy.all(staff, Policy.not(blocked)))
 * console.log(policy.label) // => Policy(all(staff, not(blocked)))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <I, S, E = never, R = never>(
  label: string,
  principal: Context.Key<I, S>,
  allows: (principal: S) => boolean | Effect.Effect<boolean, E, R>
): Policy<E, I | R> => ({
  label,
  decide: Effect.flatMap(principal, (found) => {
    const verdict = allows(found)
    return Effect.isEffect(verdict) ? Effect.map(verdict, denialUnless) : Effect.succeed(denialUnless(verdict))
  })
})

const denialUnless = (allowed: boolean): Denial | undefined => allowed ? undefined : new Forbidden()

/**
 * A policy that wants every one of some scopes; `scopesOf` is a list, or the text that an OAuth `scope` claim is (RFC 8693, 4.2).
 *
 * **Details** It denies with {@link InsufficientScope}. Throws a `RangeError` for what can't be a scope (RFC 6749, 3.3).
 *
 * @example
 * ```ts
 * import { RequestService } from "@sluice/core"
 * import { Policy } from "@sluice/middleware"
 *
 * class User extends RequestService.Service<User, { readonly scope: string }>()("app/User") {}
 *
 * const write = Policy.enforce(Policy.scope(User, (user) => user.scope, "orders:write"))
 * console.log(write.label) // => Policy(scope(orders:write))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const scope = <I, S>(
  principal: Context.Key<I, S>,
  scopesOf: (principal: S) => string | Iterable<string>,
  ...required: readonly [string, ...ReadonlyArray<string>]
): Policy<never, I> => {
  for (const one of required) {
    if (!/^[\x21\x23-\x5b\x5d-\x7e]+$/.test(one)) {
      throw new RangeError(`required must be scopes, got ${JSON.stringify(one)}`)
    }
  }
  const text = required.join(" ")
  return {
    label: `scope(${text})`,
    decide: Effect.map(principal, (found) => {
      const scopes = scopesOf(found)
      const held = new Set(typeof scopes === "string" ? scopes.split(" ") : scopes)
      return required.every((one) => held.has(one)) ? undefined : new InsufficientScope({ scope: text })
    })
  }
}

type Failure<P> = P extends Policy<infer E, unknown> ? E : never
type Needs<P> = P extends Policy<unknown, infer R> ? R : never

// oxlint-disable-next-line no-explicit-any -- both parameters are covariant: `any` only says "whatever they are"
type AnyPolicy = Policy<any, any>

/**
 * Allows what every one of them allows; the first that does not says why. The others are not asked then.
 *
 * @category combinators
 * @since 0.1.0
 */
export const all = <const Ps extends readonly [AnyPolicy, ...ReadonlyArray<AnyPolicy>]>(
  ...policies: Ps
): Policy<Failure<Ps[number]>, Needs<Ps[number]>> => ({
  label: `all(${labels(policies)})`,
  decide: Effect.gen(function*() {
    for (const policy of policies) {
      const denial = yield* policy.decide
      if (denial !== undefined) return denial
    }
    return undefined
  })
})

/**
 * Allows what one of them allows; the first says why not. The others are not asked when one allows it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const any = <const Ps extends readonly [AnyPolicy, ...ReadonlyArray<AnyPolicy>]>(
  ...policies: Ps
): Policy<Failure<Ps[number]>, Needs<Ps[number]>> => ({
  label: `any(${labels(policies)})`,
  decide: Effect.gen(function*() {
    const denials: Array<Denial> = []
    for (const policy of policies) {
      const denial = yield* policy.decide
      if (denial === undefined) return undefined
      denials.push(denial)
    }
    return denials[0]
  })
})

const labels = (policies: ReadonlyArray<AnyPolicy>): string => policies.map((policy) => policy.label).join(", ")

/**
 * Allows what the other denies.
 *
 * @category combinators
 * @since 0.1.0
 */
export const not = <E, R>(policy: Policy<E, R>): Policy<E, R> => ({
  label: `not(${policy.label})`,
  decide: Effect.map(policy.decide, (denial) => denialUnless(denial !== undefined))
})

/**
 * Settings of {@link enforce} and {@link narrow}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Whether a denial looks like a path that does not exist: 404 in place of 403. @default false */
  readonly conceal?: boolean
}

/**
 * Lets through what the policy allows.
 *
 * @example
 * ```ts
 * import { Handler, Middleware, RequestService, Route } from "@sluice/core"
 * import { Policy } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * class User extends RequestService.Service<User, string>()("app/User") {}
 *
 * const auth = Middleware.provide(User, Effect.succeed("ben"))
 * const ann = Policy.make("ann", User, (name) => name === "ann")
 * const Diary = Route.get(
 *   "/diary",
 *   Middleware.stack(auth, Policy.enforce(ann, { conceal: true })),
 *   Effect.succeed(HttpServerResponse.text("dear diary"))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Diary)
 *   return (yield* Effect.promise(() => fetch(new Request("http://localhost/diary")))).status
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => 404
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const enforce = <E, R>(
  policy: Policy<E, R>,
  options: Options = {}
): Middleware.Middleware<never, Denial | Route.NotFound | E, R> => {
  const allowed = Effect.flatMap(
    policy.decide,
    (denial) => denial === undefined ? Effect.void : Effect.fail(answer(denial, options))
  )
  return Middleware.around<Denial | Route.NotFound | E, R>(
    `Policy(${policy.label})`,
    (handler) => Effect.andThen(allowed, handler),
    { response: "none" }
  )
}

const answer = (denial: Denial, { conceal = false }: Options): Denial | Route.NotFound =>
  conceal ? new Route.NotFound() : denial

/**
 * Provides a narrower principal, or any other service that only some principals have: `None` denies.
 *
 * @example
 * ```ts
 * import { Middleware, RequestService, Route } from "@sluice/core"
 * import { Policy } from "@sluice/middleware"
 * import { Effect, Option } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * class User extends RequestService.Service<User, { readonly name: string; readonly admin: boolean }>()("app/User") {}
 * class Admin extends RequestService.Service<Admin, { readonly name: string }>()("app/Admin") {}
 *
 * const auth = Middleware.provide(User, Effect.succeed({ name: "ann", admin: true }))
 * const admin = Policy.narrow(User, Admin, (user) => user.admin ? Option.some(user) : Option.none())
 *
 * // Without `admin` in the stack this does not compile.
 * const Panel = Route.get(
 *   "/panel",
 *   Middleware.stack(auth, admin),
 *   Effect.map(Admin, ({ name }) => HttpServerResponse.text(`at your service, ${name}`))
 * )
 * console.log(admin.label) // => narrow(app/User, app/Admin)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const narrow = <I, S, J, T, E = never, R = never>(
  from: Context.Key<I, S>,
  to: Context.Key<J, T>,
  f: (principal: S) => Option.Option<NoInfer<T>> | Effect.Effect<Option.Option<NoInfer<T>>, E, R>,
  options: Options = {}
): Middleware.Middleware<J, Forbidden | Route.NotFound | E, I | R> => {
  const denied = Effect.suspend(() => Effect.fail(options.conceal === true ? new Route.NotFound() : new Forbidden()))
  const narrowed = Effect.flatMap(from, (principal) => {
    const found = f(principal)
    return Effect.isEffect(found) ? found : Effect.succeed(found)
  })
  return Middleware.named(
    `narrow(${from.key}, ${to.key})`,
    Middleware.provide<J, T, Forbidden | Route.NotFound | E, I | R>(
      to,
      Effect.flatMap(
        narrowed,
        (found): Effect.Effect<T, Forbidden | Route.NotFound> =>
          Option.isSome(found) ? Effect.succeed(found.value) : denied
      )
    )
  )
}
