/**
 * One request and its response on one connection: a state machine that the connection drives and the fiber waits for. It
 * sends the request and reads the response head; before that it is the {@link Connecting} that has the turn, after it the
 * {@link ResponseBody}.
 */
import type * as Clock from "effect/Clock"
import * as ProxyError from "../../ProxyError.ts"
import type * as Transport from "../../Transport.ts"
import type { Lease } from "./bufferPool.ts"
import { type Client, Connecting } from "./connecting.ts"
import { closed, type Connection, type User } from "./connection.ts"
import { FieldParser, invalid, type Limits } from "./fieldParser.ts"
import { framing } from "./framing.ts"
import { idempotent } from "./idempotent.ts"
import { offers } from "./offers.ts"
import type { Pool } from "./pool.ts"
import * as RequestHead from "./requestHead.ts"
import { noFields, ResponseBody, type Source } from "./responseBody.ts"
import { type Sender, Sending } from "./sending.ts"
import { Watch } from "./watch.ts"

/** What one transport shares among its exchanges. */
export interface Shared {
  readonly pool: Pool
  readonly limits: Limits
}

type State = "connecting" | "head" | "body" | "tunnel" | "done"

type Consumer = Transport.ResponseConsumer<ProxyError.TransportError>

export class Exchange implements User, Client, Sender, Source, Transport.Started {
  private readonly shared: Shared
  private readonly endpoint: Transport.Endpoint
  private readonly request: Transport.OutgoingRequest
  private readonly clock: Clock.Clock
  private readonly watch: Watch
  private readonly parser: FieldParser
  private state: State = "connecting"
  /** Unset once it was told what became of the request. */
  private consumer: Consumer | undefined
  private connecting: Connecting | undefined
  private connection: Connection | undefined
  private body: ResponseBody | undefined

  private head = ""
  /** Of a request that has a body. */
  private sending: Sending | undefined
  /** Bytes of the response that were read. */
  private received = 0

  constructor(
    shared: Shared,
    endpoint: Transport.Endpoint,
    request: Transport.OutgoingRequest,
    clock: Clock.Clock,
    consumer: Consumer
  ) {
    this.shared = shared
    this.endpoint = endpoint
    this.request = request
    this.clock = clock
    this.consumer = consumer
    this.watch = new Watch(clock, request.clocks)
    this.parser = new FieldParser(shared.limits, true)
  }

  // -- Connecting -----------------------------------------------------------------------------------------------------

  start(): void {
    const head = RequestHead.write(this.endpoint, this.request)
    if (typeof head !== "string") return this.fail(head)
    this.head = head
    // Until it is read, its errors would be nobody's.
    const { body, upgrade } = this.request
    if (body._tag === "OneShot" && body.stream.listenerCount("error", noop) === 0) body.stream.on("error", noop)
    const idle = upgrade === undefined ? this.shared.pool.take(this.endpoint, this) : undefined
    if (idle === undefined) this.connect().start()
    else this.onConnected(idle)
  }

  private connect(): Connecting {
    this.state = "connecting"
    const { endpoint, request, shared: { pool }, watch } = this
    this.connecting = new Connecting({ pool, endpoint, watch, plain: request.upgrade !== undefined, client: this })
    return this.connecting
  }

  onConnected(connection: Connection): void {
    this.connecting = undefined
    this.connection = connection
    connection.user = this
    this.send(connection)
  }

  onUnconnected(error: ProxyError.TransportError): void {
    this.connecting = undefined
    this.fail(error)
  }

  // -- Sending --------------------------------------------------------------------------------------------------------

  private send(connection: Connection): void {
    this.state = "head"
    const { clock, request: { body, clocks, expectContinue = false }, watch } = this
    if (body._tag === "Empty") {
      connection.sendHead(this.head)
      return this.onAnswerDue()
    }
    this.sending = new Sending({ body, connection, clock, clocks, watch, sender: this })
    this.sending.start(this.head, expectContinue)
  }

  onAnswerDue(): void {
    if (this.state !== "head") return
    this.watch.start("responseHead", () => this.fail(new ProxyError.UpstreamHeadersTimeout(this.evidence())))
  }

  onSendTimeout(): void {
    this.fail(new ProxyError.UpstreamSendTimeout(this.evidence()))
  }

  onUploadFailed(error: ProxyError.TransportError): void {
    if (this.state === "head") this.fail(error)
    else if (this.state === "body") this.body?.fail(this.body.truncated("Request", error))
  }

  onDrain(): void {
    this.sending?.onDrain()
  }

  // -- The response head ----------------------------------------------------------------------------------------------

  onData(view: Buffer, lease: Lease | undefined): void {
    this.received += view.length
    if (this.body !== undefined) this.body.onData(view, lease)
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
    if (status === 100) this.sending?.onContinue()
    else this.request.onInformational?.(status, fields)
  }

