/**
 * One request and its response on a client connection.
 */
import * as Fields from "@sluice/core/Fields"
import * as Timer from "@sluice/core/Timer"
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Duplex } from "node:stream"
import * as Body from "../../Body.ts"
import type { ExchangeError, HandOver, Request, Response } from "../../ClientConnection.ts"
import type * as ConnectionEnd from "../../ConnectionEnd.ts"
import * as ProxyError from "../../ProxyError.ts"
import * as BodyReader from "../http1/bodyReader.ts"
import { FieldParser, invalid, type Limits } from "../http1/fieldParser.ts"
import { type Framing, framing } from "../http1/framing.ts"
import { idempotent } from "../http1/idempotent.ts"
import { offers } from "../http1/offers.ts"
import { type Listener, Upload } from "../http1/upload.ts"
import { ResponseBody } from "./responseBody.ts"

/** The connection that an exchange is on. */
export interface Owner {
  readonly duplex: Duplex
  readonly limits: Limits
  /** Calls back when what is being read or changed is in order again. */
  readonly later: (notice: () => void) => void
  /** After this response the peer keeps the connection, or ends it. */
  onPersistent(): void
  onLast(end: ConnectionEnd.PeerEnds): void
  /** The response has come in whole. */
  onComplete(exchange: Exchange): void
  onSwitched(rest: Buffer): HandOver
  onBroken(cause: ProxyError.TransportError | ProxyError.Committed): void
  onBodyFailed(): void
  /** Somebody has taken what held the connection up. */
  onTaken(): void
}

export type Resume = (effect: Effect.Effect<Response, ExchangeError>) => void

type State = "queued" | "head" | "body" | "done"

export class Exchange implements Listener {
  readonly body: ResponseBody
  /** Whether it may share the connection with others that are under way. */
  readonly pipelinable: boolean

  private readonly owner: Owner
  private readonly request: Request
  private readonly head: string
  private readonly clock: Clock.Clock
  private readonly parser: FieldParser
  private readonly requestBody: Body.Body
  private readonly expects: boolean
  private state: State = "queued"
  private resume: Resume | undefined
  private sender: Upload | undefined
  /** The body waits to be asked for. */
  private held = false
  private cancelContinue: Timer.Cancel | undefined
  private reused = false
  private reader: BodyReader.BodyReader | undefined
  private length: number | undefined
  /** Bytes of the response that were read, and those of its body. */
  private received = 0
  private delivered = 0

  constructor(owner: Owner, request: Request, head: string, clock: Clock.Clock) {
    this.owner = owner
    this.request = request
    this.head = head
    this.clock = clock
    this.requestBody = request.body ?? Body.empty
    this.expects = this.requestBody._tag !== "Empty" && expects(request.fields)
    this.pipelinable = idempotent.has(request.method) && this.requestBody._tag === "Empty"
      && request.upgrade === undefined
    this.parser = new FieldParser(owner.limits, true)
    this.body = new ResponseBody(() => owner.onTaken())
  }

  /** It waits for its turn, and this is who waits for it. */
  enqueue(resume: Resume): void {
    this.resume = resume
    // Until it is read, its errors would be nobody's.
    if (this.requestBody._tag === "OneShot") this.requestBody.stream.on("error", noop)
  }

  /** Whether nothing comes of it any more. */
  get over(): boolean {
    return this.state === "done"
  }

  /** Whether all of the request has been sent. */
  get whole(): boolean {
    return !this.held && (this.sender === undefined || this.sender.whole)
  }

  /** When the request may be sent again. */
  get retryable(): ConnectionEnd.ConnectionEnded["retryable"] {
    if (this.state === "queued") return "always"
    const used = this.sender !== undefined && this.sender.bytes > 0
    return idempotent.has(this.request.method) && !used ? "idempotent" : "never"
  }

  // -- Sending --------------------------------------------------------------------------------------------------------

