/**
 * Sends clients that came over plain HTTP to the same place over TLS.
 *
 * **When to use** At the edge of a server that listens on both, or behind a balancer that speaks TLS and says so
 * (`TrustedPeers`). Together with `SecureHeaders`, whose `Strict-Transport-Security` makes the next visit start with TLS.
 *
 * **Details** 308, so that method and body stay as they are. Whether the client came over TLS and for which host is taken
 * from the connection and the request, or from a trusted peer. Path and query are kept as they were sent.
 *
 * **Gotchas** The target is made of the host that the client asked for: put `HostFilter` above it, so that nobody makes
 * it point elsewhere. Without trust in a balancer that speaks TLS every request looks plain, and the redirects never end.
 * A first request over plain HTTP was readable on its way, cookies and all.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.4.9
 * @since 0.1.0
 */
import * as Forwarded from "@sluice/core/Forwarded"
import * as Middleware from "@sluice/core/Middleware"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { InvalidHost } from "./HostFilter.ts"
import { forwarding, hostOf, isSecure } from "./internal/requestedHost.ts"
import { urlOf } from "./internal/requestPath.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The port that speaks TLS. @default 443, which a URL does not spell out */
  readonly port?: number
}

/**
 * Redirects, or fails with `InvalidHost` (400) when there is no host to redirect to, or with `InvalidForwarded` (400) when a
 * trusted peer's field can't be read.
 *
 * **Details** Throws a `RangeError` unless `port` is a port.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { HttpsRedirect } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Hello = Route.get("/hello", Effect.succeed(HttpServerResponse.text("hello")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello, { edge: HttpsRedirect.make() })
 *   const request = new Request("http://example.com/hello?a=1", { headers: { host: "example.com" } })
 *   const { headers, status } = yield* Effect.promise(() => fetch(request))
 *   return `${status} ${headers.get("location")}`
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => 308 https://example.com/hello?a=1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<never, InvalidHost | Forwarded.InvalidForwarded, HttpServerRequest> => {
  const port = options.port ?? 443
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new RangeError(`port must be from 1 to 65535, got ${port}`)
  }
  const location = target(port === 443 ? "" : `:${port}`)
  return Middleware.around<InvalidHost | Forwarded.InvalidForwarded, HttpServerRequest>(
    "HttpsRedirect",
    (handler) =>
      Effect.flatMap(location, (location) =>
        location === undefined
          ? handler
          : Effect.succeed(HttpServerResponse.empty({ status: 308, headers: { location } }))),
    { response: "head" }
  )
}

/** Where a request that came over plain HTTP is sent. */
const target = (
  port: string
): Effect.Effect<string | undefined, InvalidHost | Forwarded.InvalidForwarded, HttpServerRequest> =>
  Effect.flatMap(forwarding, (forwarding) => {
    if (isSecure(forwarding)) return Effect.succeed(undefined)
    const host = hostOf(forwarding)
    if (host === undefined || !Forwarded.isHost(host)) return Effect.fail(new InvalidHost())
    const url = urlOf(forwarding.exchange)
    return Effect.succeed(`https://${host.replace(/:\d*$/, "")}${port}${url === "*" ? "/" : url}`)
  })
