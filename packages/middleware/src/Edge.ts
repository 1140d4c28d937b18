/**
 * Ready-made stacks for the edge of a server: what most services want there, in the order in which it works.
 *
 * **When to use** As `edge` of `Server.layer`, when you have no reason for an order of your own. {@link api} is for JSON APIs,
 * {@link web} for sites with pages and forms, {@link gateway} for proxies. Each is a value like any other stack: put a middleware of
 * yours around it or below it with `Middleware.stack`, and print its `label` to see what it does.
 *
 * **Details** Why they stand as they do, outermost first:
 *
 * | | because |
 * |---|---|
 * | `AccessLog`, `Metrics` | they see every exchange, whatever becomes of it further in |
 * | `Reporting` | what fails below it is reported, once |
 * | `RequestId` | every response has the id, refusals too, and so has every log line |
 * | `SecureHeaders` | refusals need the fields as well |
 * | `ClientIp` | it may refuse a request (400), and that has an id by now |
 * | `LoadShed` | nothing that costs anything comes before it |
 * | `Cors` | it answers preflights, which have no credentials; refusals below it can be read by scripts of other origins |
 * | `Csrf` | forged requests go no further |
 * | `Compression` | it encodes what those below it have made, and makes their entity tags weak |
 * | `StatusPages` | bare errors get a body as they leave, and `html` around it makes pages of it |
 * | `Etag` | it looks at what the handler has made, before it is encoded |
 * | `BodyLimit`, `Timeout.requestBody` | they count what the handler reads, and nothing before it reads |
 * | `Timeout` | it counts the handler's time, not that of the others |
 *
 * Authentication, rate limits, idempotency keys and caches belong to groups of routes, below the edge: which of them, and with
 * what, differs from group to group. `Tracing` goes around the whole, as it needs `Tracing.layer`.
 *
 * @since 0.1.0
 */
import type { ClientAddress } from "@sluice/core/ClientAddress"
import type { InvalidForwarded } from "@sluice/core/Forwarded"
import type { Incident } from "@sluice/core/Incident"
import * as Middleware from "@sluice/core/Middleware"
import type { Reporter } from "@sluice/core/Reporter"
import type * as Duration from "effect/Duration"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as AccessLog from "./AccessLog.ts"
import * as BodyLimit from "./BodyLimit.ts"
import * as ClientIp from "./ClientIp.ts"
import * as Compression from "./Compression.ts"
import * as Cors from "./Cors.ts"
import * as Csrf from "./Csrf.ts"
import * as Etag from "./Etag.ts"
import * as LoadShed from "./LoadShed.ts"
import type { LoadSignals } from "./LoadSignals.ts"
import * as Metrics from "./Metrics.ts"
import * as Reporting from "./Reporting.ts"
import * as RequestId from "./RequestId.ts"
import * as SecureHeaders from "./SecureHeaders.ts"
import * as StatusPages from "./StatusPages.ts"
import * as Timeout from "./Timeout.ts"

/**
 * Settings that all of them have.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly accessLog?: AccessLog.Options
  readonly metrics?: Metrics.Options
  readonly reporting?: Reporting.Options
  readonly requestId?: RequestId.Options
  readonly secureHeaders?: SecureHeaders.Options
  readonly clientIp?: ClientIp.Options
}

/**
 * Settings of stacks before handlers.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandlerOptions extends Options {
  readonly compression?: Compression.Options
  readonly etag?: Etag.Options
  /** What a request body may have, in bytes; 413 beyond it. @default 1048576 */
  readonly bodyLimit?: number
  /** How long a client may be silent within its body, and how long that may take; then 408. @default 30 seconds, 5 minutes */
  readonly requestBody?: Timeout.BodyOptions
  /** How long a handler may take until it has a response; then 503. @default "30 seconds" */
  readonly timeout?: Duration.Input
}

/**
 * Settings of {@link api}.
 *
 * @category models
 * @since 0.1.0
 */
export interface ApiOptions extends HandlerOptions {
  /** Which other origins may call. @default none, and there is no `Cors` */
  readonly cors?: Cors.Options
}

/**
 * Settings of {@link web}.
 *
 * @category models
 * @since 0.1.0
 */
export interface WebOptions extends HandlerOptions {
  readonly csrf?: Csrf.Options
  /** What a page of an error looks like. @default a plain one */
  readonly errorPage?: Parameters<typeof StatusPages.html>[0]
}

