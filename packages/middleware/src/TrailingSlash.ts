/**
 * One spelling of a path: with a slash at its end, or without.
 *
 * **When to use** At the edge of a site whose pages should have one URL each: for search engines, caches and relative
 * links. Routes match either spelling by themselves.
 *
 * **Details** A redirect within the same origin: 301 for `GET` and `HEAD`, and otherwise 308, so that method and body stay as
 * they are. The query is kept. Slashes and backslashes at the start of the path, which a browser would take for another
 * host (`//evil.example/`), become one slash. The path `/` stays.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.4
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { urlOf } from "./internal/requestPath.ts"

/**
 * Redirects `/about/` to `/about`.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { TrailingSlash } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const About = Route.get("/about", Effect.succeed(HttpServerResponse.text("us")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(About, { edge: TrailingSlash.trim })
 *   const { headers, status } = yield* Effect.promise(() => fetch(new Request("http://localhost/about/?lang=en")))
 *   return `${status} ${headers.get("location")}`
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => 301 /about?lang=en
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const trim: Middleware.Middleware<never, never, HttpServerRequest> = redirecting(
  "trim",
  (path) => path.length > 1 && path.endsWith("/") ? withoutSlashes(path) : undefined
)

/**
 * Redirects `/about` to `/about/`. A last segment with a dot in it is a file's name, and stays.
 *
 * @category constructors
 * @since 0.1.0
 */
export const append: Middleware.Middleware<never, never, HttpServerRequest> = redirecting(
  "append",
  (path) => path.endsWith("/") || path.slice(path.lastIndexOf("/")).includes(".") ? undefined : `${path}/`
)

function redirecting(
  label: string,
  change: (path: string) => string | undefined
): Middleware.Middleware<never, never, HttpServerRequest> {
  return Middleware.around(`TrailingSlash.${label}`, (handler) =>
    Effect.flatMap(Exchange.current, (exchange) => {
      const location = locationOf(urlOf(exchange), change)
      if (location === undefined) return handler
      const status = exchange.method === "GET" || exchange.method === "HEAD" ? 301 : 308
      return Effect.succeed(HttpServerResponse.empty({ status, headers: { location } }))
    }), { response: "head" })
}

const locationOf = (url: string, change: (path: string) => string | undefined): string | undefined => {
  const at = url.indexOf("?")
  const path = at === -1 ? url : url.slice(0, at)
  if (!path.startsWith("/")) return undefined
  const changed = change(path)
  // A browser takes two slashes, and a backslash for one of them, for the start of an authority.
  return changed === undefined ? undefined : changed.replace(/^[/\\]+/, "/") + (at === -1 ? "" : url.slice(at))
}

const withoutSlashes = (path: string): string => {
  let end = path.length
  while (end > 1 && path[end - 1] === "/") end--
  return path.slice(0, end)
}
