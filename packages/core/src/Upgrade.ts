/**
 * The connection of a request that asks to switch protocols, for handlers that speak the other protocol themselves.
 *
 * **When to use** In tunnels. A WebSocket server uses Effect's `HttpServerRequest.upgrade` instead, which also works here.
 *
 * **Details** Whoever takes the socket answers on it: a 101 head and whatever follows, or nothing at all. What the client had
 * sent along with its request head is in `head`. To refuse the switch, don't take it and return a response: the connection
 * then serves on. A request with a body, or of HTTP/1.0, can't switch and is an ordinary one (RFC 9110, 7.8).
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import { validateHeaderName, validateHeaderValue } from "node:http"
import type { Duplex } from "node:stream"
import type * as Fields from "./Fields.ts"
import { exchangeOf } from "./internal/attach.ts"
import { runEdits } from "./internal/headEdits.ts"
import { upgradeHeadKey } from "./internal/upgradeHead.ts"
import { fromFields } from "./ResponseHead.ts"

/**
 * A connection that may switch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Upgrade {
  readonly socket: Duplex
  /** Bytes that the client sent behind its request head. */
  readonly head: Uint8Array
  /**
   * Switches: writes a 101 head of these raw fields (`Connection` and `Upgrade` among them), with the head edits of the
   * middleware applied. Throws a `TypeError`, and writes nothing, when a field is not one that can be written.
   */
  readonly accept: (fields: Fields.Fields, reason?: string) => void
  /** Calls back once when the server starts to drain, at once when it has: say goodbye and end. */
  readonly onDrain: (callback: () => void) => void
}

/** Node's own checks: a line break in a value would be the start of another field. */
const serialize = (fields: Fields.Fields): string => {
  let lines = ""
  for (let i = 0; i < fields.length; i += 2) {
    validateHeaderName(fields[i])
    validateHeaderValue(fields[i], fields[i + 1])
    lines += `${fields[i]}: ${fields[i + 1]}\r\n`
  }
  return lines
}

/**
 * The connection, or `undefined` when the request did not ask to switch, or its server can't.
 *
 * @category getters
 * @since 0.1.0
 */
export const connection: Effect.Effect<Upgrade | undefined, never, HttpServerRequest.HttpServerRequest> = Effect
  .withFiber((fiber) =>
    Effect.map(HttpServerRequest.HttpServerRequest, (request) => {
      const { [upgradeHeadKey]: head, socket } = request.source as {
        readonly [upgradeHeadKey]?: Uint8Array
        readonly socket?: Duplex
      }
      if (head === undefined || socket === undefined) return undefined
      const exchange = exchangeOf(request, fiber)
      const onDrain = (callback: () => void) => exchange.onDrain(callback)
      const accept: Upgrade["accept"] = (fields, reason = "Switching Protocols") => {
        const edited = [...fields]
        runEdits(exchange.headEdits ?? [], fromFields(101, edited))
        const lines = serialize(edited)
        exchange.headWritten(101, () => edited)
        socket.write(`HTTP/1.1 101 ${reason}\r\n${lines}\r\n`, "latin1")
      }
      return { socket, head, accept, onDrain }
    })
  )
