import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"

type AnyHandler = Effect.Effect<HttpServerResponse, unknown, unknown>
type Fn = (handler: AnyHandler) => AnyHandler

/** Effect's router finds the middleware of a layer under keys with this prefix; it has no accessor for them. */
const prefix = "effect/http/HttpRouter/Middleware-"

const entriesOf = (context: Context.Context<never>): ReadonlyArray<ReadonlyArray<Fn>> => {
  const out: Array<ReadonlyArray<Fn>> = []
  for (const [key, value] of context.mapUnsafe) {
    // Sound: only Effect's router writes under this prefix.
    if (key.startsWith(prefix)) out.push(value as ReadonlyArray<Fn>)
  }
  return out
}

/** Whether routes that are added in this context get Effect middleware around them. */
export const hasRouterMiddleware = (context: Context.Context<never>): boolean => entriesOf(context).length > 0

/** The middleware in a built layer, as one function; a combined one is around its base. */
export const routerMiddlewareOf = (context: Context.Context<never>): Fn => {
  const functions = entriesOf(context).flat()
  return (handler) => functions.reduce((inner, fn) => fn(inner), handler)
}
