/**
 * A switched connection: bytes both ways until both sides have ended.
 *
 * **Details** Each side's end is passed on to the other, so a half-closed connection stays open the other way. A side that
 * breaks takes the other with it, once that one has had what was on its way to it. When the server drains, both ends of a
 * WebSocket get a Close frame with code 1001 (RFC 6455, 7.4.1), and both connections are ended in order; what is left of
 * them at the server's drain deadline is destroyed.
 *
 * @since 0.1.0
 */
import * as DirectResponse from "@sluice/core/DirectResponse"
import type * as Fields from "@sluice/core/Fields"
import type * as Upgrade from "@sluice/core/Upgrade"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import type { Duplex } from "node:stream"
import * as HopByHop from "./HopByHop.ts"
import * as ProxyError from "./ProxyError.ts"

/** FIN, opcode 8, two bytes of payload: 1001, "going away". */
const goingAway = Buffer.from([0x88, 0x02, 0x03, 0xe9])

/** The same as a client sends it: masked (RFC 6455, 5.3), with a key of zeros. */
const maskedGoingAway = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9])

/**
 * Joins the client's connection to an upstream's that has switched to `protocol`, until both have ended. The head of the
 * 101 has `fields`, hop-by-hop ones aside.
 *
 * @category combinators
 * @since 0.1.0
 */
export const tunnel = (
  client: Upgrade.Upgrade,
  upstream: Duplex,
  head: { readonly protocol: string; readonly fields: Fields.Fields; readonly reason: string }
): Effect.Effect<HttpServerResponse, never, HttpServerRequest> =>
  Effect.flatMap(DirectResponse.noteCutOff, (cutOff) =>
    Effect.callback((resume) => {
      const { protocol, reason } = head
      client.accept(HopByHop.switching(head.fields, protocol), reason === "" ? undefined : reason)
      if (client.head.length > 0) upstream.write(client.head)
      const joined = new Joined(
        client.socket,
        upstream,
        (error) => cutOff(Cause.fail(error)),
        () => resume(Effect.succeed(DirectResponse.receipt(101)))
      )
      client.onDrain(() => joined.sayGoodbye(protocol.toLowerCase() === "websocket"))
      return Effect.sync(() => joined.destroy())
    }))

/** Two connections, each piped into the other. */
class Joined {
  private readonly client: Duplex
  private readonly upstream: Duplex

  constructor(
    client: Duplex,
    upstream: Duplex,
    onBroken: (error: ProxyError.TunnelError) => void,
    onClosed: () => void
  ) {
    this.client = client
    this.upstream = upstream
    let open = 2
    const closed = (self: Duplex, other: Duplex) => () => {
      if (!(self.readableEnded && self.writableFinished)) closeBehind(self, other)
      if (--open === 0) onClosed()
    }
    client.pipe(upstream)
    upstream.pipe(client)
    // An error of the client's side is its leaving, which the exchange knows by itself.
    client.once("error", () => {}).once("close", closed(client, upstream))
    upstream.once("close", closed(upstream, client)).once(
      "error",
      (cause) => onBroken(new ProxyError.TunnelError({ direction: "upstreamToClient", side: "upstream", cause }))
    )
  }

  /** Ends both sides in order; what they still send is dropped. */
  sayGoodbye(webSocket: boolean): void {
    const { client, upstream } = this
    client.unpipe(upstream)
    upstream.unpipe(client)
    client.end(webSocket ? goingAway : undefined)
    upstream.end(webSocket ? maskedGoingAway : undefined)
    client.resume()
    upstream.resume()
  }

  destroy(): void {
    this.client.destroy()
    this.upstream.destroy()
  }
}

/** One side has closed out of order. If it had said all it had to say, the other side gets all of it first. */
const closeBehind = (self: Duplex, other: Duplex): void => {
  if (!self.readableEnded || other.writableFinished) other.destroy()
  else other.end().once("finish", () => other.destroy())
}
