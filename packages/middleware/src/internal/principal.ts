import * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import { authenticatedKey, userIdKey, userKey } from "./attributes.ts"

/** The part of an authentication that no scheme has for itself: it provides the principal and says whose request it is. */
export const providing = <I, S, X, Q>(
  label: string,
  principal: Context.Key<I, S>,
  identify: Effect.Effect<S, X, Q>,
  userId: ((principal: S) => string) | undefined
): Middleware.Middleware<I, X, Q | HttpServerRequest> => {
  const known = Effect.tap(
    identify,
    (principal) => userId === undefined ? authenticated : Effect.andThen(authenticated, annotateUser(userId(principal)))
  )
  return Middleware.named(label, Middleware.provide<I, S, X, Q | HttpServerRequest>(principal, known))
}

/** What caches and shares responses does not see a key in a field or a query of one's own. Reports leave objects out. */
const authenticated = Exchange.annotate(authenticatedKey, {})

const annotateUser = (id: string): Effect.Effect<void, never, HttpServerRequest> =>
  Effect.andThen(
    Exchange.annotate(userKey, { id }),
    Effect.andThen(Exchange.annotate(userIdKey, id), Effect.annotateCurrentSpan(userIdKey, id))
  )

/** What a look-up found, or the refusal of what it did not find. */
export const orRefuse = <S, E, R, X>(
  lookup: Effect.Effect<Option.Option<S>, E, R>,
  refusal: () => X
): Effect.Effect<S, E | X, R> =>
  Effect.flatMap(
    lookup,
    (found): Effect.Effect<S, X> => Option.isSome(found) ? Effect.succeed(found.value) : Effect.fail(refusal())
  )
