/**
 * A route that sends clients to another path of the same origin.
 *
 * **When to use** For what has moved. `HttpsRedirect` and `TrailingSlash` redirect whole sites.
 *
 * **Details** `Location` is a path, so that it is right whatever name, port and scheme the client used, and it never leads
 * to another origin, whatever the request holds.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.4
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Problem from "@sluice/core/Problem"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { requirePath } from "./internal/paths.ts"
import { urlOf } from "./internal/requestPath.ts"

/**
 * Settings of {@link to}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Permanent or not, and whether the client keeps its method and body: 308 and 307 say so, 303 makes it a `GET`, and 301 and
   * 302 leave a `POST` to the client. @default 308
   */
  readonly status?: 301 | 302 | 303 | 307 | 308
}

const statuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

/**
 * Redirects to a path, in which segments such as `:id`, and a last segment `*`, stand for those of the route.
 *
 * **Details** Values are escaped anew. One that would climb (`..`) is answered with 404. The request's query is kept as it was sent,
 * unless the path has a query or a fragment of its own. A segment that the route does not have is a defect. Throws a
 * `RangeError` for a path that is none of this origin, or has dot segments, and for another status.
 *
 * @example
 * ```ts
 * import { Route } from "@sluice/core"
 * import { App } from "@sluice/core/testing"
 * import { Redirect } from "@sluice/middleware"
 * import { Effect } from "effect"
 *
 * const Moved = Route.all("/customers/:id/orders", Redirect.to("/orders/by/:id"))
 *
 * const program = Effect.gen(function*() {
 *   const app = yield* App.make(Moved)
 *   const { headers, status } = yield* app.fetch("/customers/a%20b/orders?page=2")
 *   return `${status} ${headers.get("location")}`
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => 308 /orders/by/a%20b?page=2
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const to = (
  path: string,
  options: Options = {}
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest | HttpRouter.RouteContext> => {
  const status = options.status ?? 308
  if (!statuses.has(status)) throw new RangeError(`status must be 301, 302, 303, 307 or 308, got ${status}`)
  const template = requirePath("path", path)
  const end = template.search(/[?#]/)
  const segments = (end === -1 ? template : template.slice(0, end)).split("/").slice(1)
  return Effect.gen(function*() {
    const params = yield* HttpRouter.params
    const filled = segments.map((segment) => fill(segment, params)).join("/")
    if (climbing.test(`/${filled}`)) return Problem.toResponse({ status: 404 })
    const rest = end === -1 ? queryOf(urlOf(yield* Exchange.current)) : template.slice(end)
    return HttpServerResponse.empty({ status, headers: { location: `/${filled.replace(/^\/+/, "")}${rest}` } })
  })
}

const climbing = /\/\.{1,2}(?:\/|$)/

const fill = (segment: string, params: Readonly<Record<string, string | undefined>>): string => {
  if (segment === "*") return (params["*"] ?? "").split("/").map(escape).join("/")
  if (!/^:./.test(segment)) return segment
  const value = params[segment.slice(1)]
  if (value === undefined) throw new Error(`a redirect needs ${segment}, which its route does not have`)
  return escape(value)
}

/** A lone surrogate can't be escaped. */
const escape = (value: string): string => encodeURIComponent(value.toWellFormed())

const queryOf = (url: string): string => {
  const at = url.indexOf("?")
  return at === -1 ? "" : url.slice(at)
}
