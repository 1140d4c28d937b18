/**
 * Routes below another path than the one that clients use: behind a gateway that leaves its prefix on, or after a move.
 *
 * **When to use** At the edge, before routes are looked for. Routes that are to stand below a prefix are better declared so
 * (`Route.group`).
 *
 * **Details** Whole segments are compared, as the router does it: repeated slashes count as one, and escapes as the
 * characters that they stand for. What is left of the path, and the query, stay as they were sent, byte for byte. A path
 * that does not start with the prefix stays as well. Routes and handlers see the new path in `request.url`; the exchange,
 * and with it the access log and `request.originalUrl`, has the one that was sent.
 *
 * **Gotchas** On a route it comes too late: the route has been chosen by then. `Proxy.forward` and Node handlers go by what
 * the client sent; the former has a `stripPrefix` of its own. One route has two paths then, so never authorise by a path.
 *
 * @since 0.1.0
 */
import * as Middleware from "@sluice/core/Middleware"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import { requirePath } from "./internal/paths.ts"
import { provided } from "./internal/provided.ts"

/**
 * Takes a prefix off: with `/api`, `/api/orders` becomes `/orders`, and `/api` becomes `/`.
 *
 * **Details** Throws a `RangeError` unless the prefix is a path of at least one segment, without escapes, dot segments,
 * query and the signs of a route's template.
 *
 * @example
 * ```ts
 * import { Route } from "@sluice/core"
 * import { App } from "@sluice/core/testing"
 * import { PathRewrite } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Orders = Route.get("/orders", Effect.succeed(HttpServerResponse.text("orders")))
 *
 * const program = Effect.gen(function*() {
 *   const app = yield* App.make(Orders, { edge: PathRewrite.stripPrefix("/api") })
 *   return yield* app.text("/api/orders")
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => orders
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const stripPrefix = (prefix: string): Middleware.Middleware<never, never, HttpServerRequest> =>
  rewriting(`PathRewrite.stripPrefix(${prefix})`, requirePrefix("prefix", prefix), "")

/**
 * Puts one prefix in the place of another: with `/v1` and `/legacy/v1`, `/v1/orders` becomes `/legacy/v1/orders`.
 *
 * **Details** Throws a `RangeError` as {@link stripPrefix} does, for either.
 *
 * @example
 * ```ts
 * import { PathRewrite } from "@sluice/middleware"
 *
 * const edge = PathRewrite.replacePrefix("/v1", "/legacy/v1")
 * console.log(edge.label) // => PathRewrite.replacePrefix(/v1, /legacy/v1)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const replacePrefix = (from: string, to: string): Middleware.Middleware<never, never, HttpServerRequest> =>
  rewriting(
    `PathRewrite.replacePrefix(${from}, ${to})`,
    requirePrefix("from", from),
    `/${requirePrefix("to", to).join("/")}`
  )

const rewriting = (
  label: string,
  segments: ReadonlyArray<string>,
  replacement: string
): Middleware.Middleware<never, never, HttpServerRequest> => {
  const prefix = new RegExp(`^${segments.map((segment) => `/+${spellings(segment)}`).join("")}(?=[/?#]|$)`)
  return Middleware.around<never, HttpServerRequest>(
    label,
    (handler) =>
      Effect.withFiber((fiber) => {
        const request = Context.getUnsafe(fiber.context, HttpServerRequest)
        const matched = prefix.exec(request.url)
        if (matched === null) return handler
        const url = replacement + rooted(request.url.slice(matched[0].length), replacement === "")
        return provided(handler, HttpServerRequest, request.modify({ url }))
      }),
    { response: "none" }
  )
}

/** Two slashes at the start of a URL, or a backslash for one of them, would be read as the start of an authority. */
const rooted = (rest: string, first: boolean): string => first ? `/${rest.replace(/^[/\\]+/, "")}` : rest

const requirePrefix = (name: string, value: string): ReadonlyArray<string> => {
  const segments = requirePath(name, value).split("/").filter((segment) => segment !== "")
  if (segments.length > 0 && !/[%:*?#]/.test(value)) return segments
  throw new RangeError(`${name} must be a path of plain segments such as /api, got ${JSON.stringify(value)}`)
}

/** A pattern for a segment, each of whose characters may be escaped. */
const spellings = (segment: string): string =>
  Array.from(segment, (char) => {
    const hex = char.charCodeAt(0).toString(16)
    const digits = hex.replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`)
    return `(?:${char.replace(/[^\w]/, "\\$&")}|%${digits})`
  }).join("")
