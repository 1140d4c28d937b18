import type * as Exchange from "@sluice/core/Exchange"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Result from "effect/Result"

/** The client's address, by whom is trusted; the peer's where the fields of a trusted one make no sense. */
export const clientAddress = (
  exchange: Exchange.Exchange,
  trusted: TrustedPeers.TrustedPeers
): string | undefined => {
  const client = TrustedPeers.resolve(trusted, exchange.peerAddress, exchange.requestFields)
  return Result.isSuccess(client) ? client.success.address : trusted.peer(exchange.peerAddress).address
}
