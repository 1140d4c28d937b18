/**
 * Everything that can go wrong between a client and an upstream, as typed errors.
 *
 * **When to use** Match on `_tag` to answer or retry in your own way; read `phase`, `blame`, `retryable` and
 * `healthStrike` to decide by policy instead of by tag. Never match on `message`: its text is for logs and may change.
 *
 * **Details** The union is split where a response can no longer be changed. `Uncommitted` errors are raised while no
 * byte of the response has gone out: they are problems with a status and are rendered when nothing else handles them.
 * `Committed` errors come after it: they have no response at all, so the compiler refuses to render them, and all that
 * is left is to abort the connection and to report. An interruption (client gone, shutdown, a user's cancel) is not an
 * error and has no tag here.
 *
 * A rendered body says type, title and status. Cause text, upstream addresses and TLS details stay in the process; the
 * standard place for what happened is the `Proxy-Status` field (RFC 9209), which every rendered error carries.
 *
 * **Gotchas** What a user's director or response mapper fails with has no wrapper here: it stays in `E` as it is, so
 * that it is caught by its own tag and must have a response of its own.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9209#section-2.3
 * @since 0.1.0
 */
import * as Problem from "@sluice/core/Problem"
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import type { Severity } from "effect/LogLevel"

/**
 * How far an exchange had come.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase =
  | "accept"
  | "route"
  | "select"
  | "queue"
  | "resolve"
  | "connect"
  | "tls"
  | "requestHead"
  | "requestBody"
  | "responseHead"
  | "responseBody"
  | "trailers"
  | "tunnel"

/**
 * Whose doing it was. It decides the severity of the report: `client` is Debug, `policy` Info, `upstream` Warn and
 * `proxy` Error.
 *
 * @category models
 * @since 0.1.0
 */
export type Blame = "client" | "proxy" | "upstream" | "policy"

/**
 * When the request may be sent again.
 *
 * - `"never"`: not at all.
 * - `"always"`: whatever the method, because no byte of the request has left.
 * - `"idempotent"`: when the method is idempotent (RFC 9110, 9.2.2) and the body can be sent again.
 * - `"stale"`: once, on a fresh connection, when a reused connection died and the request is idempotent or nothing of
 *   it was sent (RFC 9112, 9.3.1).
 * - `"otherUpstream"`: at once, but only on another upstream.
 * - `"later"`: nothing to send it to now; the client may come back.
 *
 * @category models
 * @since 0.1.0
 */
export type Retryable = "never" | "always" | "idempotent" | "stale" | "otherUpstream" | "later"

/**
 * The error types of `Proxy-Status` that are used here (RFC 9209, 2.3).
 *
 * @category models
 * @since 0.1.0
 */
export type ProxyStatus =
  | "dns_timeout"
  | "dns_error"
  | "destination_not_found"
  | "destination_unavailable"
  | "destination_ip_unroutable"
  | "connection_refused"
  | "connection_terminated"
  | "connection_timeout"
  | "connection_read_timeout"
  | "connection_write_timeout"
  | "connection_limit_reached"
  | "tls_protocol_error"
  | "tls_certificate_error"
  | "tls_alert_received"
  | "http_request_error"
  | "http_request_denied"
  | "http_response_incomplete"
  | "http_response_header_section_size"
  | "http_response_body_size"
  | "http_response_transfer_coding"
  | "http_response_timeout"
  | "http_upgrade_failed"
  | "http_protocol_error"
  | "proxy_internal_response"
  | "proxy_internal_error"
  | "proxy_configuration_error"
  | "proxy_loop_detected"

/**
 * What was known of the exchange when it failed. None of it reaches a client.
 *
 * @category models
 * @since 0.1.0
 */
export interface Evidence {
  /** The upstream that was tried, as it is named in logs. */
  readonly upstream?: string
  /** Which try this was, from 1. */
  readonly attempt?: number
  /** Bytes of the request that were handed to the connection, head included. */
  readonly bytesSent?: number
  /** Bytes of the response that were read, head included. */
  readonly bytesReceived?: number
}

/**
 * What every error says about itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Facts extends Evidence {
  readonly phase: Phase
  readonly blame: Blame
  readonly retryable: Retryable
  /** Whether passive health checks count it against the upstream. */
  readonly healthStrike: boolean
  /** The error type in `Proxy-Status`. */
  readonly proxyStatus: ProxyStatus
}

/**
 * What the constructor of any error takes besides its own members. `phase` and `blame` replace those of the class.
 *
 * @category models
 * @since 0.1.0
 */
export interface Info extends Evidence {
  /** What raised it. */
  readonly cause?: unknown
  readonly phase?: Phase
  readonly blame?: Blame
}

/**
 * An error of a class with this tag that can still be rendered.
 *
 * @category models
 * @since 0.1.0
 */
export interface UncommittedError<Tag extends string, Status extends number>
  extends Problem.OpaqueError<Tag, Status>, Facts
{
  readonly committed: false
  readonly [TypeId]: typeof TypeId
}

