/**
 * The client's address as a per-request service: the address of the socket, or what a trusted peer says it is.
 *
 * **When to use** Provide it once, near the edge, and read it where a limit, a log line or an audit needs to know who
 * asks. Nothing that reads it needs to know about proxies.
 *
 * @example
 * ```ts
 * import { ClientAddress, Middleware, TrustedPeers } from "@sluice/core"
 * import { Effect, Layer } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const clientAddress = Middleware.provide(ClientAddress.ClientAddress, ClientAddress.fromRequest)
 * const whoAmI = Effect.map(ClientAddress.ClientAddress, (client) => HttpServerResponse.text(client.address ?? "-"))
 * const handler = clientAddress(whoAmI)
 * const Live = TrustedPeers.layer(TrustedPeers.networks(["private"]))
 * console.log(Effect.isEffect(handler), Layer.isLayer(Live)) // => true true
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import * as Fields from "./Fields.ts"
import type * as Forwarded from "./Forwarded.ts"
import * as RequestService from "./RequestService.ts"
import * as TrustedPeers from "./TrustedPeers.ts"

/**
 * Whose request is being handled.
 *
 * @category services
 * @since 0.1.0
 */
export class ClientAddress extends RequestService.Service<ClientAddress, TrustedPeers.Client>()(
  "@sluice/core/ClientAddress"
) {}

/**
 * The client of the current request, by the `TrustedPeers` of the application. Fails (400) when a trusted peer's
 * forwarding field can't be read.
 *
 * @category combinators
 * @since 0.1.0
 */
export const fromRequest: Effect.Effect<
  TrustedPeers.Client,
  Forwarded.InvalidForwarded,
  HttpServerRequest.HttpServerRequest
> = Effect.flatMap(
  HttpServerRequest.HttpServerRequest,
  (request) =>
    Effect.flatMap(TrustedPeers.TrustedPeers, (trusted) => {
      const address = Option.getOrUndefined(request.peerAddress)
      const fields = trusted.peer(address).trusted ? Fields.fromHeaders(request.headers) : Fields.empty
      return Effect.fromResult(TrustedPeers.resolve(trusted, address, fields))
    })
)
