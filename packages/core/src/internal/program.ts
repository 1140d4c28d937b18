import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpRouter } from "effect/http/HttpRouter"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Scope from "effect/Scope"
import type { Handler } from "../Handler.ts"
import type * as Middleware from "../Middleware.ts"
import * as Route from "../Route.ts"
import { guard } from "./guard.ts"
import type { MethodTable } from "./router.ts"

/** What the program of an app is made of. */
export interface Parts {
  readonly router: HttpRouter
  readonly methods: MethodTable["Service"]
  readonly edge: Middleware.Any
  /** Answers outside the edge: health, by path. */
  readonly direct: ReadonlyMap<string, Handler<never, unknown>>
  /** What becomes of a request for which there is no route. */
  readonly notFound: Handler<unknown, unknown>
}

/** The whole program of a request: guard, then health or edge, then routes. */
export const make = (parts: Parts): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  HttpServerRequest.HttpServerRequest | Scope.Scope
> => {
  const routes: Handler<unknown, unknown> = dispatch(parts)
  const throughEdge: Handler<unknown, unknown> = parts.edge(routes)
  const { direct } = parts
  const app = direct.size === 0 ?
    throughEdge :
    Effect.withFiber<HttpServerResponse.HttpServerResponse, unknown, unknown>(
      (fiber) => {
        const { url } = Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
        return direct.get(withoutQuery(url)) ?? throughEdge
      }
    )
  // Sound: the layers that call this have checked that the context holds what routes and edge require.
  return guard(app as Handler<unknown, HttpServerRequest.HttpServerRequest | Scope.Scope>)
}

const withoutQuery = (url: string): string => {
  const query = url.indexOf("?")
  return query === -1 ? url : url.slice(0, query)
}

const dispatch = ({ methods, notFound, router }: Parts): Handler<unknown, unknown> => {
  const routes = router.asHttpEffect()
  const unmatched = Effect.withFiber<HttpServerResponse.HttpServerResponse, unknown, unknown>((fiber) => {
    const { method, url } = Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
    if (url === "*") return Effect.succeed(allowed(methods.all()))
    const allow = methods.methodsOf(url)
    if (allow.length === 0) return notFound
    return method === "OPTIONS" ? Effect.succeed(allowed(allow)) : Effect.fail(new Route.MethodNotAllowed({ allow }))
  })
  return Effect.catchIf(routes, isRouteNotFound, () => unmatched)
}

const isRouteNotFound = (error: unknown): error is HttpServerError.HttpServerError =>
  HttpServerError.isHttpServerError(error) && error.reason._tag === "RouteNotFound"

const allowed = (allow: ReadonlyArray<string>): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.empty({ status: 204, headers: { allow: allow.join(", ") } })