/**
 * An error of a class with this tag that comes too late to be rendered. `status` is what it counts as in reports.
 *
 * @category models
 * @since 0.1.0
 */
export interface CommittedError<Tag extends string> extends Cause.YieldableError, Facts {
  readonly _tag: Tag
  readonly status: number
  readonly committed: true
  readonly [TypeId]: typeof TypeId
}

/**
 * Marks the errors of this module.
 *
 * @category symbols
 * @since 0.1.0
 */
export const TypeId = "~sluice/ProxyError"

/**
 * A class of errors that can be rendered.
 *
 * @category models
 * @since 0.1.0
 */
export interface UncommittedClass<Tag extends string, Status extends number, Members extends object> {
  new(members: {} extends Members ? void | (Members & Info) : Members & Info):
    & UncommittedError<Tag, Status>
    & Readonly<Members>
}

/**
 * A class of errors that can't be rendered.
 *
 * @category models
 * @since 0.1.0
 */
export interface CommittedClass<Tag extends string, Members extends object> {
  new(members: {} extends Members ? void | (Members & Info) : Members & Info):
    & CommittedError<Tag>
    & Readonly<Members>
}

type Fixed<A, Members> = A | ((self: Members & Facts) => A)

interface Policy<Members> {
  readonly phase: Phase
  readonly blame: Blame
  readonly proxyStatus: Fixed<ProxyStatus, Members>
  /** @default "never" */
  readonly retryable?: Retryable
  /** @default false */
  readonly healthStrike?: Fixed<boolean, Members>
  /** @default "Failed" from 500 on */
  readonly ending?: Fixed<Problem.Ending, Members>
}

interface UncommittedPolicy<Status extends number, Members> extends Policy<Members> {
  readonly status: Fixed<Status, Members>
  /** Whether the connection can't carry another request: `Connection: close`. @default false */
  readonly close?: boolean
  /** Fields that the response must have besides. @default none */
  readonly headers?: (self: Members & Facts) => Record<string, string>
}

interface CommittedPolicy<Members> extends Policy<Members> {
  readonly status: number
}

const severityOf: { readonly [B in Blame]: Severity } = {
  client: "Debug",
  policy: "Info",
  upstream: "Warn",
  proxy: "Error"
}

/** Puts a fact on a prototype, as data when it is fixed and as a getter when it depends on the instance. */
const install = (prototype: object, facts: Record<string, unknown>): void => {
  for (const [name, fact] of Object.entries(facts)) {
    Object.defineProperty(
      prototype,
      name,
      typeof fact === "function"
        ? {
          configurable: true,
          get: function(this: unknown) {
            return fact(this)
          }
        }
        : { configurable: true, writable: true, value: fact }
    )
  }
}

/** What `Problem.Opaque` derives from a status, for classes whose instances differ in it. */
const byStatus = {
  [ErrorReporter.ignore]: (self: { readonly status: number }) => self.status < 500,
  [Problem.ending]: (self: { readonly status: number }) => self.status < 500 ? undefined : "Failed"
}

const facts = (policy: Policy<never>, committed: boolean): Record<string, unknown> => ({
  phase: policy.phase,
  blame: policy.blame,
  committed,
  retryable: policy.retryable ?? "never",
  healthStrike: policy.healthStrike ?? false,
  proxyStatus: policy.proxyStatus,
  [TypeId]: TypeId,
  [ErrorReporter.severity]: (self: Facts) => severityOf[self.blame],
  message: (self: { readonly _tag: string; readonly reason?: string; readonly code?: string }) =>
    self.reason ?? self.code ?? self._tag
})

/** Seconds for `Retry-After`, rounded up so that a client never comes back too early. */
const retryAfterSeconds = (input: Duration.Input): string => String(Math.ceil(Duration.toSeconds(input)))

const responseHeaders = (
  self: { readonly proxyStatus: ProxyStatus; readonly retryAfter?: Duration.Input },
  close: boolean
): Record<string, string> => ({
  "proxy-status": `sluice; error=${self.proxyStatus}`,
  ...(close ? { connection: "close" } : undefined),
  ...(self.retryAfter === undefined ? undefined : { "retry-after": retryAfterSeconds(self.retryAfter) })
})

const uncommitted = <Members extends object = {}>() =>
<const Tag extends string, const Status extends number>(
  tag: Tag,
  policy: UncommittedPolicy<Status, Members>
): UncommittedClass<Tag, Status, Members> => {
  const statusOf = policy.status
  class UncommittedProblem extends Problem.Opaque<Record<string, unknown>>()(tag, {
    status: typeof statusOf === "function" ? 500 : (statusOf as number)
  }) {
    constructor(members: Record<string, unknown> | undefined) {
      super(members ?? {})
      if (typeof statusOf !== "function") return
      // Sound: the constructor of the class asks for `Members`, and the prototype has the facts.
      const self = this as unknown as Members & Facts
      Object.defineProperty(this, "status", { enumerable: true, value: statusOf(self) })
    }
    override [HttpServerRespondable.symbol]() {
      // Sound: as above.
      const self = this as unknown as Members & Facts
      return Effect.sync(() =>
        Problem.toResponse({ status: this.status }, {
          ...responseHeaders(self, policy.close ?? false),
          ...policy.headers?.(self)
        })
      )
    }
  }
  install(UncommittedProblem.prototype, {
    ...facts(policy, false),
    ...(typeof statusOf === "function" ? byStatus : undefined),
    ...(policy.ending === undefined ? undefined : { [Problem.ending]: policy.ending })
  })
  // Sound: the constructor assigns every member, and the prototype has the rest.
  return UncommittedProblem as unknown as UncommittedClass<Tag, Status, Members>
}

