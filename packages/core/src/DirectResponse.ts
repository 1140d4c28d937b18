/**
 * Writing a response straight to its connection, when nothing between handler and wire needs its value.
 *
 * **When to use** In handlers that relay bytes, such as a proxy. Ordinary handlers return a response and are just as fast.
 *
 * **Details** {@link take} gives the Node response only when that is safe: the request came over HTTP/1, no middleware of the
 * stack reads or replaces the response's value, and no Effect pre-response hook waits for it. Head edits and observers
 * work as on any other response. The handler then returns a {@link receipt}.
 *
 * @since 0.1.0
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { type ServerResponse, STATUS_CODES } from "node:http"
import type { Exchange } from "./Exchange.ts"
import type * as Fields from "./Fields.ts"
import { exchangeOf } from "./internal/attach.ts"
import type { ExchangeState } from "./internal/exchangeState.ts"
import { hasPreResponseHook } from "./internal/preResponse.ts"

/**
 * A connection that waits for its response.
 *
 * @category models
 * @since 0.1.0
 */
export interface DirectResponse {
  /** Write to it as Node does; `writeHead` takes raw fields. */
  readonly node: ServerResponse
  /** Ends the connection so that its client sees that the response is not whole, and says why to the observers. */
  readonly cutOff: (cause: Cause.Cause<unknown>) => void
}

class Direct implements DirectResponse {
  readonly node: ServerResponse
  private readonly exchange: ExchangeState
  constructor(node: ServerResponse, exchange: ExchangeState) {
    this.node = node
    this.exchange = exchange
  }
  cutOff(cause: Cause.Cause<unknown>): void {
    this.exchange.cutOff(cause)
    this.node.destroy()
  }
}

/**
 * The connection of the request, or `undefined` when the response must be a value.
 *
 * @category getters
 * @since 0.1.0
 */
export const take: Effect.Effect<DirectResponse | undefined, never, HttpServerRequest.HttpServerRequest> = Effect
  .withFiber((fiber) => Effect.succeed(takeUnsafe(fiber)))

/**
 * {@link take} for callbacks that run while the request's fiber waits. Throws outside a request.
 *
 * @category getters
 * @since 0.1.0
 */
export const takeUnsafe = (fiber: Fiber.Fiber<unknown, unknown>): DirectResponse | undefined => {
  const request = Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
  const exchange = exchangeOf(request, fiber)
  if (!isFree(exchange, fiber)) return undefined
  exchange.direct = true
  // Sound: `wire` says that the carrier is an HTTP/1 response.
  return new Direct(NodeHttpServerRequest.toServerResponse(request) as ServerResponse, exchange)
}

/**
 * Whether {@link takeUnsafe} would give a connection now.
 *
 * @category getters
 * @since 0.1.0
 */
export const isAvailable = (exchange: Exchange, fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  // Sound: every exchange is one of ours.
  isFree(exchange as ExchangeState, fiber)

const isFree = ({ committed, valueNeeded, wire }: ExchangeState, { context }: Fiber.Fiber<unknown, unknown>): boolean =>
  wire && !valueNeeded && !committed && !hasPreResponseHook(context)

/**
 * What a handler returns for a response that it has written itself.
 *
 * @category constructors
 * @since 0.1.0
 */
export const receipt = (status: number): HttpServerResponse.HttpServerResponse => HttpServerResponse.empty({ status })

/**
 * Says why a response's body broke off, before its stream fails. For bodies that are passed on as values.
 *
 * @category combinators
 * @since 0.1.0
 */
export const noteCutOff: Effect.Effect<
  (cause: Cause.Cause<unknown>) => void,
  never,
  HttpServerRequest.HttpServerRequest
> = Effect.withFiber((fiber) =>
  Effect.map(HttpServerRequest.HttpServerRequest, (request) => {
    const exchange = exchangeOf(request, fiber)
    return (cause: Cause.Cause<unknown>) => exchange.cutOff(cause)
  })
)

/**
 * Calls back once when the server starts to drain, at once when it has: for a body that would otherwise go on until the
 * drain deadline cuts it off. A later callback takes the place of an earlier one.
 *
 * @category combinators
 * @since 0.1.0
 */
export const onDrain = (exchange: Exchange, callback: () => void): void =>
  // Sound: every exchange is one of ours.
  (exchange as ExchangeState).onDrain(callback)

/**
 * Sends an interim response (RFC 9110, 15.2) before the final one. It does nothing when the head is out already, when the
 * client speaks HTTP/1.0, which has none, and where the response is only a value.
 *
 * @category combinators
 * @since 0.1.0
 */
export const sendInformational = (exchange: Exchange, status: number, fields: Fields.Fields): void => {
  const node = nodeResponseOf(exchange)
  if (node === undefined || node.headersSent || exchange.httpVersion === "1.0") return
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`
  for (let i = 0; i < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n` // Node writes its own 1xx with this; its public methods for them take only some fields.
  ;(node as unknown as { _writeRaw(head: string, encoding: "latin1"): void })._writeRaw(`${head}\r\n`, "latin1")
}

/**
 * Sends fields after the body (RFC 9110, 6.5), before its end is written. They go only behind a chunked body.
 *
 * @category combinators
 * @since 0.1.0
 */
export const sendTrailers = (exchange: Exchange, fields: Fields.Fields): void => {
  const node = nodeResponseOf(exchange)
  if (node === undefined || node.writableEnded) return
  node.addTrailers(
    Array.from({ length: fields.length / 2 }, (_, i) => [fields[i * 2], fields[i * 2 + 1]] as [string, string])
  )
}

const nodeResponseOf = (exchange: Exchange): ServerResponse | undefined => {
  // Sound: every exchange is one of ours, and `wire` says that its carrier is an HTTP/1 response.
  const { carrier, wire } = exchange as ExchangeState
  return wire ? carrier as ServerResponse | undefined : undefined
}
