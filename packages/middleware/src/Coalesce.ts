/**
 * Identical safe requests that run at the same time share one run of the handler.
 *
 * **When to use** Around a route that many clients ask for at once and that is dear to compute. It keeps nothing: a request that
 * comes after the response was made runs the handler again. To keep responses, use `ResponseCache`, which coalesces as well.
 *
 * **Details** GET and HEAD requests with the same key wait for the run that the first of them began. The run goes on for as
 * long as one of them waits: the first one's client may leave. Everybody receives the same status, fields and body, and
 * fails when the handler fails. What the handler's own stack adds to the head is shared; what is added outside of this
 * middleware is each request's own. Bodies up to `maxBodyBytes` are read before anybody is answered.
 *
 * A response that can't be shared goes to the first who waits, and the others run the handler themselves, at the same time:
 * one that sets cookies, is `private` or `no-store`, has a longer body, is an event stream, or says in `Vary` that it depends
 * on a field which the default key does not know.
 *
 * **Gotchas** Requests with `Authorization` or `Cookie`, and those that a scheme of ours has authenticated in another way (an
 * `ApiKey`), are let through alone, unless a `key` of yours says who shares with whom. Authentication belongs outside: a
 * refusal from inside is everybody's who waits. The default key knows host, target and the fields that decide what is sent (`Accept`, `Accept-Language`,
 * `Accept-Encoding`, `Origin`, `Range` and the conditions); a handler that looks at others needs a key that knows them. The handler
 * runs as described in `Detached`: services from further out are those of the request that began.
 *
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import { hasCredentials } from "./internal/attributes.ts"
import * as CacheDirectives from "./internal/cacheDirectives.ts"
import * as Flights from "./internal/flights.ts"
import { requireCount } from "./internal/options.ts"
import { requestedUri } from "./internal/requestedUri.ts"
import { abandon, type Outcome, sharedRun, takeLive } from "./internal/sharedRun.ts"
import { isEventStream, toResponse } from "./internal/storedResponse.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<X = never, Q = never> {
  /**
   * Requests with equal keys share; `undefined` lets a request through alone. It is asked about every GET and HEAD, also one
   * with credentials. @default method, scheme, host, target and the fields that the module names, without credentials
   */
  readonly key?: (request: HttpServerRequest.HttpServerRequest) =>
    | string
    | undefined
    | Effect.Effect<string | undefined, X, Q>
  /** The largest body that is shared, in bytes. @default 1048576 */
  readonly maxBodyBytes?: number
}

/**
 * Shares runs of the handler.
 *
 * **Details** Throws a `RangeError` unless `maxBodyBytes` is a whole number of at least 0.
 *
 * @example
 * ```ts
 * import { Coalesce } from "@sluice/middleware"
 *
 * // Everybody of a tenant sees the same.
 * const perTenant = Coalesce.make({ key: (request) => `${request.headers["x-tenant"]} ${request.method} ${request.url}` })
 * console.log(perTenant.label) // => Coalesce
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <X = never, Q = never>(
  options: Options<X, Q> = {}
): Middleware.Middleware<never, X, Q | HttpServerRequest.HttpServerRequest> => {
  const limit = requireCount("maxBodyBytes", options.maxBodyBytes ?? 1_048_576, 0)
  const flights = Flights.make<Outcome<true>>(abandon)
  const share = shareWhen(options.key === undefined)
  const keyOf = options.key === undefined
    ? defaultKey
    : Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => effectOf(options.key?.(request)))
  return Middleware.around<X, Q | HttpServerRequest.HttpServerRequest>(
    "Coalesce",
    (handler) => coalesced(handler, keyOf, sharedRun(handler, { limit, share, without: [] }), flights),
    // Shared runs see the value apart; the others stream past.
    { response: "head" }
  )
}

const effectOf = <X, Q>(
  key: string | undefined | Effect.Effect<string | undefined, X, Q>
): Effect.Effect<string | undefined, X, Q> => Effect.isEffect(key) ? key : Effect.succeed(key)

const coalesced = <E, R, X, Q>(
  handler: Handler<E, R>,
  keyOf: Effect.Effect<string | undefined, X, Q>,
  run: Effect.Effect<Outcome<true>, E, R | HttpServerRequest.HttpServerRequest>,
  flights: Flights.Flights<Outcome<true>>
): Handler<E | X, R | Q | HttpServerRequest.HttpServerRequest> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers, method }) => {
    if ((method !== "GET" && method !== "HEAD") || headers.upgrade !== undefined) return handler
    return Effect.flatMap(
      keyOf,
      (key): Handler<E | X, R | Q | HttpServerRequest.HttpServerRequest> =>
        key === undefined ? handler : Effect.flatMap(
          flights.join(
            key,
            run,
            (outcome) => outcome._tag === "Shared" ? Effect.succeed(toResponse(outcome.stored)) : takeLive(outcome)
          ),
          (response): Handler<E, R> => response === undefined ? handler : Effect.succeed(response)
        )
    )
  })

/** What decides, besides host and target, what a handler usually sends. */
const selecting = [
  "accept",
  "accept-language",
  "accept-encoding",
  "origin",
  "range",
  "if-range",
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since"
]

const defaultKey = Effect.flatMap(
  HttpServerRequest.HttpServerRequest,
  ({ headers, method }) =>
    Effect.flatMap(Exchange.current, (exchange) =>
      hasCredentials(exchange) || headers.cookie !== undefined
        ? Effect.undefined
        : Effect.map(
          requestedUri,
          (uri) => JSON.stringify([method, uri, ...selecting.map((name) => headers[name] ?? null)])
        ))
)

/** A response that differs by a field which the key does not know is nobody else's. */
const shareWhen = (defaultKey: boolean) => (response: HttpServerResponse, credentials: boolean): true | undefined => {
  const { cookies, headers } = response
  if (defaultKey && credentials) return undefined
  if (isEventStream(response) || headers["set-cookie"] !== undefined) return undefined
  if (Object.keys(cookies.cookies).length > 0) return undefined
  const directives = CacheDirectives.parse(headers["cache-control"])
  if (directives.has("private") || directives.has("no-store")) return undefined
  const vary = (headers.vary ?? "").split(",").map((name) => name.trim().toLowerCase()).filter((name) => name !== "")
  return defaultKey && vary.some((name) => !selecting.includes(name)) ? undefined : true
}
