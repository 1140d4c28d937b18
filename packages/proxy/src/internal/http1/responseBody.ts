/**
 * A response body on its way from a connection to a consumer, who may come later and may ask to wait.
 */
import type * as Fields from "@sluice/core/Fields"
import * as Duration from "effect/Duration"
import * as ProxyError from "../../ProxyError.ts"
import type * as Transport from "../../Transport.ts"
import * as BodyReader from "./bodyReader.ts"
import { type Lease, releaser } from "./bufferPool.ts"
import { closed, type Connection } from "./connection.ts"
import type { Limits } from "./fieldParser.ts"
import type { Framing } from "./framing.ts"
import type { Watch } from "./watch.ts"

/** The exchange that it is the body of. */
export interface Source {
  /** The body is complete. `clean` when the connection may be used again as far as the response goes. */
  onBodyEnd(clean: boolean, keepAlive: number | undefined): void
  /** The body ended early: the connection has to go. */
  onBodyFailed(): void
  /** Ends everything. */
  abort(): void
  evidence(): ProxyError.Evidence
}

export interface Settings {
  readonly connection: Connection
  readonly framing: Framing
  readonly limits: Limits
  readonly watch: Watch
  readonly source: Source
}

type Ended = { readonly trailers: Fields.Fields } | { readonly error: ProxyError.Committed }

/** Bytes that were read but can't be delivered yet. */
interface Held {
  readonly view: Buffer
  readonly at: number
  readonly lease: Lease | undefined
}

export const noFields: Fields.Fields = []

export class ResponseBody implements Transport.ResponseBody, Transport.BodyControl {
  readonly length: number | undefined
  /** Whether nothing follows. */
  done = false

  private readonly connection: Connection
  private readonly framing: Framing
  private readonly reader: BodyReader.BodyReader
  private readonly watch: Watch
  private readonly source: Source
  private consumer: Transport.BodyConsumer | undefined
  /** Bytes that were delivered. */
  private delivered = 0
  /** When the last of it was read or asked for, in milliseconds. */
  private since = 0
  private held: Held | undefined
  /** The consumer has asked to wait. */
  private waiting = false
  private delivering = false
  private resumed = false
  /** How the connection ended while bytes were held. */
  private peerGone: { readonly error: Error | undefined } | undefined
  /** How the body ended before there was a consumer. */
  private ended: Ended | undefined

  constructor({ connection, framing, limits, source, watch }: Settings) {
    this.connection = connection
    this.framing = framing
    this.reader = BodyReader.make(framing, limits)
    this.watch = watch
    this.source = source
    this.length = framing.chunked ? undefined : framing.length
  }

  // -- From the connection --------------------------------------------------------------------------------------------

  /** What came with the head. */
  start(view: Buffer, at: number, lease: Lease | undefined): void {
    if (this.length === 0) this.complete(at < view.length, noFields)
    else if (at < view.length) this.hold(view, at, lease)
  }

  /** The head was told: either the body flows by now, or it waits for a consumer. */
  afterHead(): void {
    if (this.consumer !== undefined || this.done) return
    const there = this.held === undefined ? 0 : this.held.view.length - this.held.at
    if (!this.reader.completes(there)) this.connection.pause()
  }

  onData(view: Buffer, lease: Lease | undefined): void {
    if (this.held !== undefined) this.holdMore(this.held, view)
    else if (!this.done) {
      this.pump(view, 0, lease)
      if (!this.done) this.since = this.watch.now()
    }
  }

  /** The connection has ended: in order, or by an error. */
  onGone(error: Error | undefined): void {
    if (this.done) return
    this.peerGone ??= { error }
    if (this.held !== undefined || (this.consumer === undefined && !this.reader.untilClose)) return
    if (this.reader.untilClose && error === undefined) return this.complete(false, noFields)
    this.fail(this.truncated(error === undefined || error === closed ? "Closed" : "Reset", error))
  }

  private hold(view: Buffer, at: number, lease: Lease | undefined): void {
    lease?.retain()
    this.held?.lease?.release()
    this.held = { view, at, lease }
  }

  /** Bytes after a response that nobody has taken yet: they can't be part of it, and no more of them are wanted. */
  private holdMore(held: Held, view: Buffer): void {
    this.hold(Buffer.concat([held.view.subarray(held.at), view]), 0, undefined)
    this.connection.pause()
  }

