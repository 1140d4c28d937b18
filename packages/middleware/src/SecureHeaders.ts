/**
 * The response header fields that make browsers careful.
 *
 * **When to use** At the edge. The defaults suit a site and an API alike; a site adds a `contentSecurityPolicy` of its own.
 *
 * **Details** It edits the head, so errors, 404s and proxied responses have the fields too. A field that the handler or an
 * upstream has set stays as it is. `X-Powered-By` is removed. The defaults, all that are sent:
 *
 * | field | value |
 * |---|---|
 * | `cross-origin-opener-policy` | `same-origin` |
 * | `cross-origin-resource-policy` | `same-origin` |
 * | `origin-agent-cluster` | `?1` |
 * | `referrer-policy` | `no-referrer` |
 * | `strict-transport-security` | `max-age=15552000; includeSubDomains`, over TLS only |
 * | `x-content-type-options` | `nosniff` |
 * | `x-dns-prefetch-control` | `off` |
 * | `x-download-options` | `noopen` |
 * | `x-frame-options` | `SAMEORIGIN` |
 * | `x-permitted-cross-domain-policies` | `none` |
 * | `x-xss-protection` | `0` |
 *
 * **Gotchas** `Strict-Transport-Security` is sent when the request came over TLS, here or to a trusted peer that says so
 * (`TrustedPeers`): a browser ignores it on plain HTTP (RFC 6797, 8.1). A resource that other sites may embed needs
 * `crossOriginResourcePolicy: "cross-origin"`, on its route or from its handler.
 *
 * @see https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
 * @see https://www.rfc-editor.org/rfc/rfc6797
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import type { HeadEdit } from "@sluice/core/ResponseHead"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Result from "effect/Result"
import { requireDuration, requireFieldValue } from "./internal/options.ts"

/**
 * Settings of `Strict-Transport-Security`.
 *
 * @category models
 * @since 0.1.0
 */
export interface StrictTransportSecurity {
  /** How long browsers use TLS only; whole seconds are sent. @default "180 days" */
  readonly maxAge?: Duration.Input
  /** Whether subdomains are meant, too. @default true */
  readonly includeSubDomains?: boolean
  /**
   * Whether the domain may go into the lists that browsers ship with, which takes `includeSubDomains` and a `maxAge` of at
   * least a year, and is hard to undo. @default false
   */
  readonly preload?: boolean
}

/**
 * Settings of {@link make}: for each field another value, or `false` for none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** `Content-Security-Policy`. @default false */
  readonly contentSecurityPolicy?: string | false
  /** `Cross-Origin-Embedder-Policy`. @default false */
  readonly crossOriginEmbedderPolicy?: string | false
  /** `Cross-Origin-Opener-Policy`. @default "same-origin" */
  readonly crossOriginOpenerPolicy?: string | false
  /** `Cross-Origin-Resource-Policy`. @default "same-origin" */
  readonly crossOriginResourcePolicy?: string | false
  /** `Origin-Agent-Cluster`. @default "?1" */
  readonly originAgentCluster?: string | false
  /** `Permissions-Policy`. @default false */
  readonly permissionsPolicy?: string | false
  /** `Referrer-Policy`. @default "no-referrer" */
  readonly referrerPolicy?: string | false
  /** `Reporting-Endpoints`. @default false */
  readonly reportingEndpoints?: string | false
  /** `Strict-Transport-Security`, over TLS only. @default 180 days, with subdomains */
  readonly strictTransportSecurity?: StrictTransportSecurity | false
  /** `X-Content-Type-Options`. @default "nosniff" */
  readonly xContentTypeOptions?: string | false
  /** `X-DNS-Prefetch-Control`. @default "off" */
  readonly xDnsPrefetchControl?: string | false
  /** `X-Download-Options`. @default "noopen" */
  readonly xDownloadOptions?: string | false
  /** `X-Frame-Options`. @default "SAMEORIGIN" */
  readonly xFrameOptions?: string | false
  /** `X-Permitted-Cross-Domain-Policies`. @default "none" */
  readonly xPermittedCrossDomainPolicies?: string | false
  /** `X-XSS-Protection`: the filters that it controls did more harm than good. @default "0" */
  readonly xXssProtection?: string | false
  /** Whether `X-Powered-By` is removed. @default true */
  readonly removePoweredBy?: boolean
}

