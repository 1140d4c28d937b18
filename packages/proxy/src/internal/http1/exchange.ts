/**
 * One request and its response on one connection: a state machine that the connection drives and the fiber waits for.
 */
import type * as Fields from "@sluice/core/Fields"
import * as Timer from "@sluice/core/Timer"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ProxyError from "../../ProxyError.ts"
import type * as Transport from "../../Transport.ts"
import { clockOf } from "../clocks.ts"
import * as BodyReader from "./bodyReader.ts"
import { type Lease, releaser } from "./bufferPool.ts"
import type { Connection, Phase } from "./connection.ts"
import { FieldParser, invalid, type Limits } from "./fieldParser.ts"
import { type Framing, framing } from "./framing.ts"
import type { Applicant, Pool } from "./pool.ts"
import * as RequestHead from "./requestHead.ts"
import { type Listener, Upload } from "./upload.ts"

/** What one transport shares among its exchanges. */
export interface Shared {
  readonly pool: Pool
  readonly limits: Limits
}

type Resume = (effect: Effect.Effect<Transport.UpstreamResponse, ProxyError.TransportError>) => void

type State = "queued" | "connecting" | "head" | "body" | "tunnel" | "done"

/** Bytes that were read but can't be delivered yet. */
interface Held {
  readonly view: Buffer
  readonly at: number
  readonly lease: Lease | undefined
}

/** Methods that may be sent twice to the same effect as once (RFC 9110, 9.2.2). */
const idempotent: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])

const noFields: Fields.Fields = []

export class Exchange implements Applicant, Listener, Transport.ResponseBody, Transport.BodyControl {
  length: number | undefined
  readonly plain: boolean

  private readonly shared: Shared
  private readonly endpoint: Transport.Endpoint
  private readonly request: Transport.OutgoingRequest
  private readonly clock: Clock.Clock
  private readonly parser: FieldParser
  private state: State = "connecting"
  private resumeFiber: Resume | undefined
  private head = ""
  private connection: Connection | undefined
  private upload: Upload | undefined
  private cancelTimer: Timer.Cancel | undefined
  /** A body that waits for the upstream to ask for it (`Expect: 100-continue`). */
  private expected: Upload | undefined
  private cancelContinue: Timer.Cancel | undefined
  /** Whether a body in memory waits for the upstream to take it. */
  private flushing = false
  /** Bytes of the response that were read. */
  private received = 0
  /** When the last of the body was read or asked for, in milliseconds. */
  private since = 0

  private framing: Framing | undefined
  private reader: BodyReader.BodyReader | undefined
  private consumer: Transport.BodyConsumer | undefined
  /** Bytes of body that were delivered. */
  private delivered = 0
  private held: Held | undefined
  /** The consumer has asked to wait. */
  private waiting = false
  private delivering = false
  private resumed = false
  /** How the connection ended while bytes were held. */
  private peerGone: { readonly error: Error | undefined } | undefined
  /** How the body ended before there was a consumer. */
  private ended: { readonly trailers: Fields.Fields } | { readonly error: ProxyError.Committed } | undefined

  constructor(
    shared: Shared,
    endpoint: Transport.Endpoint,
    request: Transport.OutgoingRequest,
    clock: Clock.Clock
  ) {
    this.shared = shared
    this.endpoint = endpoint
    this.request = request
    this.plain = request.upgrade !== undefined
    this.clock = clock
    this.parser = new FieldParser(shared.limits, true)
  }

  // -- Connecting -----------------------------------------------------------------------------------------------------

  start(resume: Resume): void {
    this.resumeFiber = resume
    const head = RequestHead.write(this.endpoint, this.request)
    if (typeof head !== "string") return this.fail(head)
    this.head = head
    // Until it is read, its errors would be nobody's.
    const { body } = this.request
    if (body._tag === "OneShot" && body.stream.listenerCount("error", noop) === 0) body.stream.on("error", noop)
    const idle = this.plain ? undefined : this.shared.pool.take(this.endpoint, this)
    if (idle === undefined) return this.apply()
    this.connection = idle
    this.send(idle)
  }

  private apply(): void {
    const answer = this.shared.pool.admit(this.endpoint, this)
    if (answer === "room") return this.connect(undefined)
    if (answer === "full") return this.fail(new ProxyError.UpstreamSaturated(this.evidence()))
    this.state = "queued"
    this.startTimer("queue", this.onQueueTimeout)
  }