  private pump(view: Buffer, from: number, lease: Lease | undefined): void {
    const reader = this.reader
    let at = from
    while (!this.done) {
      if (this.waiting && !reader.completes(0)) return this.wait(view, at, lease)
      const found = reader.next(view, at)
      at = reader.at
      if (found === "data") this.deliver(view, reader, lease)
      else if (found === "end") return this.complete(at < view.length, reader.trailers)
      else if (found === "more") return
      else return this.fail(this.truncated(found === "invalidChunk" ? "Chunk" : "Trailer"))
    }
  }

  private wait(view: Buffer, at: number, lease: Lease | undefined): void {
    if (at < view.length) this.hold(view, at, lease)
    this.connection.pause()
  }

  private deliver(view: Buffer, { end, start }: BodyReader.BodyReader, lease: Lease | undefined): void {
    const chunk = start === 0 && end === view.length ? view : view.subarray(start, end)
    this.delivered += chunk.length
    this.delivering = true
    this.resumed = false
    const goOn = this.consumer?.onData(chunk, releaser(lease)) ?? false
    this.delivering = false
    this.waiting = !goOn && !this.resumed
  }

  // -- From the consumer ----------------------------------------------------------------------------------------------

  consume(consumer: Transport.BodyConsumer): Transport.BodyControl {
    if (this.consumer !== undefined) throw new Error("a response body can be consumed once")
    this.consumer = consumer
    if (this.ended !== undefined) this.tellEnd(consumer, this.ended)
    else if (!this.done) {
      this.flush()
      if (!this.done) {
        this.since = this.watch.now()
        this.watch.wind("bodyIdle", this.onIdle)
      }
    }
    return this
  }

  resume(): void {
    if (this.delivering) {
      this.resumed = true
      return
    }
    if (this.done || !this.waiting) return
    this.waiting = false
    this.since = this.watch.now()
    this.flush()
  }

  cancel(): void {
    this.source.abort()
  }

  /** Delivers what is held, then lets more come. */
  private flush(): void {
    const held = this.held
    if (held !== undefined) {
      this.held = undefined
      this.pump(held.view, held.at, held.lease)
      held.lease?.release()
    }
    if (this.done || this.waiting) return
    if (this.peerGone === undefined) this.connection.resume()
    else this.onGone(this.peerGone.error)
  }

  private readonly onIdle = (limit: number): number => {
    // While it is the consumer that is waited for, the upstream is not late.
    const left = this.waiting ? limit : this.since + limit - this.watch.now()
    if (left <= 0) {
      this.fail(new ProxyError.UpstreamBodyTimeout({ idle: Duration.millis(limit), ...this.source.evidence() }))
    }
    return left
  }

  // -- Ends -----------------------------------------------------------------------------------------------------------

  /** The body can't be had in full, whatever came of it. */
  fail(error: ProxyError.Committed): void {
    this.finish()
    this.source.onBodyFailed()
    this.tell({ error })
  }

  truncated(reason: ProxyError.UpstreamBodyTruncated["reason"], cause?: unknown): ProxyError.UpstreamBodyTruncated {
    return new ProxyError.UpstreamBodyTruncated({
      reason,
      received: this.delivered,
      ...(this.length === undefined ? undefined : { expected: this.length }),
      ...(cause === undefined ? undefined : { cause }),
      ...this.source.evidence()
    })
  }

  /** Ends it from outside: no callback follows. */
  abandon(): void {
    if (this.done) return
    // Whoever comes for the body after its scope has closed must not wait for ever.
    if (this.consumer === undefined) this.ended = { error: this.truncated("Closed") }
    this.consumer = undefined
    this.finish()
  }

  /** The body is complete; `extra` when bytes followed it. */
  private complete(extra: boolean, trailers: Fields.Fields): void {
    this.finish()
    const { keepAliveTimeout, persistent } = this.framing
    this.source.onBodyEnd(persistent && !extra && this.peerGone === undefined, keepAliveTimeout)
    this.tell({ trailers })
  }

  private finish(): void {
    this.done = true
    this.watch.stop()
    this.held?.lease?.release()
    this.held = undefined
  }

  private tell(ended: Ended): void {
    if (this.consumer === undefined) this.ended = ended
    else this.tellEnd(this.consumer, ended)
  }

  private tellEnd(consumer: Transport.BodyConsumer, ended: Ended): void {
    if ("error" in ended) consumer.onError(ended.error)
    else consumer.onEnd(ended.trailers)
  }
}