  send(reused: boolean): void {
    this.state = "head"
    this.reused = reused
    const { duplex } = this.owner
    duplex.cork()
    duplex.write(this.head, "latin1")
    if (this.expects) this.hold()
    else this.sendBody()
    duplex.uncork()
  }

  private hold(): void {
    this.held = true
    this.cancelContinue = Timer.start(this.clock, this.request.continue ?? "1 second", this.onContinue)
  }

  /** The peer wants the body, or has been silent for so long that it seems not to know the expectation. */
  private readonly onContinue = (): void => {
    this.cancelContinue?.()
    if (!this.held || this.state !== "head") return
    this.held = false
    this.sendBody()
  }

  private sendBody(): void {
    const body = this.requestBody
    if (body._tag === "Replayable") this.owner.duplex.write(body.bytes)
    if (body._tag !== "OneShot") return
    this.sender = new Upload(body, this.owner.duplex, this, () => this.clock.currentTimeMillisUnsafe())
    this.sender.start()
  }

  onUploaded(): void {}

  onUploadFailed(error: ProxyError.TransportError): void {
    if (this.state === "head") this.fail(error)
    else if (this.state === "body") this.failBody(this.truncated("Request", error))
    this.owner.onBodyFailed()
  }

  onDrain(): void {
    this.sender?.onDrain()
  }

  // -- Reading --------------------------------------------------------------------------------------------------------

  /** Reads its part of the view from `at` on; returns where that ends. */
  read(view: Buffer, at: number): number {
    this.received += view.length - at
    const next = this.state === "head" ? this.readHead(view, at) : this.readBody(view, at)
    this.received -= view.length - next
    return next
  }

  private readHead(view: Buffer, at: number): number {
    const next = this.parser.parse(view, at)
    if (next === invalid) {
      this.breakHead(this.parser.problem)
      return view.length
    }
    if (next < 0) return view.length
    const { status } = this.parser
    if (status === 101) this.switchProtocols(view.subarray(next))
    else if (status < 200) this.informational()
    else this.finalHead()
    return next
  }

  private informational(): void {
    const { fields, status } = this.parser
    this.parser.reset()
    // A 100 that nobody waits for may come at any time and means nothing (RFC 9110, 15.2).
    if (status === 100) return this.onContinue()
    const { onInformational } = this.request
    if (onInformational !== undefined) this.owner.later(() => onInformational(status, fields))
  }

  private finalHead(): void {
    const { fields, httpVersion, status } = this.parser
    const frame = framing(this.request.method, status, httpVersion, fields)
    if (typeof frame === "string") return this.breakHead(frame)
    this.state = "body"
    this.length = frame.chunked ? undefined : frame.length
    this.reader = BodyReader.make(frame, this.owner.limits)
    this.settle(Effect.succeed(this.response()))
    if (!frame.persistent) this.owner.onLast(peerEnds(frame, this.parser))
    else if (httpVersion === "1.1") this.owner.onPersistent()
    if (this.length === 0) this.complete([])
  }

  private response(): Response {
    const { fields, httpVersion, reason, status } = this.parser
    const { stream, trailers } = this.body
    return {
      status,
      reason,
      httpVersion,
      fields,
      length: this.length,
      body: stream,
      trailers: Deferred.await(trailers)
    }
  }

  private switchProtocols(rest: Buffer): void {
    const { fields, httpVersion, status } = this.parser
    const { method, upgrade } = this.request
    if (upgrade === undefined) return this.breakHead("UnsolicitedSwitch")
    const frame = framing(method, status, httpVersion, fields)
    if (typeof frame === "string") return this.breakHead(frame)
    if (!offers(upgrade, frame.upgrade)) return this.breakHead("ProtocolSwitch")
    this.length = 0
    this.finish()
    this.body.succeed([])
    this.body.flush()
    this.settle(Effect.succeed({ ...this.response(), tunnel: this.owner.onSwitched(rest) }))
  }