  private readonly onQueueTimeout = (): void => this.fail(new ProxyError.QueueTimeout(this.evidence()))

  onTurn(idle: Connection | undefined): void {
    this.stopTimer()
    if (idle === undefined) return this.connect(undefined)
    this.connection = idle
    this.send(idle)
  }

  private connect(instead: Connection | undefined): void {
    this.state = "connecting"
    const { pool } = this.shared
    try {
      this.connection = instead === undefined
        ? pool.connect(this.endpoint, this, this.plain)
        : pool.replace(instead, this.endpoint, this, this.plain)
    } catch (cause) {
      return this.fail(ProxyError.fromNodeError(cause, "connect", this.evidence()))
    }
    this.onPhase(this.connection.phase)
  }

  onPhase(phase: Phase): void {
    const connection = this.connection
    if (this.state !== "connecting" || connection === undefined) return
    this.stopTimer()
    if (phase === "ready") this.send(connection)
    else this.startTimer(phase, () => this.fail(new late[phase](this.evidence())))
  }

  // -- Sending --------------------------------------------------------------------------------------------------------

  private send(connection: Connection): void {
    this.state = "head"
    const { socket } = connection
    const body = this.request.body
    if (body._tag === "Empty") {
      socket.write(this.head, "latin1")
      return this.awaitHead()
    }
    socket.cork()
    socket.write(this.head, "latin1")
    if (body._tag === "Replayable") {
      this.flushing = !socket.write(body.bytes)
      socket.uncork()
      if (!this.flushing) return this.awaitHead()
      return this.startTimer("send", this.onSendTimeout)
    }
    const upload = new Upload(body, connection, this, this.now)
    if (this.request.expectContinue === true) {
      socket.uncork()
      return this.awaitContinue(upload)
    }
    this.startUpload(upload)
    // Not before the first chunk had its chance: it usually arrives in this turn and then shares a segment with the head.
    process.nextTick(() => socket.uncork())
  }

  private startUpload(upload: Upload): void {
    this.upload = upload
    this.runTimer("send", this.onSendTimer)
    upload.start()
  }

  private awaitContinue(upload: Upload): void {
    this.expected = upload
    this.cancelContinue = Timer.start(this.clock, clockOf(this.request.clocks, "continue"), this.onContinue)
    this.awaitHead()
  }

  /** The upstream wants the body, or has been silent for so long that it seems not to know the expectation. */
  private readonly onContinue = (): void => {
    this.cancelContinue?.()
    const upload = this.expected
    this.expected = undefined
    if (upload === undefined || this.state !== "head") return
    this.stopTimer()
    this.startUpload(upload)
  }

  private readonly now = (): number => this.clock.currentTimeMillisUnsafe()

  onDrain(): void {
    this.upload?.onDrain()
    if (!this.flushing) return
    this.flushing = false
    this.onUploaded()
  }

  onUploaded(): void {
    if (this.state !== "head") return
    this.stopTimer()
    this.awaitHead()
  }

  onUploadFailed(error: ProxyError.TransportError): void {
    if (this.state === "head") this.fail(error)
    else if (this.state === "body") this.failBody(this.truncated("Request", error))
  }

  private readonly onSendTimeout = (): void => this.fail(new ProxyError.UpstreamSendTimeout(this.evidence()))

  /** A client that is slow with its body does not count against the upstream. */
  private readonly onSendTimer = (limit: number): number => {
    const left = this.upload?.blocked === true ? this.upload.progress + limit - this.now() : limit
    if (left <= 0) this.onSendTimeout()
    return left
  }

  private awaitHead(): void {
    this.startTimer("responseHead", this.onHeadTimeout)
  }

  private readonly onHeadTimeout = (): void => this.fail(new ProxyError.UpstreamHeadersTimeout(this.evidence()))

  // -- The response head ----------------------------------------------------------------------------------------------

  onData(view: Buffer, lease: Lease | undefined): void {
    this.received += view.length
    if (this.held !== undefined) return this.holdMore(this.held, view)
    if (this.state === "body") this.pump(view, 0, lease)
    else if (this.state === "head") this.readHead(view, lease)
  }

