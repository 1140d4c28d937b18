/**
 * Lets in requests for the hosts that this server answers for, and no others.
 *
 * **When to use** At the edge, under whatever sets `TrustedPeers`, wherever a response is made of the host: absolute links,
 * redirects, e-mails, caches, tenants. It also ends DNS rebinding against servers on a developer's machine.
 *
 * **Details** The host is the one that the client asked for: a trusted peer's (`TrustedPeers`), that of a target in absolute
 * form, or `Host`. A host without a port in the list goes with any port. `*.example.com` stands for the names below
 * `example.com`, not for itself. What is no host is a 400, as is a request of HTTP/1.0 without one; a host that is not in
 * the list is a 421, upon which a browser tries again on a connection of its own.
 *
 * **Gotchas** Probes of load balancers often send an address, or HTTP/1.0 without `Host`: health routes are answered
 * before the edge; list the address for any others.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-7.4
 * @since 0.1.0
 */
import * as Forwarded from "@sluice/core/Forwarded"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { hostPatterns } from "./internal/hostPatterns.ts"
import { forwarding, hostOf } from "./internal/requestedHost.ts"

/**
 * The request is for no host, or for what can't be one: 400.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidHost extends Problem.TaggedError<InvalidHost>()("InvalidHost", {
  status: 400,
  title: "Invalid host"
}) {}

/**
 * This server does not answer for the host: 421.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.5.20
 * @category errors
 * @since 0.1.0
 */
export class UnknownHost extends Problem.TaggedError<UnknownHost>()("UnknownHost", {
  status: 421,
  title: "Unknown host"
}) {}

/**
 * Fails with {@link InvalidHost} or {@link UnknownHost}, or with `InvalidForwarded` (400) when a trusted peer's field can't
 * be read.
 *
 * **Details** Throws a `RangeError` for a list without hosts, and for a host that can't be one.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { HostFilter } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const edge = HostFilter.make(["example.com", "*.example.com"])
 * const Hello = Route.get("/", Effect.succeed(HttpServerResponse.text("hello")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello, { edge })
 *   const ask = (host: string) => Effect.promise(() => fetch(new Request("http://localhost/", { headers: { host } })))
 *   return [yield* ask("www.example.com"), yield* ask("evil.test")].map(({ status }) => status)
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => [200, 421]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  hosts: ReadonlyArray<string>
): Middleware.Middleware<never, InvalidHost | UnknownHost | Forwarded.InvalidForwarded, HttpServerRequest> => {
  if (hosts.length === 0) throw new RangeError("hosts must not be empty")
  const find = hostPatterns("hosts", hosts)
  const check = Effect.flatMap(forwarding, (forwarding): Effect.Effect<void, InvalidHost | UnknownHost> => {
    const host = hostOf(forwarding)
    if (host === undefined) return Effect.fail(withoutHost(forwarding.exchange.httpVersion))
    if (!Forwarded.isHost(host)) return Effect.fail(new InvalidHost())
    return find(host) === undefined ? Effect.fail(new UnknownHost()) : Effect.void
  })
  return Middleware.around<InvalidHost | UnknownHost | Forwarded.InvalidForwarded, HttpServerRequest>(
    "HostFilter",
    (handler) => Effect.andThen(check, handler),
    { response: "none" }
  )
}

const withoutHost = (httpVersion: string): InvalidHost =>
  new InvalidHost({
    detail: httpVersion === "1.0"
      ? "This server needs a Host field, also in HTTP/1.0, which does not ask for one."
      : "The request has no Host field."
  })
