/**
 * Cross-origin resource sharing: which other sites' scripts may read the responses.
 *
 * **When to use** At the edge, around everything that another origin's scripts call, so that errors, 404s and refusals
 * carry the fields, too: without them a script sees no status, only that the call failed. It says what browsers may
 * show to scripts; it keeps nobody from sending a request, which is what `Csrf` is for.
 *
 * **Details** A preflight is an `OPTIONS` with `Origin` and `Access-Control-Request-Method`; it is answered here with 204.
 * Any other `OPTIONS` goes on to the routes. A preflight that asks for what is not allowed is a 204 without fields: the
 * browser then refuses the call. `Vary` names what the answer depends on. What a handler or an upstream says about
 * origins is replaced, so that there is one answer.
 *
 * **Gotchas** A middleware outside of this one that fails before the handler is reached answers without the fields: put
 * `Cors` outermost. `*` does not stand for `Authorization`, which must be listed.
 *
 * @see https://fetch.spec.whatwg.org/#http-cors-protocol
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import type { HeadEdit } from "@sluice/core/ResponseHead"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { requireFieldName, requireMethod, requireSeconds } from "./internal/options.ts"
import { originMatcher } from "./internal/origins.ts"
import { addVary } from "./internal/vary.ts"

/**
 * Whose scripts may read: everybody's (`*`), those of listed origins, or those for which a function says so.
 *
 * **Details** An origin is compared byte for byte with what the browser sends: `https://app.example.com`, with a port only
 * where it is not the scheme's own. `https://*.example.com` stands for all names below `example.com`, with that scheme
 * and that port, and not for `example.com` itself. `null`, which any sandboxed page sends, can only be let in by a function.
 *
 * @category models
 * @since 0.1.0
 */
export type Origins<X = never, R = never> =
  | "*"
  | ReadonlyArray<string>
  | ((origin: string, exchange: Exchange.Exchange) => boolean | Effect.Effect<boolean, X, R>)

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<X = never, R = never> {
  readonly origins: Origins<X, R>
  /** The methods; `["*"]` for any. @default GET, HEAD, POST, PUT, PATCH, DELETE */
  readonly methods?: ReadonlyArray<string>
  /** The request fields beyond those that need no permission; `"*"` among them for any but `Authorization`. @default none */
  readonly headers?: ReadonlyArray<string>
  /** The response fields that scripts may read beyond those that need no permission; `["*"]` for any. @default none */
  readonly exposedHeaders?: ReadonlyArray<string>
  /** Whether requests may carry cookies and HTTP authentication. No `*` goes with it. @default false */
  readonly credentials?: boolean
  /** How long a browser may remember a preflight, in whole seconds; 0 for not at all. @default the browser's, 5 seconds */
  readonly maxAge?: Duration.Input
  /** Whether public sites may call a server in a private network, where the browser asks. @default false */
  readonly privateNetwork?: boolean
}

/**
 * Answers preflights and adds the fields to every other response.
 *
 * **Details** Throws a `RangeError` that names the option for an origin, method or field name that is none, and for
 * `credentials` with `*` anywhere.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Cors } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const edge = Cors.make({ origins: ["https://app.example.com"], headers: ["content-type"], maxAge: "1 hour" })
 * const Hello = Route.get("/", Effect.succeed(HttpServerResponse.text("hello")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello, { edge })
 *   const ask = (origin: string) =>
 *     Effect.promise(() => fetch(new Request("http://localhost/", { headers: { origin } })))
 *   const allowed = yield* ask("https://app.example.com")
 *   const refused = yield* ask("https://evil.example")
 *   return [allowed, refused].map(({ headers }) => headers.get("access-control-allow-origin"))
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => ["https://app.example.com", null]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <X = never, R = never>(
  options: Options<X, R>
): Middleware.Middleware<never, X, R | HttpServerRequest> => {
  const policy = policyOf(options)
  const allows = originCheck(options.origins)
  const edits = editsOf(options)
  return Middleware.around<X, R | HttpServerRequest>(
    "Cors",
    <E, R_>(handler: Handler<E, R_>) =>
      Effect.withFiber((fiber): Handler<E | X, R_ | R | HttpServerRequest> => {
        const exchange = Exchange.currentUnsafe(fiber)
        const origin = Fields.get(exchange.requestFields, "origin")
        const requested = exchange.method === "OPTIONS" && origin !== undefined
          ? Fields.get(exchange.requestFields, "access-control-request-method")
          : undefined
        const next = (allowed: boolean): Handler<E, R_ | HttpServerRequest> => {
          if (requested !== undefined) {
            return preflight(allowed && policy.permits(exchange, requested), policy, exchange, origin)
          }
          Exchange.editHeadUnsafe(exchange, edits(allowed, origin))
          return handler
        }
        const verdict = allows(origin, exchange)
        return typeof verdict === "boolean" ? next(verdict) : Effect.flatMap(verdict, next)
      }),
    { response: "head" }
  )
}

type Check<X, R> = (origin: string | undefined, exchange: Exchange.Exchange) => boolean | Effect.Effect<boolean, X, R>

const originCheck = <X, R>(origins: Origins<X, R>): Check<X, R> => {
  if (origins === "*") return () => true
  if (typeof origins === "function") return (origin, exchange) => origin !== undefined && origins(origin, exchange)
  if (origins.length === 0) throw new RangeError("origins must not be empty")
  const matches = originMatcher("origins", origins)
  return (origin) => origin !== undefined && matches(origin)
}

/** What the answer to a preflight is made of. */
interface Policy {
  readonly permits: (exchange: Exchange.Exchange, method: string) => boolean
  readonly any: boolean
  readonly fields: Readonly<Record<string, string>>
  readonly privateNetwork: boolean
}