  private readHead(view: Buffer, lease: Lease | undefined): void {
    let at = 0
    while (this.state === "head" && at < view.length) {
      const next = this.parser.parse(view, at)
      if (next === invalid) return this.refuse(this.parser.problem)
      if (next < 0) return
      at = next
      if (this.parser.status < 200) this.informational(view, at)
      else this.finalHead(view, at, lease)
    }
  }

  private informational(view: Buffer, at: number): void {
    const { fields, status } = this.parser
    if (status === 101) return this.switchProtocols(view, at)
    this.parser.reset()
    // A 100 that nobody waits for may come at any time and means nothing (RFC 9110, 15.2).
    if (status === 100) this.onContinue()
    else this.request.onInformational?.(status, fields)
  }

  private finalHead(view: Buffer, at: number, lease: Lease | undefined): void {
    const { fields, httpVersion, reason, status } = this.parser
    const frame = framing(this.request.method, status, httpVersion, fields)
    if (typeof frame === "string") return this.refuse(frame)
    this.stopTimer()
    this.state = "body"
    this.framing = frame
    this.length = frame.chunked ? undefined : frame.length
    this.reader = BodyReader.make(frame, this.shared.limits)
    if (this.length === 0) this.complete(at < view.length, noFields)
    else if (at < view.length) this.hold(view, at, lease)
    this.settle(Effect.succeed({ status, reason, httpVersion, fields, body: this }))
    if (this.state === "body") this.afterHead()
  }

  /** The fiber has had its turn: either the body flows by now, or it waits for a consumer. */
  private afterHead(): void {
    if (this.consumer !== undefined) return
    const there = this.held === undefined ? 0 : this.held.view.length - this.held.at
    if (this.reader?.completes(there) !== true) this.connection?.pause()
  }

  private switchProtocols(view: Buffer, at: number): void {
    const { fields, httpVersion, reason, status } = this.parser
    if (this.request.upgrade === undefined) return this.refuse("UnsolicitedSwitch")
    const frame = framing(this.request.method, status, httpVersion, fields)
    if (typeof frame === "string") return this.refuse(frame)
    if (!offers(this.request.upgrade, frame.upgrade)) return this.refuse("ProtocolSwitch")
    this.stopTimer()
    this.upload?.stop()
    this.state = "tunnel"
    this.length = 0
    this.ended = { trailers: noFields }
    const tunnel = this.connection?.handOver(view.subarray(at))
    if (tunnel === undefined) return
    this.settle(Effect.succeed({ status, reason, httpVersion, fields, body: this, tunnel }))
  }

  private refuse(reason: ProxyError.InvalidResponse): void {
    this.fail(new ProxyError.UpstreamResponseInvalid({ reason, ...this.evidence() }))
  }

  // -- The response body ----------------------------------------------------------------------------------------------

  consume(consumer: Transport.BodyConsumer): Transport.BodyControl {
    if (this.consumer !== undefined) throw new Error("a response body can be consumed once")
    this.consumer = consumer
    if (this.ended !== undefined) this.tellEnd(consumer, this.ended)
    else if (this.state === "body") {
      this.since = this.now()
      this.flush()
      if (this.isReading()) this.runTimer("bodyIdle", this.onIdleTimer)
    }
    return this
  }

  private isReading(): boolean {
    return this.state === "body"
  }

  private tellEnd(
    consumer: Transport.BodyConsumer,
    ended: { readonly trailers: Fields.Fields } | { readonly error: ProxyError.Committed }
  ): void {
    if ("error" in ended) consumer.onError(ended.error)
    else consumer.onEnd(ended.trailers)
  }

  resume(): void {
    if (this.delivering) {
      this.resumed = true
      return
    }
    if (this.state !== "body" || !this.waiting) return
    this.waiting = false
    this.since = this.now()
    this.flush()
  }

  cancel(): void {
    this.abort()
  }

  /** Delivers what is held, then lets more come. */
  private flush(): void {
    const held = this.held
    if (held !== undefined) {
      this.held = undefined
      this.pump(held.view, held.at, held.lease)
      held.lease?.release()
    }
    if (this.state !== "body" || this.waiting) return
    if (this.peerGone === undefined) this.connection?.resume()
    else this.endOfConnection(this.peerGone.error)
  }

  private hold(view: Buffer, at: number, lease: Lease | undefined): void {
    lease?.retain()
    this.held?.lease?.release()
    this.held = { view, at, lease }
  }

