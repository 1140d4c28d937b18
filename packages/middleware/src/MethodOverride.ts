/**
 * Lets a `POST` stand for another method, for clients and networks that know no other.
 *
 * **When to use** At the edge, before routes are looked for, and only where such clients exist: nothing does this by
 * default.
 *
 * **Details** The field's value must be one of `methods`, which can't be safe ones: what checks a `POST` (`Csrf`) must not be
 * avoided by calling it a `GET`. Anything else is ignored and the request stays a `POST`. Routes, handlers, Node handlers
 * and proxied requests see the new method; the exchange, and with it the access log, has the one that was sent.
 *
 * **Gotchas** On a route it comes too late: the route has been chosen by then.
 *
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Middleware from "@sluice/core/Middleware"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import { IncomingMessage } from "node:http"
import { requireFieldName, requireMethod } from "./internal/options.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The methods that a `POST` may stand for. @default PUT, PATCH, DELETE */
  readonly methods?: ReadonlyArray<string>
  /** The request field that says which. @default "x-http-method-override" */
  readonly header?: string
}

/**
 * Changes the method of requests that ask for it.
 *
 * **Details** Throws a `RangeError` that names the option for a method that is safe, is `POST` or `CONNECT`, or is none, and
 * for a field name that is none.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { MethodOverride } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Remove = Route.del("/orders/:id", Effect.succeed(HttpServerResponse.text("removed")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Remove, { edge: MethodOverride.make({ methods: ["DELETE"] }) })
 *   const headers = { "x-http-method-override": "DELETE" }
 *   const response = yield* Effect.promise(() =>
 *     fetch(new Request("http://localhost/orders/7", { method: "POST", headers })))
 *   return yield* Effect.promise(() => response.text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => removed
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<never, never, HttpServerRequest.HttpServerRequest> => {
  const header = requireFieldName("header", options.header ?? "x-http-method-override")
  const methods = new Set((options.methods ?? ["PUT", "PATCH", "DELETE"]).map(requireUnsafe))
  return Middleware.around<never, HttpServerRequest.HttpServerRequest>(
    "MethodOverride",
    (handler) =>
      Effect.flatMap(Exchange.current, ({ method, requestFields }) => {
        if (method !== "POST") return handler
        const lines = Fields.getAll(requestFields, header)
        const wanted = lines.length === 1 ? lines[0].toUpperCase() : ""
        return methods.has(wanted)
          ? Effect.updateService(handler, HttpServerRequest.HttpServerRequest, (request) => withMethod(request, wanted))
          : handler
      }),
    { response: "none" }
  )
}

const fixed: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "POST", "CONNECT"])

const requireUnsafe = (value: string): string => {
  const method = requireMethod("methods", value)
  if (fixed.has(method) || method !== method.toUpperCase()) {
    throw new RangeError(`methods must be unsafe methods other than POST, in upper case, got ${method}`)
  }
  return method
}

/** A view of the request; Node's own message is changed as well, since it is what Node handlers read. */
const withMethod = (
  request: HttpServerRequest.HttpServerRequest,
  method: string
): HttpServerRequest.HttpServerRequest => {
  if (request.source instanceof IncomingMessage) request.source.method = method
  return fixMethod(request.modify({}), method)
}

/** Whatever view is made of the view (a route's prefix is taken off its URL) has the method, too. */
const fixMethod = (
  view: HttpServerRequest.HttpServerRequest,
  method: string
): HttpServerRequest.HttpServerRequest => {
  const modify: typeof view.modify = view.modify.bind(view)
  return Object.defineProperties(view, {
    method: { value: method },
    modify: { value: (options: Parameters<typeof modify>[0]) => fixMethod(modify(options), method) }
  })
}