  private finalHead(view: Buffer, at: number, lease: Lease | undefined): void {
    const { fields, httpVersion, reason, status } = this.parser
    const frame = framing(this.request.method, status, httpVersion, fields)
    if (typeof frame === "string") return this.refuse(frame)
    const connection = this.connection
    if (connection === undefined) return
    this.watch.stop()
    this.sending?.onAnswer()
    this.state = "body"
    const body = new ResponseBody({
      connection,
      framing: frame,
      limits: this.shared.limits,
      watch: this.watch,
      source: this
    })
    this.body = body
    body.start(view, at, lease)
    this.respond({ status, reason, httpVersion, fields, body })
    body.afterHead()
  }

  private switchProtocols(view: Buffer, at: number): void {
    const { fields, httpVersion, reason, status } = this.parser
    if (this.request.upgrade === undefined) return this.refuse("UnsolicitedSwitch")
    const frame = framing(this.request.method, status, httpVersion, fields)
    if (typeof frame === "string") return this.refuse(frame)
    if (!offers(this.request.upgrade, frame.upgrade)) return this.refuse("ProtocolSwitch")
    this.watch.stop()
    this.sending?.stop()
    this.state = "tunnel"
    const tunnel = this.connection?.handOver(view.subarray(at))
    if (tunnel === undefined) return
    this.respond({ status, reason, httpVersion, fields, body: noBody(this), tunnel })
  }

  private refuse(reason: ProxyError.InvalidResponse): void {
    this.fail(new ProxyError.UpstreamResponseInvalid({ reason, ...this.evidence() }))
  }

  // -- Ends -----------------------------------------------------------------------------------------------------------

  onEnd(): void {
    this.endOfConnection(undefined)
  }

  onClosed(error: Error | undefined): void {
    this.endOfConnection(error ?? closed)
  }

  private endOfConnection(error: Error | undefined): void {
    if (this.state === "head") this.endBeforeHead(error)
    else this.body?.onGone(error)
  }

  private endBeforeHead(error: Error | undefined): void {
    if (this.received > 0) return this.refuse("Incomplete")
    const sending = this.sending?.state === "flowing"
    const reused = this.connection?.reused === true
    if (reused && this.mayResend(error)) return this.resend()
    const evidence = { ...this.evidence(), reused }
    this.fail(ProxyError.fromNodeError(error ?? closed, sending && error !== undefined ? "write" : "read", evidence))
  }

  /** RFC 9112, 9.3.1: a client's or proxy's own retry is for idempotent requests, or for those of which nothing left. */
  private mayResend(error: Error | undefined): boolean {
    if (this.connection?.unsent !== undefined) return true
    if (this.sending?.used === true) return false
    return idempotent.has(this.request.method) || this.sentNothing(error)
  }

  /** The first write of all was refused by the system, and it was too small to have been taken in part. */
  private sentNothing(error: Error | undefined): boolean {
    const body = this.request.body
    const size = this.head.length + (body._tag === "Replayable" ? body.bytes.length : 0)
    return error !== undefined && "syscall" in error && error.syscall === "write" && size <= smallWrite
  }

  private resend(): void {
    const dead = this.connection
    if (dead === undefined) return
    this.stopSending()
    this.sending = undefined
    this.connection = undefined
    this.connect().startOver(dead)
  }

  /** There will be no response. */
  private fail(error: ProxyError.TransportError): void {
    const { connection, consumer } = this
    this.consumer = undefined
    this.finish()
    connection?.destroy()
    consumer?.onFailure(error)
  }

  onBodyEnd(clean: boolean, keepAlive: number | undefined): void {
    const connection = this.connection
    const whole = this.sending === undefined || this.sending.state === "sent"
    this.finish()
    if (connection === undefined) return
    if (clean && whole) this.shared.pool.release(connection, keepAlive)
    else connection.destroy()
  }

  onBodyFailed(): void {
    const connection = this.connection
    this.finish()
    connection?.destroy()
  }

  abort(): void {
    if (this.state === "done") return
    const connection = this.connection
    this.connecting?.abort()
    this.body?.abandon()
    this.consumer = undefined
    this.finish()
    connection?.destroy()
  }

  private finish(): void {
    this.state = "done"
    this.stopSending()
    this.connection = undefined
  }

  private stopSending(): void {
    this.watch.stop()
    this.sending?.stop()
  }

  private respond(response: Transport.UpstreamResponse): void {
    const { consumer } = this
    this.consumer = undefined
    consumer?.onResponse(response)
  }

  evidence(): ProxyError.Evidence {
    const { hostname, port, protocol } = this.endpoint
    const sent = this.state === "connecting" ? 0 : this.head.length + (this.sending?.bytes ?? 0)
    return { upstream: `${protocol}//${hostname}:${port}`, bytesSent: sent, bytesReceived: this.received }
  }
}

/** In bytes. The send buffer of an idle connection takes that much or nothing. */
const smallWrite = 16_384

const noop = (): void => {}

/** What a switched connection has instead of a body. */
const noBody = (exchange: Exchange): Transport.ResponseBody => ({
  length: 0,
  consume: (consumer) => {
    consumer.onEnd(noFields)
    return { resume: noop, cancel: () => exchange.abort() }
  }
})
