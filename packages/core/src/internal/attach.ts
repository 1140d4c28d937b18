import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as HttpEffect from "effect/http/HttpEffect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { IncomingMessage, type ServerResponse } from "node:http"
import * as Fields from "../Fields.ts"
import { exchangeKey } from "./exchangeKey.ts"
import { ExchangeState } from "./exchangeState.ts"
import { arrivalOf, type Timing } from "./nodeMessages.ts"
import { observeResponse } from "./nodeResponse.ts"
import { monotonicMillis } from "./time.ts"
import { writeValue } from "./valueResponse.ts"

interface Carrier {
  [exchangeKey]?: ExchangeState
}

/**
 * The exchange of a request: the one its server made, or one that is begun now because the request came through somebody
 * else's server. `guarded` says that the caller itself writes the head of value responses.
 */
export const exchangeOf = (
  request: HttpServerRequest,
  fiber: Fiber.Fiber<unknown, unknown>,
  guarded = false
): ExchangeState => {
  const source: Carrier = request.source
  return source[exchangeKey] ?? (source[exchangeKey] = begin(request, fiber, guarded))
}

const begin = (request: HttpServerRequest, fiber: Fiber.Fiber<unknown, unknown>, guarded: boolean): ExchangeState => {
  const clock = fiber.getRef(Clock.Clock)
  const timing: Timing = { now: () => monotonicMillis(clock), wallNow: () => clock.currentTimeMillisUnsafe() }
  if (request.source instanceof IncomingMessage) {
    const exchange = new ExchangeState(arrivalOf(request.source, timing))
    // Sound: an HTTP/1 request has an HTTP/1 response.
    observeResponse(NodeHttpServerRequest.toServerResponse(request) as ServerResponse, exchange)
    return exchange
  }
  return beginValue(request, fiber, timing, guarded)
}

/** No socket is in sight (a `fetch` handler, a test): the value that leaves is what was written. */
const beginValue = (
  request: HttpServerRequest,
  fiber: Fiber.Fiber<unknown, unknown>,
  timing: Timing,
  guarded: boolean
): ExchangeState => {
  const exchange = new ExchangeState({
    method: request.method,
    target: request.url,
    httpVersion: "1.1",
    secure: request.protocol === "https",
    peerAddress: Option.getOrUndefined(request.peerAddress),
    requestFields: Fields.fromHeaders(request.headers),
    now: timing.now,
    wallNow: timing.wallNow
  })
  exchange.valueNeeded = true
  if (!guarded) {
    HttpEffect.appendPreResponseHandlerUnsafe(
      fiber.context,
      (_, response) => Effect.sync(() => writeValue(exchange, response))
    )
  }
  const scope = Context.getOption(fiber.context, Scope.Scope)
  if (Option.isSome(scope)) {
    Effect.runSync(Scope.addFinalizerExit(scope.value, (exit) =>
      Effect.sync(() => {
        if (Exit.isFailure(exit) && exchange.cause === undefined) exchange.cutOff(exit.cause)
        exchange.end(Exit.isSuccess(exit) || !exchange.committed)
      })))
  }
  return exchange
}
