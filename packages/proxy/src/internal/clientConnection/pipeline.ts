/**
 * The exchanges on one client connection: those that wait, those that were sent, and how the connection ends.
 */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Duplex } from "node:stream"
import * as Body from "../../Body.ts"
import type { HandOver, Request } from "../../ClientConnection.ts"
import * as ConnectionEnd from "../../ConnectionEnd.ts"
import * as ProxyError from "../../ProxyError.ts"
import type * as Transport from "../../Transport.ts"
import type { Limits } from "../http1/fieldParser.ts"
import * as RequestHead from "../http1/requestHead.ts"
import { Exchange, type Owner, type Resume } from "./exchange.ts"

export interface Settings {
  readonly limits: Limits
  readonly pipelining: boolean
}

export class Pipeline implements Owner {
  readonly duplex: Duplex
  readonly limits: Limits
  readonly ended = Deferred.makeUnsafe<ConnectionEnd.ConnectionEnd>()

  private readonly pipelining: boolean
  private readonly queue: Array<Exchange> = []
  /** Sent, without a complete response; the oldest first. */
  private readonly sent: Array<Exchange> = []
  /** Why there is no further exchange; those that were sent before may still be going on. */
  private end: ConnectionEnd.ConnectionEnd | undefined
  /** Whether the stream has been let go of. */
  private gone = false
  /** What was read after the last response. */
  private surplus: Buffer = nothing
  private paused = false
  private completed = 0
  /** Whether a response has shown that the peer keeps the connection. */
  private persistent = false
  private depth = 0
  private readonly notices: Array<() => void> = []
  private readonly idlers = new Set<() => void>()

  constructor(duplex: Duplex, { limits, pipelining }: Settings) {
    this.duplex = duplex
    this.limits = limits
    this.pipelining = pipelining
    duplex.on("error", this.onGone)
    duplex.on("close", this.onClose).on("end", this.onEnd).on("drain", this.onDrain).on("data", this.onData)
    // It may have been paused by who had it before.
    duplex.resume()
    // There is no event to come of what has happened already.
    if (duplex.destroyed) this.onGone(duplex.errored)
    else if (duplex.readableEnded) this.onEnd()
  }

  get pending(): number {
    return this.queue.length + this.sent.length
  }

  /** An exchange that has not been submitted yet. */
  prepare(request: Request, clock: Clock.Clock): Effect.Effect<Exchange, ProxyError.UpstreamRequestInvalid> {
    return Effect.suspend(() => {
      const head = RequestHead.write(noEndpoint, { body: Body.empty, ...request, clocks: noClocks })
      return typeof head === "string" ? Effect.succeed(new Exchange(this, request, head, clock)) : Effect.fail(head)
    })
  }

  submit(exchange: Exchange, resume: Resume): void {
    // Its scope was closed before it began.
    if (exchange.over) return resume(Effect.interrupt)
    this.step(() => {
      exchange.enqueue(resume)
      if (this.end === undefined) this.queue.push(exchange)
      else this.refuse(exchange, this.end)
    })
  }

  /** Nobody waits for this exchange any more. Those that were sent before it go on. */
  abandon(exchange: Exchange): void {
    const queued = this.queue.indexOf(exchange)
    const sent = this.sent.indexOf(exchange)
    if (queued === -1 && sent === -1) return exchange.end(Effect.interrupt)
    this.step(() => {
      exchange.end(Effect.interrupt)
      if (queued === -1) this.endAfter(sent, { _tag: "ClosedByUs", reason: "Abandoned" })
      else this.queue.splice(queued, 1)
    })
  }

  hijack(): Effect.Effect<HandOver, ConnectionEnd.ConnectionBusy | ConnectionEnd.ConnectionEnded> {
    if (this.end !== undefined) {
      return Effect.fail(new ConnectionEnd.ConnectionEnded({ end: this.end, retryable: "always" }))
    }
    if (this.pending > 0) return Effect.fail(new ConnectionEnd.ConnectionBusy({ pending: this.pending }))
    return Effect.succeed(this.handOver("Hijack", this.surplus))
  }

