/**
 * Refuses what another site's page makes a browser send: forms and scripts that act with the user's cookies.
 *
 * **When to use** At the edge, or around the routes that act on cookies or HTTP authentication. It takes no tokens, so
 * nothing has to be added to forms. Routes for other sites (a webhook, an API with bearer tokens) stay outside of it.
 *
 * **Details** `GET`, `HEAD` and `OPTIONS` pass: they must not change anything. One that asks for an upgrade does not: a page
 * of another site can open a WebSocket with the user's cookies, and read what comes. Otherwise `Sec-Fetch-Site`, which every
 * current browser sends and no page can forge, must say `same-origin` or `none` (typed in, a bookmark). Without it, and
 * with `Origin`, the origin's host must be the one that the client asked for: of a trusted peer's forwarding fields
 * (`TrustedPeers`), or the request's own. With neither field the request is not a browser's, and passes. The body is not
 * read. `same-site` is refused: a sibling domain is another party.
 *
 * **Gotchas** Over plain HTTP browsers send no `Sec-Fetch-Site`, and a page of `http://` can pass for one of `https://` of
 * the same host, because a request does not say its scheme: send `Strict-Transport-Security`, as `SecureHeaders` does.
 *
 * @see https://www.w3.org/TR/fetch-metadata/
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Schema from "effect/Schema"
import { requireOrigin } from "./internal/origins.ts"
import { requestedHost } from "./internal/requestedHost.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Other origins whose pages may send anything: `https://app.example.com`, compared byte for byte with `Origin`.
   * @default none
   */
  readonly trustedOrigins?: ReadonlyArray<string>
}

/**
 * Another site's page made a browser send the request: 403.
 *
 * @category errors
 * @since 0.1.0
 */
export class CrossOriginRequest extends Problem.TaggedError<CrossOriginRequest>()("CrossOriginRequest", {
  status: 403,
  title: "Cross-origin request refused"
}, {
  /** The field that gave it away. */
  reason: Schema.Literals(["Sec-Fetch-Site", "Origin"])
}) {}

/**
 * Fails with {@link CrossOriginRequest} before the handler has run.
 *
 * **Details** Throws a `RangeError` for a trusted origin that is none.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Csrf } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Buy = Route.post("/buy", Csrf.make(), Effect.succeed(HttpServerResponse.text("bought")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Buy)
 *   const headers = { "sec-fetch-site": "cross-site" }
 *   return yield* Effect.promise(() => fetch(new Request("http://localhost/buy", { method: "POST", headers })))
 * })
 * console.log((await Effect.runPromise(Effect.scoped(program))).status) // => 403
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Middleware.Middleware<never, CrossOriginRequest, HttpServerRequest> => {
  const trusted = new Set((options.trustedOrigins ?? []).map((origin) => requireOrigin("trustedOrigins", origin)))
  return Middleware.around<CrossOriginRequest, HttpServerRequest>(
    "Csrf",
    (handler) =>
      Effect.flatMap(Exchange.current, (exchange) => {
        if (safe.has(exchange.method) && !Fields.has(exchange.requestFields, "upgrade")) return handler
        const site = line(exchange, "sec-fetch-site")
        const origin = line(exchange, "origin")
        if (site === "same-origin" || site === "none" || (origin !== undefined && trusted.has(origin))) return handler
        if (site !== undefined) return Effect.fail(new CrossOriginRequest({ reason: "Sec-Fetch-Site" }))
        if (origin === undefined) return handler
        return Effect.andThen(sameHost(origin), handler)
      }),
    { response: "none" }
  )
}

const sameHost = (origin: string): Effect.Effect<void, CrossOriginRequest, HttpServerRequest> =>
  Effect.flatMap(
    requestedHost,
    (host) => isHostOf(origin, host) ? Effect.void : Effect.fail(new CrossOriginRequest({ reason: "Origin" }))
  )

const safe: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"])

/** Several lines, which no browser sends, are one value that equals nothing. */
const line = ({ requestFields }: Exchange.Exchange, name: string): string | undefined => {
  const lines = Fields.getAll(requestFields, name)
  return lines.length === 0 ? undefined : lines.join(", ")
}

/** Whether the host that was asked for is the origin's. Its port may be spelled out where it is the scheme's own. */
const isHostOf = (origin: string, host: string | undefined): boolean => {
  if (host === undefined || !/^https?:\/\//i.test(origin) || !URL.canParse(origin)) return false
  const { host: own, protocol } = new URL(origin)
  return own === host.replace(protocol === "https:" ? /:443$/ : /:80$/, "")
}