const committed =
  <Members extends object = {}>() =>
  <const Tag extends string>(tag: Tag, policy: CommittedPolicy<Members>): CommittedClass<Tag, Members> => {
    class CommittedFailure extends Data.TaggedError(tag)<Record<string, unknown>> {
      constructor(members: Record<string, unknown> | undefined) {
        super(members ?? {})
      }
    }
    install(CommittedFailure.prototype, {
      ...facts(policy, true),
      status: policy.status,
      [ErrorReporter.ignore]: policy.blame === "client",
      [Problem.ending]: policy.ending ?? "Failed"
    })
    // Sound: the constructor assigns every member, and the prototype has the rest.
    return CommittedFailure as unknown as CommittedClass<Tag, Members>
  }

// ---------------------------------------------------------------------------------------------------------------------
// The client's request
// ---------------------------------------------------------------------------------------------------------------------

/**
 * The request is not one that may be relayed: 400 and `Connection: close`.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestRejected extends uncommitted<{
  readonly reason:
    | "DuplicateHost"
    | "InvalidHost"
    | "MissingHost"
    | "BadTarget"
    | "FramingConflict"
    | "BadContentLength"
    | "TeOnHttp10"
    | "ForbiddenField"
}>()("RequestRejected", {
  status: 400,
  phase: "accept",
  blame: "client",
  proxyStatus: "http_request_error",
  close: true
}) {}

/**
 * The request has a transfer coding other than `chunked`: 501 and `Connection: close`, for the end of its body is
 * unknown (RFC 9112, 6.1).
 *
 * @category errors
 * @since 0.1.0
 */
export class TransferCodingUnsupported extends uncommitted()("TransferCodingUnsupported", {
  status: 501,
  phase: "accept",
  blame: "client",
  proxyStatus: "http_request_error",
  close: true
}) {}

/**
 * The request line names an HTTP version that is not served: 505 and `Connection: close`.
 *
 * @category errors
 * @since 0.1.0
 */
export class HttpVersionUnsupported extends uncommitted()("HttpVersionUnsupported", {
  status: 505,
  phase: "accept",
  blame: "client",
  proxyStatus: "http_request_error",
  close: true
}) {}

/**
 * The request target is longer than `limit` bytes: 414.
 *
 * @category errors
 * @since 0.1.0
 */
export class TargetTooLong extends uncommitted<{ readonly limit: number }>()("TargetTooLong", {
  status: 414,
  phase: "accept",
  blame: "client",
  proxyStatus: "http_request_error"
}) {}

/**
 * The request has more than `limit` bytes or lines of fields: 431.
 *
 * @category errors
 * @since 0.1.0
 */
export class HeadersTooLarge extends uncommitted<{ readonly limit: number }>()("HeadersTooLarge", {
  status: 431,
  phase: "accept",
  blame: "client",
  proxyStatus: "http_request_error"
}) {}

/**
 * The request expects something other than `100-continue`: 417 (RFC 9110, 10.1.1).
 *
 * @category errors
 * @since 0.1.0
 */
export class ExpectationFailed extends uncommitted()("ExpectationFailed", {
  status: 417,
  phase: "accept",
  blame: "client",
  proxyStatus: "http_request_error"
}) {}

/**
 * The request asks for an upgrade in a way that can't be relayed: 426 for a WebSocket version that is not served, with the
 * one that is (RFC 6455, 4.4), else 400.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpgradeInvalid extends uncommitted<{ readonly reason: "Token" | "Key" | "Version" }>()("UpgradeInvalid", {
  status: (self): 400 | 426 => self.reason === "Version" ? 426 : 400,
  phase: "accept",
  blame: "client",
  proxyStatus: "http_request_error",
  headers: (self): Record<string, string> =>
    self.reason === "Version"
      ? { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13" }
      : {}
}) {}

/**
 * The method is not relayed: 501 for `CONNECT`, which would make a tunnel of the proxy's making, else 405.
 *
 * @category errors
 * @since 0.1.0
 */
export class MethodNotProxied extends uncommitted<{ readonly method: string }>()("MethodNotProxied", {
  status: (self): 405 | 501 => self.method === "CONNECT" ? 501 : 405,
  phase: "route",
  blame: "client",
  proxyStatus: "http_request_denied"
}) {}

/**
 * The request has been here before, by its `Via` or `CDN-Loop` field: 508.
 *
 * @category errors
 * @since 0.1.0
 */
export class LoopDetected extends uncommitted()("LoopDetected", {
  status: 508,
  phase: "route",
  blame: "policy",
  proxyStatus: "proxy_loop_detected"
}) {}