/**
 * Adds the fields.
 *
 * **Details** Throws a `RangeError` that names the option when a value can't be a header field's, or when `preload` is
 * asked for without what it takes.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { SecureHeaders } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const edge = SecureHeaders.make({ contentSecurityPolicy: "default-src 'self'", xFrameOptions: false })
 * const Page = Route.get("/", Effect.succeed(HttpServerResponse.html("<p>hello</p>")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Page, { edge })
 *   const { headers } = yield* Effect.promise(() => fetch(new Request("http://localhost/")))
 *   return [headers.get("content-security-policy"), headers.get("x-frame-options"), headers.get("referrer-policy")]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => ["default-src 'self'", null, "no-referrer"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Middleware.Middleware<never, never, HttpServerRequest> => {
  const fields = fieldsOf(options)
  const transport = options.strictTransportSecurity === false
    ? undefined
    : transportSecurity(options.strictTransportSecurity ?? {})
  const edit = editOf(fields, options.removePoweredBy ?? true)
  if (transport === undefined) return Middleware.head("SecureHeaders", edit)
  const secureEdit = editOf([...fields, [transportName, transport]], options.removePoweredBy ?? true)
  return Middleware.head("SecureHeaders", Effect.map(isSecure, (secure) => secure ? secureEdit : edit))
}

type Field = readonly [name: string, value: string]

const transportName = "strict-transport-security"

/** Every field but the one that depends on the request: the option, the name on the wire, the default. */
const table: ReadonlyArray<
  readonly [
    option: Exclude<keyof Options, "strictTransportSecurity" | "removePoweredBy">,
    name: string,
    Options[
      "xFrameOptions"
    ]
  ]
> = [
  ["contentSecurityPolicy", "content-security-policy", false],
  ["crossOriginEmbedderPolicy", "cross-origin-embedder-policy", false],
  ["crossOriginOpenerPolicy", "cross-origin-opener-policy", "same-origin"],
  ["crossOriginResourcePolicy", "cross-origin-resource-policy", "same-origin"],
  ["originAgentCluster", "origin-agent-cluster", "?1"],
  ["permissionsPolicy", "permissions-policy", false],
  ["referrerPolicy", "referrer-policy", "no-referrer"],
  ["reportingEndpoints", "reporting-endpoints", false],
  ["xContentTypeOptions", "x-content-type-options", "nosniff"],
  ["xDnsPrefetchControl", "x-dns-prefetch-control", "off"],
  ["xDownloadOptions", "x-download-options", "noopen"],
  ["xFrameOptions", "x-frame-options", "SAMEORIGIN"],
  ["xPermittedCrossDomainPolicies", "x-permitted-cross-domain-policies", "none"],
  ["xXssProtection", "x-xss-protection", "0"]
]

const fieldsOf = (options: Options): ReadonlyArray<Field> =>
  table.flatMap(([option, name, standard]) => {
    const value = options[option] ?? standard ?? false
    return value === false ? [] : [[name, requireFieldValue(option, value)] as const]
  })

const year = 31_536_000

/** @see https://www.rfc-editor.org/rfc/rfc6797#section-6.1 */
const transportSecurity = (options: StrictTransportSecurity): string => {
  const maxAge = requireDuration("strictTransportSecurity.maxAge", options.maxAge ?? "180 days")
  if (!Number.isFinite(maxAge)) throw new RangeError("strictTransportSecurity.maxAge must be finite, got Infinity")
  const seconds = Math.trunc(maxAge / 1000)
  const subdomains = options.includeSubDomains ?? true
  if (options.preload === true && !(subdomains && seconds >= year)) {
    throw new RangeError("strictTransportSecurity.preload takes includeSubDomains and a maxAge of at least 365 days")
  }
  return `max-age=${seconds}${subdomains ? "; includeSubDomains" : ""}${options.preload === true ? "; preload" : ""}`
}

const editOf = (fields: ReadonlyArray<Field>, removePoweredBy: boolean): HeadEdit => (head) => {
  for (const [name, value] of fields) {
    if (head.get(name) === undefined) head.set(name, value)
  }
  if (removePoweredBy) head.remove("x-powered-by")
}

/** Whether the client came over TLS: to this server, or to a trusted peer that says so. */
const isSecure: Effect.Effect<boolean, never, HttpServerRequest> = Effect.flatMap(
  Exchange.current,
  (exchange) =>
    exchange.secure ? Effect.succeed(true) : Effect.map(TrustedPeers.TrustedPeers, (trusted) => {
      const client = TrustedPeers.resolve(trusted, exchange.peerAddress, exchange.requestFields)
      return Result.isSuccess(client) && client.success.proto === "https"
    })
)
