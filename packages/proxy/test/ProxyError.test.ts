import { assert, describe, it } from "@effect/vitest"
import * as Problem from "@sluice/core/Problem"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as ProxyError from "../src/ProxyError.ts"

const secret = Object.assign(new Error("connect ECONNREFUSED 10.0.0.7:9001 CN=internal"), { code: "ECONNREFUSED" })
const info = { cause: secret, upstream: "http://10.0.0.7:9001", attempt: 2, bytesSent: 10, bytesReceived: 0 }

/** Tag, instance, then what section C of the reference says: status, phase, retryable, health strike, close. */
const uncommitted: ReadonlyArray<
  readonly [ProxyError.Uncommitted, number, ProxyError.Phase, ProxyError.Retryable, boolean, boolean]
> = [
  [new ProxyError.RequestRejected({ reason: "DuplicateHost", ...info }), 400, "accept", "never", false, true],
  [new ProxyError.TransferCodingUnsupported(), 501, "accept", "never", false, true],
  [new ProxyError.HttpVersionUnsupported(), 505, "accept", "never", false, true],
  [new ProxyError.TargetTooLong({ limit: 8192 }), 414, "accept", "never", false, false],
  [new ProxyError.HeadersTooLarge({ limit: 16384 }), 431, "accept", "never", false, false],
  [new ProxyError.ExpectationFailed(), 417, "accept", "never", false, false],
  [new ProxyError.UpgradeInvalid({ reason: "Key" }), 400, "accept", "never", false, false],
  [new ProxyError.UpgradeInvalid({ reason: "Version" }), 426, "accept", "never", false, false],
  [new ProxyError.MethodNotProxied({ method: "TRACE" }), 405, "route", "never", false, false],
  [new ProxyError.MethodNotProxied({ method: "CONNECT" }), 501, "route", "never", false, false],
  [new ProxyError.LoopDetected(), 508, "route", "never", false, false],
  [new ProxyError.RequestBodyTooLarge({ limit: 1 }), 413, "requestBody", "never", false, true],
  [new ProxyError.RequestBodyTimeout(), 408, "requestBody", "never", false, true],
  [new ProxyError.RequestBodyMalformed(), 400, "requestBody", "never", false, true],
  [new ProxyError.RequestBodyLengthMismatch({ expected: 2, actual: 1 }), 500, "requestBody", "never", false, true],
  [
    new ProxyError.RequestBodyLengthMismatch({ expected: 2, actual: 1, blame: "client" }),
    400,
    "requestBody",
    "never",
    false,
    true
  ],
  [new ProxyError.UpstreamRequestInvalid({ reason: "FieldValue" }), 500, "requestHead", "never", false, false],
  [new ProxyError.RouteNotFound(), 404, "route", "never", false, false],
  [new ProxyError.NoUpstream({}), 503, "select", "later", false, false],
  [new ProxyError.UpstreamSaturated({}), 503, "queue", "otherUpstream", false, false],
  [new ProxyError.QueueTimeout({}), 503, "queue", "otherUpstream", false, false],
  [new ProxyError.CircuitOpen({}), 503, "select", "otherUpstream", false, false],
  [new ProxyError.Draining({}), 503, "accept", "later", false, true],
  [new ProxyError.UpstreamResolveError({ code: "ENOTFOUND" }), 502, "resolve", "always", true, false],
  [new ProxyError.UpstreamResolveTimeout(), 504, "resolve", "always", true, false],
  [new ProxyError.UpstreamConnectError({ code: "ECONNREFUSED", ...info }), 502, "connect", "always", true, false],
  [new ProxyError.UpstreamConnectTimeout(), 504, "connect", "always", true, false],
  [new ProxyError.UpstreamTlsError({ reason: "AltName", ...info }), 502, "tls", "never", true, false],
  [new ProxyError.UpstreamTlsTimeout(), 504, "tls", "always", true, false],
  [new ProxyError.UpstreamWriteError({ code: "EPIPE" }), 502, "requestBody", "idempotent", true, false],
  [new ProxyError.UpstreamSendTimeout(), 504, "requestBody", "idempotent", true, false],
  [new ProxyError.UpstreamClosedBeforeResponse({ reused: false }), 502, "responseHead", "stale", true, false],
  [new ProxyError.UpstreamClosedBeforeResponse({ reused: true }), 502, "responseHead", "stale", false, false],
  [new ProxyError.UpstreamRefusedStream(), 502, "responseHead", "always", false, false],
  [new ProxyError.UpstreamHeadersTimeout(), 504, "responseHead", "idempotent", true, false],
  [new ProxyError.UpstreamTotalTimeout(), 504, "responseHead", "never", true, false],
  [new ProxyError.AttemptTimeout(), 504, "responseHead", "idempotent", true, false],
  [new ProxyError.UpstreamResponseInvalid({ reason: "Status" }), 502, "responseHead", "idempotent", true, false],
  [
    new ProxyError.RetriesExhausted({ last: new ProxyError.UpstreamHeadersTimeout(), attempts: 3 }),
    504,
    "responseHead",
    "never",
    false,
    false
  ]
]

