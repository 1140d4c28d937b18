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
 * `crossOriginResourcePolicy: "cross-origin"`, on its route or from its handler. A report-only policy says nothing to
 * anybody without a `report-to` that `reportingEndpoints` names.
 *
 * @see https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
 * @see https://www.rfc-editor.org/rfc/rfc6797
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as RequestService from "@sluice/core/RequestService"
import type { HeadEdit } from "@sluice/core/ResponseHead"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as ContentSecurityPolicy from "./ContentSecurityPolicy.ts"
import { nonce as makeNonce } from "./internal/nonce.ts"
import { requireDuration, requireFieldValue } from "./internal/options.ts"
import { requireOrigin } from "./internal/origins.ts"
import { provided } from "./internal/provided.ts"
import { isSecure, readableForwardingUnsafe } from "./internal/requestedHost.ts"

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
 * Which origins may use a feature of the browser, such as `camera`: `self`, `*`, or origins; an empty list for nobody.
 *
 * @see https://www.w3.org/TR/permissions-policy/
 * @category models
 * @since 0.1.0
 */
export interface Permissions {
  readonly [feature: string]: ReadonlyArray<"self" | "*" | (string & {})>
}

/**
 * The nonce of the response, in base64: what `'nonce'` stands for in its policy, for `<script nonce="…">`.
 *
 * @category services
 * @since 0.1.0
 */
export class Nonce extends RequestService.Service<Nonce, string>()("@sluice/middleware/SecureHeaders/Nonce") {}

/**
 * Settings of {@link make}: for each field another value, or `false` for none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** `Content-Security-Policy`. @default false */
  readonly contentSecurityPolicy?: string | ContentSecurityPolicy.ContentSecurityPolicy | false
  /** `Content-Security-Policy-Report-Only`: a policy that is tried out. @default false */
  readonly contentSecurityPolicyReportOnly?: string | ContentSecurityPolicy.ContentSecurityPolicy | false
  /** `Cross-Origin-Embedder-Policy`. @default false */
  readonly crossOriginEmbedderPolicy?: string | false
  /** `Cross-Origin-Opener-Policy`. @default "same-origin" */
  readonly crossOriginOpenerPolicy?: string | false
  /** `Cross-Origin-Resource-Policy`. @default "same-origin" */
  readonly crossOriginResourcePolicy?: string | false
  /** `Origin-Agent-Cluster`. @default "?1" */
  readonly originAgentCluster?: string | false
  /** `Permissions-Policy`. @default false */
  readonly permissionsPolicy?: string | Permissions | false
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
  const { plain, secure } = editsOf(fieldsOf(options), options)
  if (plain.nonces || secure.nonces) throw new RangeError("'nonce' in a policy takes SecureHeaders.withNonce")
  if (plain === secure) return Middleware.head("SecureHeaders", plain.edit(""))
  const [plainEdit, secureEdit] = [plain.edit(""), secure.edit("")]
  return Middleware.head(
    "SecureHeaders",
    Effect.withFiber((fiber) => Effect.succeed(isSecureTransport(fiber) ? secureEdit : plainEdit))
  )
}

/**
 * The same with a policy in which `'nonce'` stands for 128 random bits of each response, which handlers have as
 * {@link Nonce}.
 *
 * **Details** Throws a `RangeError` when no policy has `'nonce'` in it.
 *
 * **Gotchas** A page with a nonce in it must not be cached and served again, or the nonce can be read and used.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { SecureHeaders } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const secure = SecureHeaders.withNonce({ contentSecurityPolicy: { "script-src": ["'nonce'", "'strict-dynamic'"] } })
 * const Page = Route.get(
 *   "/",
 *   secure,
 *   Effect.map(SecureHeaders.Nonce, (nonce) => HttpServerResponse.html(`<script nonce="${nonce}">start()</script>`))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Page)
 *   const response = yield* Effect.promise(() => fetch(new Request("http://localhost/")))
 *   const [, nonce] = /nonce="(.*)"/.exec(yield* Effect.promise(() => response.text()))!
 *   return response.headers.get("content-security-policy") === `script-src 'nonce-${nonce}' 'strict-dynamic'`
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const withNonce = (options: Options): Middleware.Middleware<Nonce, never, HttpServerRequest> => {
  const { plain, secure } = editsOf(fieldsOf(options), options)
  if (!plain.nonces) throw new RangeError("withNonce takes a policy with 'nonce' in it")
  return Middleware.make<Nonce, never, HttpServerRequest>(
    "SecureHeaders.withNonce",
    <E, R>(handler: Handler<E, R>) =>
      Effect.withFiber((fiber) => {
        const nonce = makeNonce()
        const edit = plain !== secure && isSecureTransport(fiber) ? secure : plain
        Exchange.editHeadUnsafe(Exchange.currentUnsafe(fiber), edit.edit(nonce))
        return provided(handler, Nonce, nonce)
      }),
    { response: "head" }
  )
}

type Field = readonly [name: string, value: string]

const transportName = "strict-transport-security"

/** Every field but the one that depends on the request: the option, the name on the wire, the default. */
const table: ReadonlyArray<
  readonly [
    option: Exclude<keyof Options, "strictTransportSecurity" | "removePoweredBy">,
    name: string,
    standard: string | false
  ]