  readonly awaitIdle: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.pending === 0) return resume(Effect.void)
    const onIdle = () => resume(Effect.void)
    this.idlers.add(onIdle)
    return Effect.sync(() => this.idlers.delete(onIdle))
  })

  close(): void {
    this.step(() => this.finish({ _tag: "ClosedByUs", reason: "Closed" }))
    this.duplex.destroy()
  }

  // -- What the exchanges say -----------------------------------------------------------------------------------------

  readonly later = (notice: () => void): void => {
    this.notices.push(notice)
  }

  onLast(end: ConnectionEnd.PeerEnds): void {
    this.endAfter(1, end)
  }

  onPersistent(): void {
    this.persistent = true
  }

  onComplete(exchange: Exchange): void {
    this.sent.shift()
    this.completed += 1
    if (!exchange.whole) this.finish(this.end ?? requestIncomplete)
    else if (this.end !== undefined && this.sent.length === 0) this.finish(this.end)
  }

  onSwitched(rest: Buffer): HandOver {
    this.sent.shift()
    return this.handOver("Upgrade", rest)
  }

  onBroken(cause: ConnectionEnd.PipelineBroken["cause"]): void {
    this.finish({ _tag: "PipelineBroken", cause })
  }

  onBodyFailed(): void {
    this.step(() => this.finish(requestIncomplete))
  }

  onTaken(): void {
    this.flow()
  }

  // -- What the stream says -------------------------------------------------------------------------------------------

  private readonly onData = (view: Buffer): void => this.step(() => this.read(view))

  private read(view: Buffer): void {
    let at = 0
    while (at < view.length && !this.gone) {
      const front = this.sent.at(0)
      if (front === undefined) {
        this.surplus = Buffer.concat([this.surplus, view.subarray(at)])
        return
      }
      at = front.read(view, at)
    }
  }

  private readonly onEnd = (): void =>
    this.step(() => {
      const front = this.sent.at(0)
      if (front === undefined) this.finish({ _tag: "PeerEnds", reason: "Closed" })
      else front.onInputEnd(undefined)
    })

  private readonly onClose = (): void => this.onGone(null)

  /** The stream was destroyed, by an error or by somebody else. */
  private readonly onGone = (error: Error | null): void => {
    if (this.gone) return
    this.step(() => {
      const cause = error ?? new Error("the connection was closed")
      const front = this.sent.at(0)
      if (front !== undefined) front.onInputEnd(cause)
      else this.onBroken(ProxyError.fromNodeError(cause, "read", { reused: this.completed > 0 }))
    })
  }

  private readonly onDrain = (): void =>
    this.step(() => {
      for (const exchange of this.sent) exchange.onDrain()
    })

  // -- Order ----------------------------------------------------------------------------------------------------------

  /** Makes a change. Who waits for its outcome hears of it only when everything is in order, for it may come back at once. */
  private step(change: () => void): void {
    this.depth += 1
    change()
    if (this.depth === 1) this.advance()
    this.depth -= 1
    if (this.depth > 0) return
    this.flow()
    if (this.pending === 0) this.tellIdle()
    for (let notice = this.notices.shift(); notice !== undefined; notice = this.notices.shift()) notice()
  }

  private tellIdle(): void {
    for (const onIdle of this.idlers) this.later(onIdle)
    this.idlers.clear()
  }

  /** Sends what may be sent. */
  private advance(): void {
    for (let next = this.queue.at(0); next !== undefined && this.maySend(next); next = this.queue.at(0)) {
      if (this.surplus.length > 0) {
        return this.onBroken(new ConnectionEnd.UnsolicitedBytes({ bytes: this.surplus.length }))
      }
      this.queue.shift()
      this.sent.push(next)
      next.send(this.completed > 0)
    }
  }

  private maySend(next: Exchange): boolean {
    if (this.sent.length === 0) return true
    return this.pipelining && this.persistent && !this.duplex.writableNeedDrain
      && next.pipelinable && this.sent.every((exchange) => exchange.pipelinable)
  }

  /** Reads on unless somebody has yet to take what came; an idle connection is read, to see it end. */
  private flow(): void {
    const pause = this.surplus.length > 0 || this.sent.at(0)?.body.full === true
    if (this.gone || pause === this.paused) return
    this.paused = pause
    if (pause) this.duplex.pause()
    else this.duplex.resume()
  }

  // -- Ends -----------------------------------------------------------------------------------------------------------

  /** The first `count` of the exchanges that were sent are the last on this connection. */
  private endAfter(count: number, end: ConnectionEnd.ConnectionEnd): void {
    this.end = end
    for (const exchange of [...this.sent.splice(count), ...this.queue.splice(0)]) this.refuse(exchange, end)
    if (this.sent.length === 0) this.finish(end)
  }

  private refuse(exchange: Exchange, end: ConnectionEnd.ConnectionEnd): void {
    exchange.end(Effect.fail(new ConnectionEnd.ConnectionEnded({ end, retryable: exchange.retryable })))
  }

  private finish(end: ConnectionEnd.ConnectionEnd): void {
    if (this.gone) return
    this.letGo(end)
    // The other end of an in-memory pair is told of this, but not always of the destruction.
    this.duplex.end()
    this.duplex.destroy()
  }

  private letGo(end: ConnectionEnd.ConnectionEnd): void {
    this.gone = true
    this.end = end
    this.duplex.off("close", this.onClose).off("end", this.onEnd).off("drain", this.onDrain).off("data", this.onData)
    this.surplus = nothing
    for (const exchange of [...this.sent.splice(0), ...this.queue.splice(0)]) this.refuse(exchange, end)
    this.later(() => Deferred.doneUnsafe(this.ended, Effect.succeed(end)))
  }

  private handOver(reason: ConnectionEnd.HandedOver["reason"], head: Uint8Array): HandOver {
    this.duplex.pause()
    this.step(() => this.letGo({ _tag: "HandedOver", reason }))
    return { duplex: this.duplex, head }
  }
}

const nothing = Buffer.alloc(0)

const requestIncomplete: ConnectionEnd.ClosedByUs = { _tag: "ClosedByUs", reason: "RequestIncomplete" }

/** The authority of a target that has none is empty (RFC 9112, 3.2). */
const noEndpoint: Transport.Endpoint = { protocol: "http:", hostname: "", port: 80 }

/** Whoever writes a head does not look at them. */
const noClocks: Transport.Clocks = { connect: Infinity, responseHead: Infinity, bodyIdle: Infinity }