  private readBody(view: Buffer, from: number): number {
    const reader = this.reader
    if (reader === undefined) return view.length
    this.owner.later(() => this.body.flush())
    let at = from
    while (true) {
      const found = reader.next(view, at)
      at = reader.at
      if (found === "data") this.push(view.subarray(reader.start, reader.end))
      else if (found === "more") return view.length
      else if (found === "end") {
        this.complete(reader.trailers)
        return at
      } else {
        this.breakBody(this.truncated(found === "invalidChunk" ? "Chunk" : "Trailer"))
        return view.length
      }
    }
  }

  private push(chunk: Uint8Array): void {
    this.delivered += chunk.length
    this.body.push(chunk)
    if (this.reader?.completes(0) === true) this.complete([])
  }

  private complete(trailers: Fields.Fields): void {
    if (this.state === "done") return
    this.finish()
    this.body.succeed(trailers)
    this.owner.later(() => this.body.flush())
    this.owner.onComplete(this)
  }

  /** Nothing more comes; `error` when the connection broke. */
  onInputEnd(error: Error | undefined): void {
    if (this.state === "body") this.endWithinBody(error)
    else if (this.received > 0) this.breakHead("Incomplete")
    else {
      const phase = error !== undefined && !this.whole ? "write" : "read"
      const info = { ...this.evidence(), reused: this.reused }
      this.break(ProxyError.fromNodeError(error ?? new Error("the connection was closed"), phase, info))
    }
  }

  private endWithinBody(error: Error | undefined): void {
    if (this.reader?.untilClose === true && error === undefined) return this.complete([])
    this.breakBody(this.truncated(error === undefined ? "Closed" : "Reset", error))
  }

  // -- Ends -----------------------------------------------------------------------------------------------------------

  private breakHead(reason: ProxyError.InvalidResponse): void {
    this.break(new ProxyError.UpstreamResponseInvalid({ reason, ...this.evidence() }))
  }

  private break(error: ProxyError.TransportError): void {
    this.fail(error)
    this.owner.onBroken(error)
  }

  private breakBody(error: ProxyError.UpstreamBodyTruncated): void {
    this.failBody(error)
    this.owner.onBroken(error)
  }

  /** Ends it from outside, whatever it is doing: `effect` for who waits for the head, a truncation for the body. */
  end(effect: Effect.Effect<never, ExchangeError>): void {
    if (this.state === "body") return this.failBody(this.truncated("Closed"))
    this.finish()
    this.settle(effect)
  }

  private fail(error: ExchangeError): void {
    this.end(Effect.fail(error))
  }

  private failBody(error: ProxyError.UpstreamBodyTruncated): void {
    this.finish()
    this.body.fail(error)
    this.owner.later(() => this.body.flush())
  }

  private finish(): void {
    this.state = "done"
    this.cancelContinue?.()
    this.sender?.stop()
  }

  private settle(effect: Effect.Effect<Response, ExchangeError>): void {
    const resume = this.resume
    this.resume = undefined
    if (resume !== undefined) this.owner.later(() => resume(effect))
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

  private evidence(): { readonly bytesSent: number; readonly bytesReceived: number } {
    const body = this.requestBody
    const sent = body._tag === "Replayable" && !this.held ? body.bytes.length : this.sender?.bytes ?? 0
    return { bytesSent: this.head.length + sent, bytesReceived: this.received }
  }
}

const noop = (): void => {}

const expects = (fields: Fields.Fields): boolean => Fields.tokens(fields, "expect").includes("100-continue")

/** Why no exchange follows a response that is not persistent. */
const peerEnds = (frame: Framing, parser: FieldParser): ConnectionEnd.PeerEnds => {
  if (Fields.tokens(parser.fields, "connection").includes("close")) {
    return { _tag: "PeerEnds", reason: "ConnectionClose" }
  }
  if (!frame.chunked && frame.length === undefined) return { _tag: "PeerEnds", reason: "CloseDelimited" }
  return { _tag: "PeerEnds", reason: parser.httpVersion === "1.0" ? "Http10" : "Ambiguous" }
}