const committed: ReadonlyArray<readonly [ProxyError.Committed, number, boolean]> = [
  [new ProxyError.UpstreamBodyTruncated({ reason: "Reset", received: 3, expected: 10, ...info }), 502, true],
  [new ProxyError.UpstreamBodyTruncated({ reason: "Request", received: 3 }), 502, false],
  [new ProxyError.UpstreamBodyTimeout({ idle: Duration.seconds(5) }), 504, true],
  [new ProxyError.ResponseTooLarge({ limit: 1 }), 502, false],
  [new ProxyError.DownstreamWriteError({}), 499, false],
  [new ProxyError.DownstreamWriteTimeout(), 499, false],
  [new ProxyError.TunnelError({ direction: "clientToUpstream", side: "upstream" }), 502, true],
  [new ProxyError.TunnelError({ direction: "clientToUpstream", side: "client" }), 502, false],
  [new ProxyError.TunnelIdleTimeout({ idle: Duration.minutes(1) }), 504, false],
  [new ProxyError.TunnelMaxDuration({ duration: Duration.hours(1) }), 504, false]
]

const ending = (error: object) => (error as Record<string, unknown>)[Problem.ending]
const coded = (code: string) => Object.assign(new Error(code), { code })

describe("ProxyError", () => {
  for (const [error, status, phase, retryable, strike, close] of uncommitted) {
    it.effect(`${error._tag} ${status} is rendered without a word of its cause`, () =>
      Effect.gen(function*() {
        assert.strictEqual(error.status, status)
        assert.strictEqual(error.phase, phase)
        assert.strictEqual(error.retryable, retryable)
        assert.strictEqual(error.healthStrike, strike)
        assert.strictEqual(error.committed, false)
        assert.isTrue(ProxyError.isUncommitted(error))
        assert.strictEqual(error.name, error._tag)
        const response = yield* error[HttpServerRespondable.symbol]()
        assert.strictEqual(response.status, status)
        assert.strictEqual(response.headers["content-type"], "application/problem+json")
        assert.strictEqual(response.headers["proxy-status"], `sluice; error=${error.proxyStatus}`)
        assert.strictEqual(response.headers["connection"], close ? "close" : status === 426 ? "Upgrade" : undefined)
        const text = response.body._tag === "Uint8Array" ? new TextDecoder().decode(response.body.body) : ""
        assert.deepStrictEqual(Object.keys(JSON.parse(text)).toSorted(), ["status", "title", "type"])
        assert.notMatch(text, /10\.0\.0\.7|ECONN|CN=/)
      }))
  }

  for (const [error, status, strike] of committed) {
    it(`${error._tag} ${status} can't be rendered`, () => {
      assert.strictEqual(error.status, status)
      assert.strictEqual(error.committed, true)
      assert.strictEqual(error.healthStrike, strike)
      assert.isFalse(HttpServerRespondable.symbol in error)
      assert.isTrue(ProxyError.isProxyError(error))
      assert.isFalse(ProxyError.isUncommitted(error))
      // @ts-expect-error: a committed error has no response
      const respondable: HttpServerRespondable.Respondable = error
      assert.isDefined(respondable)
    })
  }

  it("keeps what was known, and phase and blame can be said by the instance", () => {
    const error = new ProxyError.UpstreamConnectError({ code: "ECONNREFUSED", ...info })
    assert.strictEqual(error.cause, secret)
    assert.deepStrictEqual([error.upstream, error.attempt, error.bytesSent, error.bytesReceived, error.code], [
      "http://10.0.0.7:9001",
      2,
      10,
      0,
      "ECONNREFUSED"
    ])
    const moved = new ProxyError.UpstreamTotalTimeout({ phase: "connect", blame: "policy" })
    assert.deepStrictEqual([moved.phase, moved.blame], ["connect", "policy"])
    assert.strictEqual(new ProxyError.UpstreamTotalTimeout().phase, "responseHead")
  })

  it("blame decides severity; a client's doing is not reported", () => {
    assert.strictEqual(ErrorReporter.getSeverity(new ProxyError.RouteNotFound()), "Debug")
    assert.strictEqual(ErrorReporter.getSeverity(new ProxyError.Draining({})), "Info")
    assert.strictEqual(ErrorReporter.getSeverity(new ProxyError.UpstreamConnectTimeout()), "Warn")
    assert.strictEqual(ErrorReporter.getSeverity(new ProxyError.UpstreamRequestInvalid({ reason: "Target" })), "Error")
    assert.isTrue(
      ErrorReporter.isIgnored(new ProxyError.RequestBodyLengthMismatch({ expected: 1, actual: 0, blame: "client" }))
    )
    assert.isFalse(ErrorReporter.isIgnored(new ProxyError.RequestBodyLengthMismatch({ expected: 1, actual: 0 })))
    assert.isTrue(ErrorReporter.isIgnored(new ProxyError.DownstreamWriteError({})))
    assert.isFalse(ErrorReporter.isIgnored(new ProxyError.UpstreamBodyTimeout({ idle: Duration.seconds(1) })))
  })

  it("says how the exchange ended", () => {
    assert.strictEqual(ending(new ProxyError.UpstreamHeadersTimeout()), "TimedOut")
    assert.strictEqual(ending(new ProxyError.RequestBodyTimeout()), "TimedOut")
    assert.strictEqual(ending(new ProxyError.UpstreamBodyTimeout({ idle: Duration.seconds(1) })), "TimedOut")
    assert.strictEqual(ending(new ProxyError.QueueTimeout({})), "Shed")
    assert.strictEqual(ending(new ProxyError.UpstreamSaturated({})), "Shed")
    assert.strictEqual(ending(new ProxyError.Draining({})), "Drained")
    assert.strictEqual(ending(new ProxyError.UpstreamConnectError({ code: "X" })), "Failed")
    assert.strictEqual(ending(new ProxyError.UpstreamBodyTruncated({ reason: "Closed", received: 0 })), "Failed")
    assert.strictEqual(ending(new ProxyError.RouteNotFound()), undefined)
    assert.strictEqual(
      ending(new ProxyError.RetriesExhausted({ last: new ProxyError.UpstreamHeadersTimeout(), attempts: 2 })),
      "TimedOut"
    )
  })

  it.effect("Retry-After is in whole seconds, rounded up", () =>
    Effect.gen(function*() {
      const error = new ProxyError.CircuitOpen({ retryAfter: "1500 millis" })
      const response = yield* error[HttpServerRespondable.symbol]()
      assert.strictEqual(response.headers["retry-after"], "2")
    }))

  it.effect("RetriesExhausted is rendered as its last error", () =>
    Effect.gen(function*() {
      const last = new ProxyError.UpstreamSaturated({ retryAfter: "3 seconds" })
      const error = new ProxyError.RetriesExhausted({ last, attempts: 2 })
      const response = yield* error[HttpServerRespondable.symbol]()
      assert.strictEqual(response.status, 503)
      assert.strictEqual(response.headers["retry-after"], "3")
      assert.strictEqual(error.proxyStatus, "connection_limit_reached")
    }))

  const table: ReadonlyArray<readonly [unknown, ProxyError.NodePhase, string, ProxyError.ProxyStatus]> = [
    [coded("ENOTFOUND"), "connect", "UpstreamResolveError", "dns_error"],
    [coded("EAI_AGAIN"), "connect", "UpstreamResolveError", "dns_timeout"],
    [coded("X"), "resolve", "UpstreamResolveError", "dns_error"],
    [coded("ECONNREFUSED"), "connect", "UpstreamConnectError", "connection_refused"],
    [coded("EHOSTUNREACH"), "connect", "UpstreamConnectError", "destination_ip_unroutable"],
    [coded("EPIPE"), "connect", "UpstreamConnectError", "destination_unavailable"],
    [coded("ETIMEDOUT"), "connect", "UpstreamConnectTimeout", "connection_timeout"],
    [
      new AggregateError([new Error("x"), coded("ECONNREFUSED")]),
      "connect",
      "UpstreamConnectError",
      "connection_refused"
    ],
    [new Error("x", { cause: coded("ECONNREFUSED") }), "connect", "UpstreamConnectError", "connection_refused"],
    [coded("CERT_HAS_EXPIRED"), "connect", "UpstreamTlsError", "tls_certificate_error"],
    [coded("ERR_TLS_CERT_ALTNAME_INVALID"), "tls", "UpstreamTlsError", "tls_certificate_error"],
    [coded("DEPTH_ZERO_SELF_SIGNED_CERT"), "tls", "UpstreamTlsError", "tls_certificate_error"],
    [coded("ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE"), "tls", "UpstreamTlsError", "tls_alert_received"],
    [coded("ECONNRESET"), "tls", "UpstreamTlsError", "tls_protocol_error"],
    [coded("EPIPE"), "write", "UpstreamWriteError", "connection_terminated"],
    [coded("ECONNRESET"), "read", "UpstreamClosedBeforeResponse", "connection_terminated"],
    ["nonsense", "connect", "UpstreamConnectError", "destination_unavailable"]
  ]
  for (const [cause, phase, tag, proxyStatus] of table) {
    it(`fromNodeError ${ProxyError.nodeCode(cause)} in ${phase} is ${tag}`, () => {
      const error = ProxyError.fromNodeError(cause, phase, { reused: true })
      assert.strictEqual(error._tag, tag)
      assert.strictEqual(error.proxyStatus, proxyStatus)
      assert.strictEqual(error.cause, cause)
    })
  }

  it("a cause that refers to itself is no endless loop", () => {
    const error: Error & { cause?: unknown } = new Error("loop")
    error.cause = error
    assert.strictEqual(ProxyError.nodeCode(error), "UNKNOWN")
  })
})
