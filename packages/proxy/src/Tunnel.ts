/**
 * A switched connection: bytes both ways until both sides have ended.
 *
 * **Details** Each side's end is passed on to the other, so a half-closed connection stays open the other way. A side that
 * breaks takes the other with it, once that one has had what was on its way to it.
 *
 * When the server drains or a clock runs out, both ends of a WebSocket get a Close frame with code 1001 (RFC 6455, 7.4.1),
 * and both connections are ended in order; what is left of them is destroyed at the server's drain deadline, or five
 * seconds after the clock. An end that is within a frame, or has been sent a Close frame, gets no other.
 *
 * @since 0.1.0
 */
import * as DirectResponse from "@sluice/core/DirectResponse"
import type * as Fields from "@sluice/core/Fields"
import * as Timer from "@sluice/core/Timer"
import type * as Upgrade from "@sluice/core/Upgrade"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import type { Duplex } from "node:stream"
import * as HopByHop from "./HopByHop.ts"
import { IdleClock } from "./internal/idleClock.ts"
import { requirePositive } from "./internal/options.ts"
import { WebSocketFrames } from "./internal/webSocketFrames.ts"
import * as ProxyError from "./ProxyError.ts"

/**
 * What a tunnel may be at most.
 *
 * @category models
 * @since 0.1.0
 */
export interface Clocks {
  /** While no byte goes either way; then {@link ProxyError.TunnelIdleTimeout}. @default no limit */
  readonly idle?: Duration.Input
  /** From the switch on; then {@link ProxyError.TunnelMaxDuration}. @default no limit */
  readonly maxDuration?: Duration.Input
}

/** How long the two sides may take to close after a clock has run out, in milliseconds. */
const grace = 5000

/** FIN, opcode 8, two bytes of payload: 1001, "going away". */
const goingAway = Buffer.from([0x88, 0x02, 0x03, 0xe9])

/** The same as a client sends it: masked (RFC 6455, 5.3), with a key of zeros. */
const maskedGoingAway = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9])

/**
 * Joins the client's connection to an upstream's that has switched to `protocol`, until both have ended or a clock runs
 * out. The head of the 101 has `fields`, hop-by-hop ones aside. Throws a `RangeError` when a clock is not positive.
 *
 * @category combinators
 * @since 0.1.0
 */
export const tunnel = (
  client: Upgrade.Upgrade,
  upstream: Duplex,
  head: { readonly protocol: string; readonly fields: Fields.Fields; readonly reason: string },
  clocks: Clocks = {}
): Effect.Effect<HttpServerResponse, never, HttpServerRequest> => {
  const idle = requirePositive("clocks.idle", clocks.idle ?? Infinity)
  const maxDuration = requirePositive("clocks.maxDuration", clocks.maxDuration ?? Infinity)
  return Effect.flatMap(DirectResponse.noteCutOff, (cutOff) =>
    Effect.callback((resume) => {
      const { protocol, reason } = head
      client.accept(HopByHop.switching(head.fields, protocol), reason === "" ? undefined : reason)
      const joined = new Joined(client, upstream, {
        webSocket: protocol.toLowerCase() === "websocket",
        onBroken: (error) => cutOff(Cause.fail(error)),
        onClosed: () => {
          limits.stop()
          resume(Effect.succeed(DirectResponse.receipt(101)))
        }
      })
      const limits = new Limits(joined, idle, maxDuration, (error) => cutOff(Cause.fail(error)))
      client.onDrain(() => {
        limits.stop()
        joined.sayGoodbye()
      })
      return Effect.sync(() => {
        limits.stop()
        joined.destroy()
      })
    }))
}

interface Settings {
  readonly webSocket: boolean
  readonly onBroken: (error: ProxyError.TunnelError) => void
  readonly onClosed: () => void
}