/**
 * Settings of {@link gateway}.
 *
 * @category models
 * @since 0.1.0
 */
export interface GatewayOptions extends Options {
  /** @default `maxEventLoopDelay` of 200 ms */
  readonly loadShed?: LoadShed.Options
}

/** What the outermost provide and need, which is the same everywhere. */
type Outer<P = never, X = never, Q = never> = Middleware.Middleware<
  Incident | RequestId.RequestId | ClientAddress | P,
  InvalidForwarded | X,
  Reporter | HttpServerRequest | Q
>

type Handling<P = never, X = never> = Outer<
  P,
  | Compression.NoAcceptableCoding
  | Etag.PreconditionFailed
  | BodyLimit.BodyTooLarge
  | Timeout.RequestBodyTimeout
  | Timeout.HandlerTimeout
  | X
>

const watching = (options: Options) =>
  Middleware.stack(
    AccessLog.make(options.accessLog),
    Metrics.make(options.metrics),
    Reporting.make(options.reporting),
    RequestId.make(options.requestId)
  )

const handling = (options: HandlerOptions) =>
  Middleware.stack(
    Etag.make(options.etag),
    BodyLimit.make(options.bodyLimit ?? 1_048_576),
    Timeout.requestBody(options.requestBody ?? { idle: "30 seconds", total: "5 minutes" }),
    Timeout.make(options.timeout ?? "30 seconds")
  )

/**
 * For a JSON API.
 *
 * **Details** Throws what the middleware in it throw for options that make no sense.
 *
 * @example
 * ```ts
 * import { Edge } from "@sluice/middleware"
 *
 * const edge = Edge.api({ cors: { origins: ["https://shop.example"] }, timeout: "10 seconds" })
 * console.log(edge.labels.slice(0, 6).join(" > ")) // => AccessLog > Metrics > Reporting > RequestId > SecureHeaders > ClientIp
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const api = (options: ApiOptions = {}): Handling =>
  Middleware.stack(
    watching(options),
    SecureHeaders.make(options.secureHeaders),
    ClientIp.make(options.clientIp),
    options.cors === undefined ? Middleware.identity : Cors.make(options.cors),
    Compression.make(options.compression),
    StatusPages.make(),
    handling(options)
  )

/** Scripts of the site itself, and those with the response's nonce. */
const policy: NonNullable<SecureHeaders.Options["contentSecurityPolicy"]> = {
  "default-src": ["'self'"],
  "script-src": ["'self'", "'nonce'"],
  "style-src": ["'self'", "'nonce'"],
  "object-src": ["'none'"],
  "base-uri": ["'none'"],
  "form-action": ["'self'"],
  "frame-ancestors": ["'self'"]
}

/**
 * For a site with pages and forms: requests that other sites forge are refused, errors are pages for those who prefer them,
 * and a content security policy lets only the site's own scripts and styles run, and inline ones that carry the response's
 * `SecureHeaders.Nonce`.
 *
 * **Details** Throws what the middleware in it throw for options that make no sense. A `contentSecurityPolicy` of your own
 * must have `'nonce'` in it.
 *
 * @example
 * ```ts
 * import { Edge } from "@sluice/middleware"
 *
 * console.log(Edge.web().labels.includes("Csrf")) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const web = (options: WebOptions = {}): Handling<SecureHeaders.Nonce, Csrf.CrossOriginRequest> =>
  Middleware.stack(
    watching(options),
    SecureHeaders.withNonce({ contentSecurityPolicy: policy, ...options.secureHeaders }),
    ClientIp.make(options.clientIp),
    Csrf.make(options.csrf),
    Compression.make(options.compression),
    StatusPages.html(options.errorPage),
    StatusPages.make(),
    handling(options)
  )

/**
 * For a proxy. Nothing in it reads a response's value, so proxied responses stream from socket to socket; limits and clocks of
 * bodies are the proxy's own (`Proxy.forward`).
 *
 * **Details** Throws what the middleware in it throw for options that make no sense.
 *
 * @example
 * ```ts
 * import { Edge } from "@sluice/middleware"
 *
 * console.log(Edge.gateway().response) // => head
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const gateway = (options: GatewayOptions = {}): Outer<never, LoadShed.Overloaded, LoadSignals> =>
  Middleware.stack(
    watching(options),
    SecureHeaders.make(options.secureHeaders),
    ClientIp.make(options.clientIp),
    LoadShed.make(options.loadShed ?? { maxEventLoopDelay: "200 millis" })
  )
