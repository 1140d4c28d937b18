import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { ServerResponse } from "node:http"
import type { ExchangeState } from "./exchangeState.ts"
import { observeResponse } from "./nodeResponse.ts"

/** The Node response of a request. Where the connection could switch, it is made now, and the switch refused. */
export const takeResponse = (exchange: ExchangeState, request: HttpServerRequest): ServerResponse => {
  // Sound: whoever asks has seen that the request came over HTTP/1, which has an HTTP/1 response.
  const response = NodeHttpServerRequest.toServerResponse(request) as ServerResponse
  const { refuseUpgrade } = exchange
  if (refuseUpgrade !== undefined && !exchange.committed) {
    exchange.refuseUpgrade = undefined
    refuseUpgrade(response)
    observeResponse(response, exchange)
  }
  return response
}
