import * as BatchedWrites from "@sluice/core/BatchedWrites"
import type * as DirectResponse from "@sluice/core/DirectResponse"
import * as Fields from "@sluice/core/Fields"
import type * as Timer from "@sluice/core/Timer"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type { ServerResponse } from "node:http"
import * as ProxyError from "../ProxyError.ts"
import type { BodyConsumer, BodyControl } from "../Transport.ts"
import { type Outgoing, relayTrailers } from "./outgoing.ts"
import { bodyTimeout } from "./totalClock.ts"
import { WriteClock } from "./writeClock.ts"

/** A body of so many bytes goes out in one string with its head: to copy it costs less than to gather two pieces. */
const oneWrite = 4096

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1")

/** Moves a body to a Node response in the transport's own callbacks. */
export class Writer implements BodyConsumer, BatchedWrites.Waiting {
  private readonly direct: DirectResponse.DirectResponse
  private readonly node: ServerResponse
  private readonly outgoing: Outgoing
  private readonly done: () => void
  private remaining: number
  private headFlushed = false
  /** A whole body, which goes out with its head at the end of this turn. */
  private unsent: string | undefined
  private control: BodyControl | undefined
  private cancelTimer: Timer.Cancel | undefined
  private readonly clock: Clock.Clock
  private writeClock: WriteClock | undefined

  constructor(direct: DirectResponse.DirectResponse, outgoing: Outgoing, clock: Clock.Clock, done: () => void) {
    this.direct = direct
    this.node = direct.node
    this.outgoing = outgoing
    this.clock = clock
    this.done = done
    this.remaining = outgoing.bodiless ? 0 : outgoing.body.length ?? Number.POSITIVE_INFINITY
  }

  start(): void {
    const { announced, bodiless, body, limits: { total }, reason, status } = this.outgoing
    const fields = announced !== undefined && !bodiless
      ? Fields.append(this.outgoing.fields, "Trailer", announced)
      : this.outgoing.fields
    // Sound: Node takes a flat array of names and values; it does not write to it.
    this.node.writeHead(status, reason, fields as Array<string>)
    if (total !== undefined) this.cancelTimer = bodyTimeout(total, this.cutOff)
    this.control = body.consume(this)
    // What came along with the head shares a write with it; the rest may be long in coming.
    if (!this.headFlushed) this.node.flushHeaders()
  }

  private readonly cutOff = (cause: Cause.Cause<unknown>): void => {
    this.cancelTimer?.()
    this.unsent = undefined
    this.control?.cancel()
    this.direct.cutOff(cause)
    this.done()
  }

  private readonly onDrain = (): void => this.control?.resume()

  /** Also once the upstream has done its part: what is left is for the client to take. */
  private startWriteClock(): void {
    const { writeIdle } = this.outgoing.limits
    if (writeIdle === Infinity) return
    this.writeClock ??= new WriteClock(
      this.node,
      this.clock,
      writeIdle,
      () => this.cutOff(Cause.fail(new ProxyError.DownstreamWriteTimeout()))
    )
    this.writeClock.start()
  }

  onData(chunk: Uint8Array, release: () => void): boolean {
    const first = !this.headFlushed
    this.headFlushed = true
    this.remaining -= chunk.length
    if (first && this.remaining === 0 && chunk.length <= oneWrite) {
      this.unsent = latin1(chunk)
      release()
      BatchedWrites.atEndOfTurn(this)
      return true
    }
    if (this.remaining === 0) {
      this.node.end(chunk, release)
      return true
    }
    if (this.node.write(chunk, release)) return true
    this.node.once("drain", this.onDrain)
    this.startWriteClock()
    return false
  }

  onEnd(trailers: Fields.Fields): void {
    this.headFlushed = true
    this.cancelTimer?.()
    if (this.unsent !== undefined) return
    relayTrailers(this.outgoing.exchange, trailers)
    this.end()
  }

  flush(): void {
    const text = this.unsent
    if (text === undefined) return
    this.unsent = undefined
    this.node.end(text, "latin1")
    this.end()
  }

  private end(): void {
    if (!this.node.writableEnded) this.node.end()
    if (this.node.writableLength > 0) this.startWriteClock()
    this.done()
  }

  onError(error: ProxyError.Committed): void {
    this.headFlushed = true
    this.cancelTimer?.()
    this.direct.cutOff(Cause.fail(error))
    this.done()
  }

  cancel(): void {
    this.cancelTimer?.()
    this.unsent = undefined
    this.node.off("drain", this.onDrain)
    this.control?.cancel()
    if (!this.node.writableEnded) this.node.destroy()
  }
}
