import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Result from "effect/Result"

/** The host that the client asked for, port included, in lower case: what a trusted peer says it is, or the `Host` field. */
export const requestedHost: Effect.Effect<string | undefined, never, HttpServerRequest> = Effect.flatMap(
  Exchange.current,
  (exchange) =>
    Effect.map(TrustedPeers.TrustedPeers, (trusted) => {
      const client = TrustedPeers.resolve(trusted, exchange.peerAddress, exchange.requestFields)
      const forwarded = Result.isSuccess(client) ? client.success.host : undefined
      return (forwarded ?? Fields.get(exchange.requestFields, "host"))?.toLowerCase()
    })
)