/**
 * The request body is larger than `limit` bytes, by its `Content-Length` or while it was read: 413 and
 * `Connection: close`.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestBodyTooLarge extends uncommitted<{ readonly limit: number }>()("RequestBodyTooLarge", {
  status: 413,
  phase: "requestBody",
  blame: "client",
  proxyStatus: "http_request_error",
  close: true
}) {}

/**
 * The client stopped sending its body: 408 and `Connection: close`.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestBodyTimeout extends uncommitted()("RequestBodyTimeout", {
  status: 408,
  phase: "requestBody",
  blame: "client",
  proxyStatus: "http_request_error",
  close: true,
  ending: "TimedOut"
}) {}

/**
 * Reading the client's body failed, such as on a bad chunk or a client that left: 400 and `Connection: close`.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestBodyMalformed extends uncommitted()("RequestBodyMalformed", {
  status: 400,
  phase: "requestBody",
  blame: "client",
  proxyStatus: "http_request_error",
  close: true
}) {}

/**
 * The request body was not as long as its `Content-Length` promised: 400 when `blame` is `"client"`; 500 when something
 * in the process changed or consumed it (`"proxy"`, which is the default).
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestBodyLengthMismatch extends uncommitted<{
  /** In bytes. */
  readonly expected: number
  /** In bytes, up to where it was noticed. */
  readonly actual: number
}>()("RequestBodyLengthMismatch", {
  status: (self): 400 | 500 => self.blame === "client" ? 400 : 500,
  phase: "requestBody",
  blame: "proxy",
  proxyStatus: (self) => self.blame === "client" ? "http_request_error" : "proxy_internal_error",
  close: true
}) {}

/**
 * What was to be sent upstream can't be written as HTTP, such as a field value with a line break: 500. A client's own
 * request never gets this far; a director or the configuration put it there.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamRequestInvalid extends uncommitted<{
  readonly reason: "Method" | "Target" | "FieldName" | "FieldValue" | "Upgrade" | "Body"
}>()("UpstreamRequestInvalid", {
  status: 500,
  phase: "requestHead",
  blame: "proxy",
  proxyStatus: "proxy_internal_error"
}) {}

// ---------------------------------------------------------------------------------------------------------------------
// Choosing an upstream
// ---------------------------------------------------------------------------------------------------------------------

/**
 * No route matches: 404.
 *
 * @category errors
 * @since 0.1.0
 */
export class RouteNotFound extends uncommitted()("RouteNotFound", {
  status: 404,
  phase: "route",
  blame: "client",
  proxyStatus: "destination_not_found"
}) {}

/**
 * There is no upstream to send it to: the set is empty or all of it is unhealthy. 503.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoUpstream extends uncommitted<{ readonly retryAfter?: Duration.Input }>()("NoUpstream", {
  status: 503,
  phase: "select",
  blame: "policy",
  retryable: "later",
  proxyStatus: "destination_unavailable"
}) {}

/**
 * As many connections as are allowed are in use, and as many requests as are allowed are waiting for one: 503.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamSaturated extends uncommitted<{ readonly retryAfter?: Duration.Input }>()("UpstreamSaturated", {
  status: 503,
  phase: "queue",
  blame: "policy",
  retryable: "otherUpstream",
  proxyStatus: "connection_limit_reached",
  ending: "Shed"
}) {}

/**
 * The `queue` clock ran out before there was a connection for the request: 503.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueTimeout extends uncommitted<{ readonly retryAfter?: Duration.Input }>()("QueueTimeout", {
  status: 503,
  phase: "queue",
  blame: "policy",
  retryable: "otherUpstream",
  proxyStatus: "connection_limit_reached",
  ending: "Shed"
}) {}

/**
 * The upstream's circuit breaker is open: 503. `retryAfter` is the time until it lets a request through again.
 *
 * @category errors
 * @since 0.1.0
 */
export class CircuitOpen extends uncommitted<{ readonly retryAfter?: Duration.Input }>()("CircuitOpen", {
  status: 503,
  phase: "select",
  blame: "policy",
  retryable: "otherUpstream",
  proxyStatus: "destination_unavailable",
  ending: "Shed"
}) {}

/**
 * The proxy is shutting down: 503 and `Connection: close`.
 *
 * @category errors
 * @since 0.1.0
 */
export class Draining extends uncommitted<{ readonly retryAfter?: Duration.Input }>()("Draining", {
  status: 503,
  phase: "accept",
  blame: "policy",
  retryable: "later",
  proxyStatus: "proxy_internal_response",
  close: true,
  ending: "Drained"
}) {}

// ---------------------------------------------------------------------------------------------------------------------
// Reaching the upstream
// ---------------------------------------------------------------------------------------------------------------------

const dnsTimeouts: ReadonlySet<string> = new Set(["EAI_AGAIN", "ETIMEOUT", "ETIMEDOUT", "EDNSTIMEOUT"])

