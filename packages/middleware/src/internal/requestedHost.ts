import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type * as Forwarded from "@sluice/core/Forwarded"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import type * as Fiber_ from "effect/Fiber"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Result from "effect/Result"

/** An exchange, and what the peers that the application trusts say of its client. */
export interface Forwarding {
  readonly exchange: Exchange.Exchange
  readonly client: TrustedPeers.Client
}

type Fiber = Fiber_.Fiber<unknown, unknown>

const resolved = (exchange: Exchange.Exchange, fiber: Fiber) =>
  TrustedPeers.resolve(fiber.getRef(TrustedPeers.TrustedPeers), exchange.peerAddress, exchange.requestFields)

/** What is known of the client, or which field of a trusted peer can't be read. */
export const clientUnsafe = (fiber: Fiber) => resolved(Exchange.currentUnsafe(fiber), fiber)

/** Fails when a field of a trusted peer can't be read. */
export const forwarding: Effect.Effect<Forwarding, Forwarded.InvalidForwarded, HttpServerRequest> = Effect.withFiber(
  (fiber) => {
    const exchange = Exchange.currentUnsafe(fiber)
    const client = resolved(exchange, fiber)
    return Result.isSuccess(client)
      ? Effect.succeed({ client: client.success, exchange })
      : Effect.fail(client.failure)
  }
)

const nobody: TrustedPeers.Client = { address: undefined, proto: undefined, host: undefined }

/** The same, with nothing known of the client when a field of a trusted peer can't be read. */
export const readableForwardingUnsafe = (fiber: Fiber): Forwarding => {
  const exchange = Exchange.currentUnsafe(fiber)
  return { client: Result.getOrElse(resolved(exchange, fiber), () => nobody), exchange }
}

/** {@link readableForwardingUnsafe} as an effect. */
export const readableForwarding: Effect.Effect<Forwarding, never, HttpServerRequest> = Effect.withFiber(
  (fiber) => Effect.succeed(readableForwardingUnsafe(fiber))
)

/** The host that the client asked for, port included, in lower case. */
export const hostOf = ({ client, exchange }: Forwarding): string | undefined =>
  (client.host ?? ownHost(exchange))?.toLowerCase()

/**
 * The host that the client asked for, port included, in lower case: what a trusted peer says it is, or that of the request
 * itself, also when what the peer says can't be read.
 */
export const requestedHost: Effect.Effect<string | undefined, never, HttpServerRequest> = Effect.map(
  readableForwarding,
  hostOf
)

/** Whether the client came over TLS: to this server, or to a trusted peer that says so. */
export const isSecure = ({ client, exchange }: Forwarding): boolean => exchange.secure || client.proto === "https"

/**
 * The host of the request itself: that of a target in absolute form, whatever `Host` says, or else `Host`.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
 */
/** The host that the request itself names: that of an absolute target, which beats `Host` (RFC 9112, 3.2.2). */
export const ownHost = (exchange: Exchange.Exchange): string | undefined =>
  absolute.exec(exchange.target)?.[1] ?? Fields.get(exchange.requestFields, "host")

/** A user's name or a backslash in the authority stays: parsers differ on where the host is then, and it is no host. */
const absolute = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i
