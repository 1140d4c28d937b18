import * as Exchange from "@sluice/core/Exchange"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Result from "effect/Result"
import { ownHost } from "./requestedHost.ts"
import { urlOf } from "./requestPath.ts"

/** Scheme, host and target that the client asked for: what a trusted peer says, or what came. */
export const requestedUri: Effect.Effect<string, never, HttpServerRequest> = Effect.flatMap(
  Exchange.current,
  (exchange) =>
    Effect.map(TrustedPeers.TrustedPeers, (trusted) => {
      const client = TrustedPeers.resolve(trusted, exchange.peerAddress, exchange.requestFields)
      const told = Result.isSuccess(client) ? client.success : undefined
      const scheme = told?.proto ?? (exchange.secure ? "https" : "http")
      const host = (told?.host ?? ownHost(exchange) ?? "").toLowerCase()
      return `${scheme}://${host}${urlOf(exchange)}`
    })
)