/**
 * The upstream's name has no address: 502.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamResolveError extends uncommitted<{ readonly code: string }>()("UpstreamResolveError", {
  status: 502,
  phase: "resolve",
  blame: "upstream",
  retryable: "always",
  healthStrike: true,
  proxyStatus: (self) => dnsTimeouts.has(self.code) ? "dns_timeout" : "dns_error"
}) {}

/**
 * The `resolve` clock ran out before the upstream's name had an address: 504.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamResolveTimeout extends uncommitted()("UpstreamResolveTimeout", {
  status: 504,
  phase: "resolve",
  blame: "upstream",
  retryable: "always",
  healthStrike: true,
  proxyStatus: "dns_timeout",
  ending: "TimedOut"
}) {}

const connectProxyStatus: { readonly [code: string]: ProxyStatus } = {
  ECONNREFUSED: "connection_refused",
  EHOSTUNREACH: "destination_ip_unroutable",
  ENETUNREACH: "destination_ip_unroutable",
  ECONNRESET: "connection_terminated"
}

/**
 * No connection to the upstream could be made: 502. `code` is Node's, such as `ECONNREFUSED`.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamConnectError extends uncommitted<{ readonly code: string }>()("UpstreamConnectError", {
  status: 502,
  phase: "connect",
  blame: "upstream",
  retryable: "always",
  healthStrike: true,
  proxyStatus: (self) => connectProxyStatus[self.code] ?? "destination_unavailable"
}) {}

/**
 * The `connect` clock ran out before there was a TCP connection: 504.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamConnectTimeout extends uncommitted()("UpstreamConnectTimeout", {
  status: 504,
  phase: "connect",
  blame: "upstream",
  retryable: "always",
  healthStrike: true,
  proxyStatus: "connection_timeout",
  ending: "TimedOut"
}) {}

const tlsProxyStatus: { readonly [reason: string]: ProxyStatus } = {
  AltName: "tls_certificate_error",
  Expired: "tls_certificate_error",
  SelfSigned: "tls_certificate_error",
  Untrusted: "tls_certificate_error",
  Alert: "tls_alert_received"
}

/**
 * The TLS handshake with the upstream failed: 502.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamTlsError extends uncommitted<{
  readonly reason: "AltName" | "Expired" | "SelfSigned" | "Untrusted" | "Alert" | "Alpn" | "Handshake"
}>()("UpstreamTlsError", {
  status: 502,
  phase: "tls",
  blame: "upstream",
  healthStrike: true,
  proxyStatus: (self) => tlsProxyStatus[self.reason] ?? "tls_protocol_error"
}) {}

/**
 * The `tls` clock ran out during the TLS handshake: 504.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamTlsTimeout extends uncommitted()("UpstreamTlsTimeout", {
  status: 504,
  phase: "tls",
  blame: "upstream",
  retryable: "always",
  healthStrike: true,
  proxyStatus: "connection_timeout",
  ending: "TimedOut"
}) {}

// ---------------------------------------------------------------------------------------------------------------------
// The exchange with the upstream, up to the response head
// ---------------------------------------------------------------------------------------------------------------------

/**
 * The connection broke while the request was being sent: 502.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamWriteError extends uncommitted<{ readonly code: string }>()("UpstreamWriteError", {
  status: 502,
  phase: "requestBody",
  blame: "upstream",
  retryable: "idempotent",
  healthStrike: true,
  proxyStatus: "connection_terminated"
}) {}

/**
 * The `send` clock ran out: the upstream stopped reading the request. 504.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamSendTimeout extends uncommitted()("UpstreamSendTimeout", {
  status: 504,
  phase: "requestBody",
  blame: "upstream",
  retryable: "idempotent",
  healthStrike: true,
  proxyStatus: "connection_write_timeout",
  ending: "TimedOut"
}) {}

/**
 * The upstream closed or reset the connection before the first byte of a response: 502. On a `reused` connection that is
 * ordinary and no health strike; the transport has then already tried again where that is safe.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamClosedBeforeResponse extends uncommitted<{ readonly reused: boolean }>()(
  "UpstreamClosedBeforeResponse",
  {
    status: 502,
    phase: "responseHead",
    blame: "upstream",
    retryable: "stale",
    healthStrike: (self) => !self.reused,
    proxyStatus: "connection_terminated"
  }
) {}

/**
 * The upstream refused an HTTP/2 stream without processing it (RFC 9113, 8.7): 502.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamRefusedStream extends uncommitted()("UpstreamRefusedStream", {
  status: 502,
  phase: "responseHead",
  blame: "upstream",
  retryable: "always",
  proxyStatus: "connection_terminated"
}) {}

/**
 * The `responseHead` clock ran out: 504.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamHeadersTimeout extends uncommitted()("UpstreamHeadersTimeout", {
  status: 504,
  phase: "responseHead",
  blame: "upstream",
  retryable: "idempotent",
  healthStrike: true,
  proxyStatus: "http_response_timeout",
  ending: "TimedOut"
}) {}

/**
 * The clock over all tries ran out: 504.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamTotalTimeout extends uncommitted()("UpstreamTotalTimeout", {
  status: 504,
  phase: "responseHead",
  blame: "upstream",
  healthStrike: true,
  proxyStatus: "http_response_timeout",
  ending: "TimedOut"
}) {}

/**
 * The clock of one try ran out: 504.
 *
 * @category errors
 * @since 0.1.0
 */
