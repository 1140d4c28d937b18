/**
 * How a client connection ends, and what requests fail with that got no response because of it.
 *
 * **When to use** Look at `_tag` of a {@link ConnectionEnd} to tell an ordinary end from a broken connection, and at
 * `retryable` of a {@link ConnectionEnded} to decide whether its request goes to another connection.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type * as ProxyError from "./ProxyError.ts"

/**
 * The peer ends the connection, in order (RFC 9112, 9.6).
 *
 * - `"ConnectionClose"`: a response said `Connection: close`.
 * - `"Http10"`: a response was HTTP/1.0 without `Connection: keep-alive`.
 * - `"CloseDelimited"`: a response whose body ends with the connection.
 * - `"Ambiguous"`: a 204 or 205 that announced a body: where the next response would begin is not certain.
 * - `"Closed"`: it closed an idle connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface PeerEnds {
  readonly _tag: "PeerEnds"
  readonly reason: "ConnectionClose" | "Http10" | "CloseDelimited" | "Ambiguous" | "Closed"
}

/**
 * This side ended the connection.
 *
 * - `"Closed"`: the scope of the connection was closed.
 * - `"Abandoned"`: an exchange was interrupted, or its scope was closed, before its response had come in whole.
 * - `"RequestIncomplete"`: a response was complete, or the request's body failed, before the request had been sent whole.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClosedByUs {
  readonly _tag: "ClosedByUs"
  readonly reason: "Closed" | "Abandoned" | "RequestIncomplete"
}

/**
 * The connection broke: it was cut off or reset, a response can't be understood, or bytes came that nobody had asked for.
 *
 * @category models
 * @since 0.1.0
 */
export interface PipelineBroken {
  readonly _tag: "PipelineBroken"
  readonly cause: ProxyError.TransportError | ProxyError.Committed | UnsolicitedBytes
}

/**
 * The stream was given away, by `hijack` or after a 101.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandedOver {
  readonly _tag: "HandedOver"
  readonly reason: "Hijack" | "Upgrade"
}

/**
 * Why a connection takes no further exchange.
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectionEnd = PeerEnds | ClosedByUs | PipelineBroken | HandedOver

/**
 * The connection has ended, and this request got no response.
 *
 * `retryable` says whether it may be sent again, on another connection:
 *
 * - `"always"`: nothing of it was sent.
 * - `"idempotent"`: it was sent, but its method is idempotent and its body can be sent again (RFC 9112, 9.3.1).
 * - `"never"`: it may have had an effect, or its body is used up.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionEnded extends Data.TaggedError("ConnectionEnded")<{
  readonly end: ConnectionEnd
  readonly retryable: "always" | "idempotent" | "never"
}> {
  override get message(): string {
    return `${this.end._tag}${"reason" in this.end ? `: ${this.end.reason}` : ""}`
  }
}

/**
 * A connection can't be handed over while `pending` exchanges have no complete response.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionBusy extends Data.TaggedError("ConnectionBusy")<{ readonly pending: number }> {}

/**
 * Bytes came when no request was waiting for a response (RFC 9112, 9.2). A late 408 is a common case.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnsolicitedBytes extends Data.TaggedError("UnsolicitedBytes")<{
  /** How many have been read. */
  readonly bytes: number
}> {}