> = [
  ["contentSecurityPolicy", "content-security-policy", false],
  ["contentSecurityPolicyReportOnly", "content-security-policy-report-only", false],
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
    const value = options[option] ?? standard
    return value === false ? [] : [[name, requireFieldValue(option, textOf(option, value))] as const]
  })

const textOf = (option: keyof Options, value: string | ContentSecurityPolicy.ContentSecurityPolicy | Permissions) => {
  if (typeof value === "string") return value
  // Sound: only `permissionsPolicy` may be permissions.
  return option === "permissionsPolicy" ? permissions(value as Permissions) : ContentSecurityPolicy.format(value)
}

/** A dictionary of structured fields (RFC 8941): `camera=(), fullscreen=(self "https://a.test"), autoplay=*`. */
const permissions = (policy: Permissions): string =>
  Object.entries(policy).map(([feature, allowed]) => {
    if (!/^[a-z][a-z\d-]*$/.test(feature)) {
      throw new RangeError(`permissionsPolicy must have features such as camera, got ${JSON.stringify(feature)}`)
    }
    if (!allowed.includes("*")) return `${feature}=(${allowed.map((one) => allowedOrigin(feature, one)).join(" ")})`
    if (allowed.length === 1) return `${feature}=*`
    throw new RangeError(`permissionsPolicy.${feature} must have * alone`)
  }).join(", ")

const allowedOrigin = (feature: string, origin: string): string =>
  origin === "self" ? origin : `"${requireOrigin(`permissionsPolicy.${feature}`, origin)}"`

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

/** An edit that may need a nonce. */
interface Edit {
  readonly nonces: boolean
  readonly edit: (nonce: string) => HeadEdit
}

/** The edits for plain HTTP and for TLS; the same one where there is no difference. */
const editsOf = (fields: ReadonlyArray<Field>, options: Options): { readonly plain: Edit; readonly secure: Edit } => {
  const removePoweredBy = options.removePoweredBy ?? true
  const plain = editOf(fields, removePoweredBy)
  if (options.strictTransportSecurity === false) return { plain, secure: plain }
  const transport = transportSecurity(options.strictTransportSecurity ?? {})
  return { plain, secure: editOf([...fields, [transportName, transport]], removePoweredBy) }
}

const editOf = (fields: ReadonlyArray<Field>, removePoweredBy: boolean): Edit => {
  const fixed = fields.filter((field) => !hasNonce(field))
  const templates = fields.filter(hasNonce).map(([name, value]) => [name, value.split(placeholder)] as const)
  return {
    nonces: templates.length > 0,
    edit: (nonce) => (head) => {
      for (const [name, value] of fixed) {
        if (head.get(name) === undefined) head.append(name, value)
      }
      for (const [name, parts] of templates) {
        if (head.get(name) === undefined) head.append(name, parts.join(`'nonce-${nonce}'`))
      }
      if (removePoweredBy) head.remove("x-powered-by")
    }
  }
}

const placeholder = "'nonce'"

const hasNonce = ([name, value]: Field): boolean =>
  name.startsWith("content-security-policy") && value.includes(placeholder)

const isSecureTransport = (fiber: Fiber.Fiber<unknown, unknown>): boolean => isSecure(readableForwardingUnsafe(fiber))
