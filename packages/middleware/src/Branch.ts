/**
 * One middleware or another, by host or by header field.
 *
 * **When to use** One server has several faces: the public API and the admin's, or a beta that some clients opt into.
 * Anything else is `Middleware.branch` with a key of your own; a yes or no is `Middleware.when`.
 *
 * **Details** A branch provides a per-request service only when each of its middleware does, `otherwise` included, so a
 * handler can't count on what only some requests have.
 *
 * @since 0.1.0
 */
import * as Middleware from "@sluice/core/Middleware"
import * as Effect from "effect/Effect"
import { hostPatterns } from "./internal/hostPatterns.ts"
import { requireFieldName } from "./internal/options.ts"
import { requestedHost } from "./internal/requestedHost.ts"

/**
 * Takes the middleware of the host that the client asked for: its `Host`, or what a trusted peer (`TrustedPeers`) says.
 *
 * **Details** A key is a host name or address, with or without a port (`example.com`, `[::1]:8080`), or `*.example.com` for
 * the names below it. The exact name wins, then the longest suffix. Throws a `RangeError` for a key that can't be a host.
 *
 * @example
 * ```ts
 * import { Middleware } from "@sluice/core"
 * import { Branch } from "@sluice/middleware"
 *
 * const internal = Middleware.head("internal", (head) => head.set("cache-control", "no-store"))
 * const hosts = Branch.byHost({ "admin.example.com": internal }, Middleware.identity)
 * console.log(hosts.label) // => byHost(internal)
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const byHost = <Cases extends Readonly<Record<string, Middleware.Any>>, Otherwise extends Middleware.Any>(
  cases: Cases,
  otherwise: Otherwise
): Middleware.Branch<Cases[keyof Cases] | Otherwise, never, never> => {
  const find = hostPatterns("byHost", Object.keys(cases))
  const key = Effect.map(requestedHost, (host) => host === undefined ? undefined : find(host))
  return Middleware.branch("byHost", () => key, cases, otherwise)
}

/**
 * Takes the middleware of a field's value, compared as it is. Throws a `RangeError` for a name that can't be a field's.
 *
 * @category combinators
 * @since 0.1.0
 */
export const byHeader = <Cases extends Readonly<Record<string, Middleware.Any>>, Otherwise extends Middleware.Any>(
  name: string,
  cases: Cases,
  otherwise: Otherwise
): Middleware.Branch<Cases[keyof Cases] | Otherwise, never, never> => {
  const field = requireFieldName("name", name).toLowerCase()
  return Middleware.branch(`byHeader(${field})`, (request) => request.headers[field], cases, otherwise)
}
