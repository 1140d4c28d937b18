/**
 * A switched connection: bytes both ways until both sides have ended.
 *
 * **Details** Each side's end is passed on to the other, so a half-closed connection stays open the other way; a reset of one
 * side destroys the other. When the server drains, a WebSocket client gets a Close frame with code 1001 (RFC 6455, 7.4.1).
 *
 * @since 0.1.0
 */
import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Upgrade from "@sluice/core/Upgrade"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import type { Duplex } from "node:stream"
import * as HopByHop from "./HopByHop.ts"
import * as ProxyError from "./ProxyError.ts"
import type { UpstreamResponse } from "./Transport.ts"

/** FIN, opcode 8, two bytes of payload: 1001, "going away". */
const goingAway = Buffer.from([0x88, 0x02, 0x03, 0xe9])

/**
 * Joins the client's connection to an upstream's that has switched to `protocol`, until both have ended.
 *
 * @category combinators
 * @since 0.1.0
 */
export const tunnel = (
  response: UpstreamResponse,
  protocol: string
): Effect.Effect<HttpServerResponse, ProxyError.UpstreamResponseInvalid, HttpServerRequest> =>
  Effect.flatMap(Upgrade.connection, (client) => {
    const upstream = response.tunnel
    if (client === undefined || upstream === undefined) {
      return Effect.fail(new ProxyError.UpstreamResponseInvalid({ reason: "UnsolicitedSwitch" }))
    }
    return Effect.flatMap(DirectResponse.noteCutOff, (cutOff) =>
      Effect.callback<HttpServerResponse>((resume) => {
        const { head, socket } = client
        socket.write(switchingHead(response, protocol), "latin1")
        if (head.length > 0) upstream.write(head)
        const ends = join(socket, upstream, (error) =>
          cutOff(Cause.fail(error)), () =>
          resume(Effect.succeed(DirectResponse.receipt(101))))
        client.onDrain(() => {
          if (protocol.toLowerCase() === "websocket") {
            socket.write(goingAway)
          }
          socket.end()
          upstream.destroy()
        })
        return Effect.sync(ends)
      }))
  })

const switchingHead = (response: UpstreamResponse, protocol: string): string => {
  const fields = HopByHop.switching(response.fields, protocol)
  let head = `HTTP/1.1 101 ${response.reason === "" ? "Switching Protocols" : response.reason}\r\n`
  for (let i = 0; i < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`
  return `${head}\r\n`
}

/** Pipes both ways; returns what tears both down. */
const join = (
  client: Duplex,
  upstream: Duplex,
  onBroken: (error: ProxyError.TunnelError) => void,
  onClosed: () => void
): () => void => {
  let open = 2
  const closed = () => {
    if (--open === 0) onClosed()
  }
  const broken = (side: "client" | "upstream") => (cause: Error) =>
    onBroken(
      new ProxyError.TunnelError({
        direction: side === "client" ? "clientToUpstream" : "upstreamToClient",
        side,
        cause
      })
    )
  client.pipe(upstream)
  upstream.pipe(client)
  client.once("error", broken("client")).once("close", () => {
    upstream.destroy()
    closed()
  })
  upstream.once("error", broken("upstream")).once("close", () => {
    if (!upstream.readableEnded) client.destroy()
    closed()
  })
  return () => {
    client.destroy()
    upstream.destroy()
  }
}