export class AttemptTimeout extends uncommitted()("AttemptTimeout", {
  status: 504,
  phase: "responseHead",
  blame: "upstream",
  retryable: "idempotent",
  healthStrike: true,
  proxyStatus: "http_response_timeout",
  ending: "TimedOut"
}) {}

/**
 * What is wrong with a response head.
 *
 * - `"StatusLine"`, `"Version"`, `"Status"`: the first line; a status outside 100 to 599 is invalid.
 * - `"FieldSyntax"`: a folded line, white space before the colon, a bare CR or LF, NUL, or a bad name.
 * - `"HeadTooLarge"`, `"TooManyFields"`: the limits of the transport.
 * - `"ContentLength"`, `"FramingConflict"`, `"TransferCoding"`: the end of the body is not certain (RFC 9112, 6.3).
 * - `"Incomplete"`: the connection ended within the head.
 * - `"ProtocolSwitch"`, `"UnsolicitedSwitch"`: a 101 to a protocol that was not asked for, or with none asked for.
 *
 * @category models
 * @since 0.1.0
 */
export type InvalidResponse =
  | "StatusLine"
  | "Version"
  | "Status"
  | "FieldSyntax"
  | "HeadTooLarge"
  | "TooManyFields"
  | "ContentLength"
  | "FramingConflict"
  | "TransferCoding"
  | "Incomplete"
  | "ProtocolSwitch"
  | "UnsolicitedSwitch"

const invalidProxyStatus: { readonly [R in InvalidResponse]?: ProxyStatus } = {
  HeadTooLarge: "http_response_header_section_size",
  TooManyFields: "http_response_header_section_size",
  TransferCoding: "http_response_transfer_coding",
  Incomplete: "http_response_incomplete",
  ProtocolSwitch: "http_upgrade_failed"
}

/**
 * The upstream's response head is not valid HTTP/1.1, or not one that may be relayed: 502.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamResponseInvalid extends uncommitted<{ readonly reason: InvalidResponse }>()(
  "UpstreamResponseInvalid",
  {
    status: 502,
    phase: "responseHead",
    blame: "upstream",
    retryable: "idempotent",
    healthStrike: true,
    proxyStatus: (self) => invalidProxyStatus[self.reason] ?? "http_protocol_error"
  }
) {}

/**
 * What one try can fail with.
 *
 * @category models
 * @since 0.1.0
 */
export type AttemptError = TransportError | NoUpstream | CircuitOpen | AttemptTimeout

/**
 * Every try that was allowed has failed; it is rendered as `last` is.
 *
 * @category errors
 * @since 0.1.0
 */
