/**
 * Sends some of the request's fields on with the calls that are made for it: a tenant, a feature flag, a language.
 *
 * **When to use** Where services behind this one need what the client (or the gateway before it) said. For ids and traces
 * there are `RequestId` and `Tracing`, which check what they send on.
 *
 * **Details** Only the named fields go, and only those that the request has; several lines become one, as a list. Calls
 * through a client of `OutgoingFields.withClient` carry them, and the proxy, where the client's `Connection` can't strip
 * them. A fiber that was started outside the request has none. A name that an outer middleware sends already is left to it:
 * a client can't override what the service says of itself.
 *
 * **Gotchas** The client chose the values. Don't let the next service take one for an identity unless a middleware above
 * has checked it.
 *
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Middleware from "@sluice/core/Middleware"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { requireFieldName } from "./internal/options.ts"

/**
 * Sends the named fields on.
 *
 * **Details** Throws a `RangeError` when a name is none, or is that of a field which belongs to one message or connection
 * (`Host`, `Content-Length`, `Connection`, …).
 *
 * @example
 * ```ts
 * import { Handler, OutgoingFields, Route } from "@sluice/core"
 * import { PropagateFields } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const handler = Effect.map(OutgoingFields.Current, (fields) => HttpServerResponse.text(fields.join(": ")))
 * const Hello = Route.get("/", PropagateFields.make(["X-Tenant"]), handler)
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello)
 *   const request = new Request("http://localhost/", { headers: { "x-tenant": "a", "x-other": "b" } })
 *   return yield* Effect.promise(() => fetch(request).then((response) => response.text()))
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => X-Tenant: a
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (names: ReadonlyArray<string>): Middleware.Middleware<never, never, HttpServerRequest> => {
  if (names.length === 0) throw new RangeError("names must hold a field name, got none")
  for (const name of names) requireForwardable(requireFieldName("names", name))
  return Middleware.around<never, HttpServerRequest>(
    `PropagateFields(${names.join(", ")})`,
    (handler) =>
      Effect.flatMap(Exchange.current, ({ requestFields }) => {
        const sent = read(requestFields, names)
        return sent.length === 0 ?
          handler :
          Effect.updateService(
            handler,
            OutgoingFields.Current,
            (before) => Fields.merge({ client: sent, proxy: before, config: Fields.empty })
          )
      }),
    { response: "none" }
  )
}

const read = (fields: Fields.Fields, names: ReadonlyArray<string>): Fields.Fields => {
  const out: Array<string> = []
  for (const name of names) {
    const lines = Fields.getAll(fields, name)
    // Cookies are the one list whose members are not divided by commas (RFC 6265, 5.4).
    if (lines.length > 0) out.push(name, lines.join(name.toLowerCase() === "cookie" ? "; " : ", "))
  }
  return out
}

/** @see https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1 */
const bound = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "expect",
  "host",
  "keep-alive",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

const requireForwardable = (name: string): void => {
  if (bound.has(name.toLowerCase())) throw new RangeError(`names must not hold ${name}, which belongs to one message`)
}
