import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import { authenticatedKey, userIdKey, userKey } from "./attributes.ts"
import { provided } from "./provided.ts"
import { settled } from "./settled.ts"

/** The part of an authentication that no scheme has for itself: it provides the principal and says whose request it is. */
export const providing = <I, S, X, Q>(
  label: string,
  principal: Context.Key<I, S>,
  identify: Effect.Effect<S, X, Q>,
  userId: ((principal: S) => string) | undefined
): Middleware.Middleware<I, X, Q | HttpServerRequest> => {
  const within = <E, R>(handler: Handler<E, R>, found: S): Handler<E, Exclude<R, I> | HttpServerRequest> =>
    Effect.withFiber((fiber) => {
      const exchange = Exchange.currentUnsafe(fiber)
      Exchange.annotateUnsafe(exchange, authenticatedKey, authenticated)
      const inside = provided(handler, principal, found)
      if (userId === undefined) return inside
      const id = userId(found)
      Exchange.annotateUnsafe(exchange, userKey, { id })
      Exchange.annotateUnsafe(exchange, userIdKey, id)
      return fiber.cache.span === undefined
        ? inside
        : Effect.andThen(Effect.annotateCurrentSpan(userIdKey, id), inside)
    })
  return Middleware.make<I, X, Q | HttpServerRequest>(
    label,
    (handler) => Effect.flatMap(identify, (found) => within(handler, found)),
    { response: "none" }
  )
}

/** What caches and shares responses does not see a key in a field or a query of one's own. Reports leave objects out. */
const authenticated = {}

/** What a look-up found, or the refusal of what it did not find. */
export const orRefuse = <S, E, R, X>(
  lookup: Effect.Effect<Option.Option<S>, E, R>,
  refusal: () => X
): Effect.Effect<S, E | X, R> => {
  const decide = (found: Option.Option<S>): Effect.Effect<S, X> =>
    Option.isSome(found) ? Effect.succeed(found.value) : Effect.fail(refusal())
  // Most look-ups have looked already.
  const exit = settled(lookup)
  return exit?._tag === "Success" ? decide(exit.value) : Effect.flatMap(lookup, decide)
}