export class RetriesExhausted extends uncommitted<{ readonly last: AttemptError; readonly attempts: number }>()(
  "RetriesExhausted",
  {
    status: (self): number => self.last.status,
    phase: "responseHead",
    blame: "upstream",
    proxyStatus: (self) => self.last.proxyStatus,
    // Sound: `Problem.Opaque` and `install` put it on every error that can be rendered.
    ending: (self) => (self.last as unknown as { readonly [Problem.ending]: Problem.Ending })[Problem.ending]
  }
) {
  override [HttpServerRespondable.symbol]() {
    return this.last[HttpServerRespondable.symbol]()
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// After the head: nothing can be rendered
// ---------------------------------------------------------------------------------------------------------------------

/**
 * The response body ended before its end. `reason` is `"Closed"` or `"Reset"` by the upstream, `"Chunk"` or `"Trailer"`
 * for a chunked body that can't be understood, `"Request"` when the connection had to go because the request body
 * failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamBodyTruncated extends committed<{
  readonly reason: "Closed" | "Reset" | "Chunk" | "Trailer" | "Request"
  /** In bytes, when the upstream said. */
  readonly expected?: number
  /** In bytes of body. */
  readonly received: number
}>()("UpstreamBodyTruncated", {
  status: 502,
  phase: "responseBody",
  blame: "upstream",
  healthStrike: (self) => self.reason !== "Request",
  proxyStatus: "http_response_incomplete"
}) {}

/**
 * The `bodyIdle` clock ran out within the response body.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamBodyTimeout extends committed<{ readonly idle: Duration.Duration }>()("UpstreamBodyTimeout", {
  status: 504,
  phase: "responseBody",
  blame: "upstream",
  healthStrike: true,
  proxyStatus: "connection_read_timeout",
  ending: "TimedOut"
}) {}

/**
 * A response body that was to be held in memory is larger than `limit` bytes.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResponseTooLarge extends committed<{ readonly limit: number }>()("ResponseTooLarge", {
  status: 502,
  phase: "responseBody",
  blame: "policy",
  proxyStatus: "http_response_body_size"
}) {}

/**
 * Writing to the client failed. It counts as 499.
 *
 * @category errors
 * @since 0.1.0
 */
export class DownstreamWriteError extends committed<{ readonly code?: string }>()("DownstreamWriteError", {
  status: 499,
  phase: "responseBody",
  blame: "client",
  proxyStatus: "connection_terminated"
}) {}

/**
 * The client stopped reading. It counts as 499.
 *
 * @category errors
 * @since 0.1.0
 */
export class DownstreamWriteTimeout extends committed()("DownstreamWriteTimeout", {
  status: 499,
  phase: "responseBody",
  blame: "client",
  proxyStatus: "connection_write_timeout",
  ending: "TimedOut"
}) {}

/**
 * One side of a tunnel broke: reading from or writing to `side` failed while bytes went in `direction`.
 *
 * @category errors
 * @since 0.1.0
 */
export class TunnelError extends committed<{
  readonly direction: "clientToUpstream" | "upstreamToClient"
  readonly side: "client" | "upstream"
}>()("TunnelError", {
  status: 502,
  phase: "tunnel",
  blame: "upstream",
  healthStrike: (self) => self.side === "upstream",
  proxyStatus: "connection_terminated"
}) {}

/**
 * No byte went through a tunnel for too long.
 *
 * @category errors
 * @since 0.1.0
 */
export class TunnelIdleTimeout extends committed<{ readonly idle: Duration.Duration }>()("TunnelIdleTimeout", {
  status: 504,
  phase: "tunnel",
  blame: "policy",
  proxyStatus: "connection_read_timeout",
  ending: "TimedOut"
}) {}

/**
 * A tunnel was open for as long as is allowed.
 *
 * @category errors
 * @since 0.1.0
 */
export class TunnelMaxDuration extends committed<{ readonly duration: Duration.Duration }>()("TunnelMaxDuration", {
  status: 504,
  phase: "tunnel",
  blame: "policy",
  proxyStatus: "proxy_internal_response",
  ending: "TimedOut"
}) {}

// ---------------------------------------------------------------------------------------------------------------------
// Unions
// ---------------------------------------------------------------------------------------------------------------------

/**
 * What can come between the failing of a request body that is read while it is sent.
 *
 * @category models
 * @since 0.1.0
 */
export type RequestBodyError =
  | RequestBodyTooLarge
  | RequestBodyTimeout
  | RequestBodyMalformed
  | RequestBodyLengthMismatch

/**
 * What an exchange with an upstream can fail with before its response head.
 *
 * @category models
 * @since 0.1.0
 */
export type TransportError =
  | RequestBodyError
  | UpstreamRequestInvalid
  | UpstreamSaturated
  | QueueTimeout
  | UpstreamResolveError
  | UpstreamResolveTimeout
  | UpstreamConnectError
  | UpstreamConnectTimeout
  | UpstreamTlsError
  | UpstreamTlsTimeout
  | UpstreamWriteError
  | UpstreamSendTimeout
  | UpstreamClosedBeforeResponse
  | UpstreamRefusedStream
  | UpstreamHeadersTimeout
  | UpstreamResponseInvalid

/**
 * Errors that can be rendered, because no byte of a response has gone out.
 *
 * @category models
 * @since 0.1.0
 */
export type Uncommitted =
  | TransportError
  | RequestRejected
  | TransferCodingUnsupported
  | HttpVersionUnsupported
  | TargetTooLong
  | HeadersTooLarge
  | ExpectationFailed
  | UpgradeInvalid
  | MethodNotProxied
  | LoopDetected
  | RouteNotFound
  | NoUpstream
  | CircuitOpen
  | Draining
  | UpstreamTotalTimeout
  | AttemptTimeout
  | RetriesExhausted

/**
 * Errors that come when the response head is out: abort and report is all that is left.
 *
 * @category models
 * @since 0.1.0
 */
export type Committed =
  | UpstreamBodyTruncated
  | UpstreamBodyTimeout
  | ResponseTooLarge
  | DownstreamWriteError
  | DownstreamWriteTimeout
  | TunnelError
  | TunnelIdleTimeout
  | TunnelMaxDuration

/**
 * Every error of a proxy.
 *
 * @category models
 * @since 0.1.0
 */
export type ProxyError = Uncommitted | Committed

/**
 * Whether a value is an error of this module.
 *
 * @category guards
 * @since 0.1.0
 */
export const isProxyError = (u: unknown): u is ProxyError => typeof u === "object" && u !== null && TypeId in u

/**
 * Whether a value is an error of this module that can be rendered.
 *
 * @category guards
 * @since 0.1.0
 */
export const isUncommitted = (u: unknown): u is Uncommitted => isProxyError(u) && !u.committed

// ---------------------------------------------------------------------------------------------------------------------
// Node's errors
// ---------------------------------------------------------------------------------------------------------------------

/**
 * What was being done when Node raised an error.
 *
 * @category models
 * @since 0.1.0
 */
export type NodePhase = "resolve" | "connect" | "tls" | "write" | "read"

/**
 * Node's error code: its own, else that of the first inner error that has one (`AggregateError.errors`, as a connection
 * to several addresses raises), else one along its causes. `"UNKNOWN"` when there is none.
 *
 * @example
 * ```ts
 * import { ProxyError } from "@sluice/proxy"
 *
 * const refused = Object.assign(new Error("refused"), { code: "ECONNREFUSED" })
 * console.log(ProxyError.nodeCode(new AggregateError([refused]))) // => ECONNREFUSED
 * console.log(ProxyError.nodeCode(new Error("x", { cause: refused }))) // => ECONNREFUSED
 * console.log(ProxyError.nodeCode("nonsense")) // => UNKNOWN
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const nodeCode = (error: unknown): string => findCode(error, 8) ?? "UNKNOWN"

const findCode = (error: unknown, depth: number): string | undefined => {
  if (depth === 0 || typeof error !== "object" || error === null) return undefined
  if ("code" in error && typeof error.code === "string") return error.code
  if ("errors" in error && Array.isArray(error.errors)) {
    for (const inner of error.errors) {
      const code = findCode(inner, depth - 1)
      if (code !== undefined) return code
    }
  }
  return "cause" in error ? findCode(error.cause, depth - 1) : undefined
}

/** The codes of `getaddrinfo` and of c-ares that mean the name gave no address. */
const resolveCodes: ReadonlySet<string> = new Set([
  "ENOTFOUND",
  "ENODATA",
  "EAI_AGAIN",
  "EAI_FAIL",
  "EAI_NODATA",
  "EAI_NONAME",
  "ESERVFAIL",
  "EBADNAME",
  "EDNSTIMEOUT"
])

const tlsReasons: { readonly [code: string]: UpstreamTlsError["reason"] } = {
  ERR_TLS_CERT_ALTNAME_INVALID: "AltName",
  HOSTNAME_MISMATCH: "AltName",
  CERT_HAS_EXPIRED: "Expired",
  CERT_NOT_YET_VALID: "Expired",
  DEPTH_ZERO_SELF_SIGNED_CERT: "SelfSigned",
  SELF_SIGNED_CERT_IN_CHAIN: "SelfSigned",
  UNABLE_TO_GET_ISSUER_CERT: "Untrusted",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "Untrusted",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "Untrusted",
  CERT_UNTRUSTED: "Untrusted",
  CERT_REVOKED: "Untrusted",
  CERT_REJECTED: "Untrusted",
  CERT_SIGNATURE_FAILURE: "Untrusted",
  CERT_CHAIN_TOO_LONG: "Untrusted",
  INVALID_CA: "Untrusted",
  INVALID_PURPOSE: "Untrusted",
  PATH_LENGTH_EXCEEDED: "Untrusted",
  ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: "Alpn",
  ERR_TLS_ALPN_CALLBACK_INVALID_RESULT: "Alpn"
}

const tlsReason = (code: string): UpstreamTlsError["reason"] =>
  tlsReasons[code] ?? (code.startsWith("ERR_SSL_") && code.includes("ALERT") ? "Alert" : "Handshake")

const isTlsCode = (code: string): boolean =>
  code in tlsReasons || code.startsWith("ERR_SSL_") || code.startsWith("ERR_TLS_")

/**
 * The typed error for one that Node raised while it was busy with `phase`. The code decides before the phase does: a
 * name that does not resolve during `connect` is an {@link UpstreamResolveError}, `ETIMEDOUT` an
 * {@link UpstreamConnectTimeout}, a certificate that is not accepted an {@link UpstreamTlsError}.
 *
 * **Gotchas** Call it for errors of the upstream's connection only: `ECONNRESET` of the client's is never an upstream
 * error.
 *
 * @example
 * ```ts
 * import { ProxyError } from "@sluice/proxy"
 *
 * const cause = Object.assign(new Error("getaddrinfo ENOTFOUND orders.internal"), { code: "ENOTFOUND" })
 * const error = ProxyError.fromNodeError(cause, "connect")
 * console.log(error._tag, error.status, error.proxyStatus) // => UpstreamResolveError 502 dns_error
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromNodeError = (
  cause: unknown,
  phase: NodePhase,
  info: Info & { readonly reused?: boolean } = {}
):
  | UpstreamResolveError
  | UpstreamConnectError
  | UpstreamConnectTimeout
  | UpstreamTlsError
  | UpstreamWriteError
  | UpstreamClosedBeforeResponse =>
{
  const { reused = false, ...evidence } = info
  const known = { cause, ...evidence }
  const code = nodeCode(cause)
  if (phase === "write") return new UpstreamWriteError({ ...known, code })
  if (phase === "read") return new UpstreamClosedBeforeResponse({ ...known, reused })
  if (phase === "resolve") return new UpstreamResolveError({ ...known, code })
  if (phase === "tls") return new UpstreamTlsError({ ...known, reason: tlsReason(code) })
  return fromConnectError(code, known)
}

const fromConnectError = (code: string, known: Info) => {
  if (resolveCodes.has(code)) return new UpstreamResolveError({ ...known, code })
  if (code === "ETIMEDOUT") return new UpstreamConnectTimeout(known)
  if (isTlsCode(code)) return new UpstreamTlsError({ ...known, reason: tlsReason(code) })
  return new UpstreamConnectError({ ...known, code })
}