/** Two connections: what comes from one is written to the other. */
class Joined {
  /** Is called whenever bytes have come from a side, or have been taken by it. */
  onMoved: () => void = () => {}
  private readonly client: Duplex
  private readonly upstream: Duplex
  private leaving = false
  /** What has gone each way; `undefined` when it is no WebSocket. */
  private readonly toUpstream: WebSocketFrames | undefined
  private readonly toClient: WebSocketFrames | undefined

  constructor({ head, socket: client }: Upgrade.Upgrade, upstream: Duplex, settings: Settings) {
    this.client = client
    this.upstream = upstream
    if (settings.webSocket) {
      this.toUpstream = new WebSocketFrames()
      this.toClient = new WebSocketFrames()
    }
    let open = 2
    const closed = (self: Duplex, other: Duplex) => () => {
      if (!(self.readableEnded && self.writableFinished)) closeBehind(self, other)
      if (--open === 0) settings.onClosed()
    }
    const onClientData = this.relay(client, upstream, this.toUpstream)
    if (head.length > 0) onClientData(head)
    this.relay(upstream, client, this.toClient)
    // An error of the client's side is its leaving, which the exchange knows by itself.
    client.once("error", () => {}).once("close", closed(client, upstream))
    upstream.once("close", closed(upstream, client)).once(
      "error",
      (cause) =>
        settings.onBroken(new ProxyError.TunnelError({ direction: "upstreamToClient", side: "upstream", cause }))
    )
  }

  /** Not by `pipe`: frames and clocks would be two more listeners beside its own, which small messages pay for. */
  private relay(from: Duplex, to: Duplex, frames: WebSocketFrames | undefined) {
    const onData = (chunk: Uint8Array): void => {
      this.onMoved()
      if (this.leaving) return
      frames?.push(chunk)
      if (!to.write(chunk)) from.pause()
    }
    from.on("data", onData).once("end", () => to.end())
    to.on("drain", () => {
      this.onMoved()
      from.resume()
    })
    // Whoever handed it over may have paused it.
    from.resume()
    return onData
  }

  /** Ends both sides in order; what they still send is dropped. */
  sayGoodbye(): void {
    const { client, upstream } = this
    this.leaving = true
    if (!client.writableEnded) client.end(this.toClient?.open === true ? goingAway : undefined)
    if (!upstream.writableEnded) upstream.end(this.toUpstream?.open === true ? maskedGoingAway : undefined)
    client.resume()
    upstream.resume()
  }

  destroy(): void {
    this.client.destroy()
    this.upstream.destroy()
  }
}

type Late = ProxyError.TunnelIdleTimeout | ProxyError.TunnelMaxDuration

/** The clocks of a tunnel. The first that runs out ends it, and is its error. */
class Limits {
  private readonly joined: Joined
  private readonly onLate: (error: Late) => void
  private readonly clock = Timer.currentClock()
  private readonly idle: IdleClock | undefined
  private cancel: Timer.Cancel

  constructor(joined: Joined, idle: number, maxDuration: number, onLate: (error: Late) => void) {
    this.joined = joined
    this.onLate = onLate
    this.cancel = Timer.start(
      this.clock,
      maxDuration,
      () => this.end(new ProxyError.TunnelMaxDuration({ duration: Duration.millis(maxDuration) }))
    )
    if (idle === Infinity) return
    this.idle = new IdleClock(
      this.clock,
      idle,
      () => this.end(new ProxyError.TunnelIdleTimeout({ idle: Duration.millis(idle) }))
    )
    joined.onMoved = this.idle.touch
  }

  private end(error: Late): void {
    this.stop()
    this.onLate(error)
    this.joined.sayGoodbye()
    this.cancel = Timer.start(this.clock, grace, () => this.joined.destroy())
  }

  stop(): void {
    this.idle?.stop()
    this.cancel()
  }
}

/** One side has closed out of order. If it had said all it had to say, the other side gets all of it first. */
const closeBehind = (self: Duplex, other: Duplex): void => {
  if (!self.readableEnded || other.writableFinished) other.destroy()
  else other.end().once("finish", () => other.destroy())
}
