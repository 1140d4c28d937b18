/**
 * The port through which a proxy talks to an upstream: one exchange, one scope.
 *
 * **When to use** Provide `Http1.layer` in production and a mock, recording or fault-injecting layer in tests. A transport
 * of your own implements {@link Transport.Service}: it need not watch for cancellation, because closing the scope of an
 * exchange is what ends it.
 *
 * **Details** A response body is pushed to a {@link BodyConsumer} in the socket's own callback, so that a proxy can write
 * head and first chunk in one turn. Nothing is buffered for a consumer that is not there yet: the socket is paused.
 *
 * @since 0.1.0
 */
import type * as Fields from "@sluice/core/Fields"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import type { ConnectionOptions } from "node:tls"
import type * as Body from "./Body.ts"
import type * as ProxyError from "./ProxyError.ts"

/**
 * Where an exchange goes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Endpoint {
  readonly protocol: "http:" | "https:"
  /** A host name or IP address; IPv6 without brackets. */
  readonly hostname: string
  readonly port: number
  /** TLS settings for `https:`; verification is on unless they turn it off. They are part of the pool key. */
  readonly tls?: ConnectionOptions
}

/**
 * The clocks of one exchange, one for each thing that can take too long. Each raises its own error, and none that has
 * done its part is left running. A number is in milliseconds; an infinite duration switches a clock off.
 *
 * @category models
 * @since 0.1.0
 */
export interface Clocks {
  /** For a connection, where their number is limited; then `QueueTimeout`, 503. @default "5 seconds" */
  readonly queue?: Duration.Input
  /** For an address of the host name; then `UpstreamResolveTimeout`, 504. @default "5 seconds" */
  readonly resolve?: Duration.Input
  /** For a TCP connection to an address; then `UpstreamConnectTimeout`, 504. @default "5 seconds" */
  readonly connect?: Duration.Input
  /** For the TLS handshake; then `UpstreamTlsTimeout`, 504. @default "5 seconds" */
  readonly tls?: Duration.Input
  /**
   * For the upstream to take the next part of the request body; then `UpstreamSendTimeout`, 504. It stands still while it is
   * the client that is waited for.
   * @default "60 seconds"
   */
  readonly send?: Duration.Input
  /** For a 100 when the request expects one; then the body is sent all the same. @default "1 second" */
  readonly continue?: Duration.Input
  /**
   * From the end of the request to the response head, whatever 1xx come in between; then `UpstreamHeadersTimeout`, 504.
   * @default "60 seconds"
   */
  readonly responseHead?: Duration.Input
  /**
   * Between two reads of the response body; then `UpstreamBodyTimeout`, and the client's connection is aborted. It stands
   * still while it is the client that is waited for.
   * @default "5 minutes"
   */
  readonly bodyIdle?: Duration.Input
}

/**
 * What is sent upstream.
 *
 * @category models
 * @since 0.1.0
 */
export interface OutgoingRequest {
  readonly method: string
  /** The request target, written byte for byte. */
  readonly target: string
  /** End-to-end fields with `Host`; framing and connection fields are the transport's. */
  readonly fields: Fields.Fields
  readonly body: Body.Body
  /** The protocol to switch to: sends `Connection: upgrade` and `Upgrade`. */
  readonly upgrade?: string
  readonly clocks: Clocks
  /** Whether a `OneShot` body is held back until the upstream answers 100; `fields` say `Expect` then. */
  readonly expectContinue?: boolean
  /** Called for each 1xx that comes before the final response, except 100 and 101. */
  readonly onInformational?: (status: number, fields: Fields.Fields) => void
}

/**
 * Receives what becomes of a request: one call, in the transport's own turn, unless the exchange is aborted before.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResponseConsumer<in E> {
  /** The final response has a head. Nothing of its body is lost until it is consumed. */
  onResponse(response: UpstreamResponse): void
  /** There will be no response. */
  onFailure(error: E): void
}

/**
 * An exchange that was started.
 *
 * @category models
 * @since 0.1.0
 */
export interface Started {
  /**
   * Ends the exchange, whatever it is doing: its connection is destroyed, and neither the {@link ResponseConsumer} nor a
   * {@link BodyConsumer} hears of it. After the end of the body it does nothing.
   */
  abort(): void
}

/**
 * Receives a response body. Every call is synchronous, in the socket's callback.
 *
 * @category models
 * @since 0.1.0
 */
export interface BodyConsumer {
  /**
   * A chunk. It is a view into a pooled buffer: it must not be read after `release` was called, and `release` must be
   * called once the bytes have been taken. Returns `false` to pause until {@link BodyControl.resume}.
   */
  onData(chunk: Uint8Array, release: () => void): boolean
  /** The body is complete; nothing follows. */
  onEnd(trailers: Fields.Fields): void
  /** The body ended early; nothing follows. */
  onError(error: ProxyError.Committed): void
}

/**
 * Steers a body that is being consumed.
 *
 * @category models
 * @since 0.1.0
 */
export interface BodyControl {
  /** Continues after `onData` returned `false`. */
  resume(): void
  /** Gives the body up: the connection is destroyed and no callback follows. */
  cancel(): void
}

/**
 * A response body that has not been read.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResponseBody {
  /** In bytes; 0 when there is none (also HEAD, 204, 304), `undefined` when the end is not known beforehand. */
  readonly length: number | undefined
  /** Starts the flow. May be called once; chunks that are already there arrive before it returns. */
  consume(consumer: BodyConsumer): BodyControl
}

/**
 * A final response head with its body, or a switched connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface UpstreamResponse {
  readonly status: number
  readonly reason: string
  readonly httpVersion: "1.0" | "1.1"
  /** As received, in order, hop-by-hop fields included. */
  readonly fields: Fields.Fields
  readonly body: ResponseBody
  /** After a 101: the connection, paused; its first readable bytes are those that followed the head. The scope owns it. */
  readonly tunnel?: Duplex
}

/**
 * A way to reach upstreams.
 *
 * @category services
 * @since 0.1.0
 */
export class Transport extends Context.Service<Transport, {
  /**
   * Sends a request and waits for the final response head. Closing the scope before the body has ended destroys the
   * connection; after it, the connection may be reused.
   */
  readonly exchange: (
    endpoint: Endpoint,
    request: OutgoingRequest
  ) => Effect.Effect<UpstreamResponse, ProxyError.TransportError, Scope.Scope>
  /**
   * The same for a caller that is driven by callbacks and bounds the exchange itself. It is how responses that nothing has
   * to look at are relayed, which saves the fiber a wait; a transport that has none is used through `exchange`.
   */
  readonly start?: (
    endpoint: Endpoint,
    request: OutgoingRequest,
    clock: Clock.Clock,
    consumer: ResponseConsumer<ProxyError.TransportError>
  ) => Started
}>()("@sluice/proxy/Transport") {}
