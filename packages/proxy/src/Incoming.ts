/**
 * What a proxy knows of a request before it decides what becomes of it: read-only, as it was received.
 *
 * @since 0.1.0
 */
import type * as Exchange from "@sluice/core/Exchange"
import * as Exchange_ from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Headers from "effect/http/Headers"
import * as HttpServerRequest from "effect/http/HttpServerRequest"

/**
 * A request that may be forwarded.
 *
 * @category models
 * @since 0.1.0
 */
export interface Incoming {
  /** As sent, unless a middleware has put another in its place. */
  readonly method: string
  /** The request target as sent. */
  readonly target: string
  /** Its path, escaped. */
  readonly path: string
  /** Its query with `?`; empty when there is none. */
  readonly query: string
  /** The fields as received, hop-by-hop ones included. */
  readonly fields: Fields.Fields
  /** The same, in Effect's form. */
  readonly headers: Headers.Headers
  /** `Host` as sent. */
  readonly host: string | undefined
  readonly httpVersion: string
  /** Whether it came over TLS. */
  readonly secure: boolean
  /** The address of the socket's peer. */
  readonly peerAddress: string | undefined
  /** The record of the request. */
  readonly exchange: Exchange.Exchange
  /** Effect's own form, for its accessors. */
  readonly request: HttpServerRequest.HttpServerRequest
}

class IncomingRequest implements Incoming {
  readonly exchange: Exchange.Exchange
  readonly request: HttpServerRequest.HttpServerRequest
  constructor(exchange: Exchange.Exchange, request: HttpServerRequest.HttpServerRequest) {
    this.exchange = exchange
    this.request = request
  }
  get method(): string {
    return this.request.method
  }
  get target(): string {
    return this.exchange.target
  }
  get path(): string {
    return this.exchange.path
  }
  get query(): string {
    return this.exchange.target.slice(this.exchange.path.length)
  }
  get fields(): Fields.Fields {
    return this.exchange.requestFields
  }
  get headers(): Headers.Headers {
    return this.request.headers
  }
  get host(): string | undefined {
    return Fields.get(this.exchange.requestFields, "host")
  }
  get httpVersion(): string {
    return this.exchange.httpVersion
  }
  get secure(): boolean {
    return this.exchange.secure
  }
  get peerAddress(): string | undefined {
    return this.exchange.peerAddress
  }
}

/**
 * The request that is being handled.
 *
 * @category getters
 * @since 0.1.0
 */
export const current: Effect.Effect<Incoming, never, HttpServerRequest.HttpServerRequest> = Effect.withFiber(
  (fiber) => Effect.succeed(currentUnsafe(fiber))
)

/**
 * {@link current} for whoever has the fiber at hand. Throws outside a request.
 *
 * @category getters
 * @since 0.1.0
 */
export const currentUnsafe = (fiber: Fiber.Fiber<unknown, unknown>): Incoming =>
  new IncomingRequest(
    Exchange_.currentUnsafe(fiber),
    Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
  )