  /** Bytes after a response that nobody has taken yet: they can't be part of it, and no more of them are wanted. */
  private holdMore(held: Held, view: Buffer): void {
    this.hold(Buffer.concat([held.view.subarray(held.at), view]), 0, undefined)
    this.connection?.pause()
  }

  private pump(view: Buffer, from: number, lease: Lease | undefined): void {
    const reader = this.reader
    if (reader === undefined) return
    this.since = this.now()
    let at = from
    while (this.state === "body") {
      if (this.waiting && !reader.completes(0)) return this.wait(view, at, lease)
      const found = reader.next(view, at)
      at = reader.at
      if (found === "data") this.deliver(view, reader, lease)
      else if (found === "end") return this.complete(at < view.length, reader.trailers)
      else if (found === "more") return
      else return this.failBody(this.truncated(found === "invalidChunk" ? "Chunk" : "Trailer"))
    }
  }

  private wait(view: Buffer, at: number, lease: Lease | undefined): void {
    if (at < view.length) this.hold(view, at, lease)
    this.connection?.pause()
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

  /** An idle clock that is looked at when it rings, rather than wound up for every chunk. */
  private readonly onIdleTimer = (limit: number): number => {
    // While it is the consumer that is waited for, the upstream is not late.
    const left = this.waiting ? limit : this.since + limit - this.now()
    if (left <= 0) {
      this.failBody(new ProxyError.UpstreamBodyTimeout({ idle: Duration.millis(limit), ...this.evidence() }))
    }
    return left
  }

  /** The response is complete; `extra` when bytes followed it. */
  private complete(extra: boolean, trailers: Fields.Fields): void {
    const connection = this.connection
    const frame = this.framing
    const whole = this.expected === undefined && (this.upload === undefined || this.upload.done)
    this.finish()
    if (connection !== undefined && frame !== undefined) {
      if (frame.persistent && whole && !extra && this.peerGone === undefined) {
        this.shared.pool.release(connection, frame.keepAliveTimeout)
      } else connection.destroy()
    }
    if (this.consumer === undefined) this.ended = { trailers }
    else this.consumer.onEnd(trailers)
  }

  private truncated(
    reason: ProxyError.UpstreamBodyTruncated["reason"],
    cause?: unknown
  ): ProxyError.UpstreamBodyTruncated {
    return new ProxyError.UpstreamBodyTruncated({
      reason,
      received: this.delivered,
      ...(this.length === undefined ? undefined : { expected: this.length }),
      ...(cause === undefined ? undefined : { cause }),
      ...this.evidence()
    })
  }

  // -- Ends -----------------------------------------------------------------------------------------------------------

  onEnd(): void {
    this.endOfConnection(undefined)
  }

  onClosed(error: Error | undefined): void {
    this.endOfConnection(error ?? closed)
  }

  private endOfConnection(error: Error | undefined): void {
    if (this.state === "connecting") this.fail(this.connectError(error))
    else if (this.state === "head") this.endBeforeHead(error)
    else if (this.state === "body") this.endWithinBody(error)
  }

  private connectError(error: Error | undefined): ProxyError.TransportError {
    const phase = this.connection?.phase
    // Without an error of its own it is not the name that failed.
    const doing = phase === "tls" || (phase === "resolve" && error !== closed) ? phase : "connect"
    return ProxyError.fromNodeError(error ?? closed, doing, this.evidence())
  }

  private endBeforeHead(error: Error | undefined): void {
    if (this.received > 0) return this.refuse("Incomplete")
    const uploading = this.upload !== undefined && !this.upload.done
    const reused = this.connection?.reused === true
    if (reused && this.mayResend(error)) return this.resend()
    const evidence = { ...this.evidence(), reused }
    this.fail(ProxyError.fromNodeError(error ?? closed, uploading && error !== undefined ? "write" : "read", evidence))
  }

  /** RFC 9112, 9.3.1: a client's or proxy's own retry is for idempotent requests, or for those of which nothing left. */
  private mayResend(error: Error | undefined): boolean {
    const body = this.request.body
    if (body._tag === "OneShot" && this.upload?.started === true) return false
    return idempotent.has(this.request.method) || this.sentNothing(error)
  }

  /** The first write of all was refused by the system, and it was too small to have been taken in part. */
  private sentNothing(error: Error | undefined): boolean {
    const body = this.request.body
    const size = this.head.length + (body._tag === "Replayable" ? body.bytes.length : 0)
    return error !== undefined && "syscall" in error && error.syscall === "write" && size <= smallWrite
  }

  private resend(): void {
    this.stopTimer()
    this.upload?.stop()
    this.upload = this.expected = undefined
    this.flushing = false
    this.cancelContinue?.()
    this.connect(this.connection)
  }

  private endWithinBody(error: Error | undefined): void {
    this.peerGone ??= { error }
    if (this.held !== undefined || (this.consumer === undefined && this.reader?.untilClose === false)) return
    if (this.reader?.untilClose === true && error === undefined) return this.complete(false, noFields)
    this.failBody(this.truncated(error === undefined || error === closed ? "Closed" : "Reset", error))
  }

  /** Fails the effect that waits for the head. */
  private fail(error: ProxyError.TransportError): void {
    const connection = this.connection
    this.finish()
    connection?.destroy()
    this.settle(Effect.fail(error))
  }

  /** Ends a body whose head is out. */
  private failBody(error: ProxyError.Committed): void {
    const connection = this.connection
    this.finish()
    connection?.destroy()
    if (this.consumer === undefined) this.ended = { error }
    else this.consumer.onError(error)
  }

  /** Ends it from outside, whatever it is doing. No callback follows; after the end it does nothing. */
  abort(): void {
    if (this.state === "done") return
    const connection = this.connection
    // Whoever comes for the body after its scope has closed must not wait for ever.
    if (this.state === "body" && this.consumer === undefined) this.ended = { error: this.truncated("Closed") }
    this.resumeFiber = undefined
    this.consumer = undefined
    this.finish()
    connection?.destroy()
  }

  private finish(): void {
    if (this.state === "queued") this.shared.pool.leave(this.endpoint, this)
    this.state = "done"
    this.stopTimer()
    this.cancelContinue?.()
    this.upload?.stop()
    this.connection = undefined
    this.held?.lease?.release()
    this.held = undefined
  }

  private settle(effect: Effect.Effect<Transport.UpstreamResponse, ProxyError.TransportError>): void {
    const resume = this.resumeFiber
    this.resumeFiber = undefined
    resume?.(effect)
  }

  private evidence(): { readonly upstream: string; readonly bytesSent: number; readonly bytesReceived: number } {
    const { hostname, port, protocol } = this.endpoint
    const sent = this.state === "connecting" || this.state === "queued" ? 0 : this.head.length + this.bodySent()
    return { upstream: `${protocol}//${hostname}:${port}`, bytesSent: sent, bytesReceived: this.received }
  }

  private bodySent(): number {
    const body = this.request.body
    return body._tag === "Replayable" ? body.bytes.length : this.upload?.bytes ?? 0
  }

  // -- Clocks ---------------------------------------------------------------------------------------------------------

  private startTimer(name: keyof Transport.Clocks, onRing: () => void): void {
    this.cancelTimer = Timer.start(this.clock, clockOf(this.request.clocks, name), onRing)
  }

  /** Rings when the clock has run out, and again after what `onRing` returns as long as that is more than 0. */
  private runTimer(name: keyof Transport.Clocks, onRing: (limit: number) => number): void {
    const limit = clockOf(this.request.clocks, name)
    const ring = (): void => {
      const left = onRing(limit)
      if (left > 0) this.cancelTimer = Timer.start(this.clock, left, ring)
    }
    this.cancelTimer = Timer.start(this.clock, limit, ring)
  }

  private stopTimer(): void {
    this.cancelTimer?.()
    this.cancelTimer = undefined
  }
}

/** What it is called when a phase of connecting takes too long. */
const late = {
  resolve: ProxyError.UpstreamResolveTimeout,
  connect: ProxyError.UpstreamConnectTimeout,
  tls: ProxyError.UpstreamTlsTimeout
}

/** In bytes. The send buffer of an idle connection takes that much or nothing. */
const smallWrite = 16_384

const noop = (): void => {}

const closed = new Error("the connection was closed")

/** Whether the protocol switched to is among those asked for; protocol names have no case (RFC 9110, 7.8). */
const offers = (asked: string, got: string | undefined): boolean => {
  const wanted = got?.trim().toLowerCase()
  return wanted !== undefined && asked.split(",").some((protocol) => protocol.trim().toLowerCase() === wanted)
}