const standardMethods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

const policyOf = (options: Options<unknown, unknown>): Policy => {
  const methods = (options.methods ?? standardMethods).map((method) => requireMethod("methods", method))
  const headers = (options.headers ?? []).map((name) => requireFieldName("headers", name).toLowerCase())
  if (options.credentials === true) refuseWildcards(options)
  const permitsField = fieldCheck(headers)
  return {
    permits: (exchange, method) =>
      (methods.includes("*") || methods.includes(method)) &&
      listed(exchange, "access-control-request-headers").every(permitsField),
    any: options.origins === "*",
    fields: {
      "access-control-allow-methods": methods.join(", "),
      ...(headers.length === 0 ? {} : { "access-control-allow-headers": headers.join(", ") }),
      ...(options.credentials === true ? { "access-control-allow-credentials": "true" } : {}),
      ...(options.maxAge === undefined
        ? {}
        : { "access-control-max-age": String(requireSeconds("maxAge", options.maxAge)) })
    },
    privateNetwork: options.privateNetwork ?? false
  }
}

const refuseWildcards = (options: Options<unknown, unknown>): void => {
  for (const name of ["origins", "methods", "headers", "exposedHeaders"] as const) {
    if (options[name] === "*" || (Array.isArray(options[name]) && options[name].includes("*"))) {
      throw new RangeError(`${name} must not be * with credentials, for which browsers take it as a plain name`)
    }
  }
}

/** @see https://fetch.spec.whatwg.org/#cors-non-wildcard-request-header-name */
const fieldCheck = (headers: ReadonlyArray<string>): (name: string) => boolean => {
  const all = headers.includes("*")
  return (name) => headers.includes(name) || (all && name !== "authorization")
}

const listed = (exchange: Exchange.Exchange, name: string): ReadonlyArray<string> =>
  Fields.getAll(exchange.requestFields, name).flatMap((line) => line.split(",")).map((item) =>
    item.trim().toLowerCase()
  )
    .filter((item) => item !== "")

const preflight = (
  allowed: boolean,
  policy: Policy,
  exchange: Exchange.Exchange,
  origin = ""
): Handler<never, HttpServerRequest> => {
  const asksNetwork = Fields.get(exchange.requestFields, "access-control-request-private-network") === "true"
  const headers = allowed
    ? {
      "access-control-allow-origin": policy.any ? "*" : origin,
      ...policy.fields,
      ...(asksNetwork && policy.privateNetwork ? { "access-control-allow-private-network": "true" } : {})
    }
    : {}
  const names = asksNetwork ? [...varied, "Access-Control-Request-Private-Network"] : varied
  return Effect.succeed(HttpServerResponse.empty({ status: 204, headers: { ...headers, vary: names.join(", ") } }))
}

const varied = ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"]

/** The edit of a response that is no preflight's. */
const editsOf = (options: Options<unknown, unknown>): (allowed: boolean, origin: string | undefined) => HeadEdit => {
  const exposed = (options.exposedHeaders ?? []).map((name) => requireFieldName("exposedHeaders", name)).join(", ")
  const credentials = options.credentials ?? false
  const withOrigin = (head: Parameters<HeadEdit>[0], origin: string): void => {
    head.set("access-control-allow-origin", origin)
    if (credentials) head.set("access-control-allow-credentials", "true")
    else head.remove("access-control-allow-credentials")
    if (exposed !== "") head.set("access-control-expose-headers", exposed)
    else head.remove("access-control-expose-headers")
  }
  if (options.origins === "*") return () => (head) => withOrigin(head, "*")
  return (allowed, origin = "") => (head) => {
    if (allowed) withOrigin(head, origin)
    else clear(head)
    addVary(head, "Origin")
  }
}

const clear = (head: Parameters<HeadEdit>[0]): void => {
  head.remove("access-control-allow-origin")
  head.remove("access-control-allow-credentials")
  head.remove("access-control-expose-headers")
}
