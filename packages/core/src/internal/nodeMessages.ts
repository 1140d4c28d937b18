import { IncomingMessage, ServerResponse } from "node:http"
import { Socket } from "node:net"
import { exchangeKey } from "./exchangeKey.ts"
import { type Arrival, ExchangeState } from "./exchangeState.ts"
import { countBytes, onlyPiece, type Overloaded, writeHead, type WriteHeadArgs } from "./nodeResponse.ts"
import { upgradeHeadKey } from "./upgradeHead.ts"

/** The server's time. */
export interface Timing {
  readonly now: () => number
  readonly wallNow: () => number
}

/** What a server tells its messages. */
export interface MessageOptions extends Timing {
  /** Whether connections are to be closed after their response. */
  readonly closing: () => boolean
}

export const arrivalOf = (request: IncomingMessage, timing: Timing): Arrival => ({
  method: request.method ?? "",
  target: request.url ?? "",
  httpVersion: request.httpVersion,
  secure: "encrypted" in request.socket,
  peerAddress: request.socket.remoteAddress,
  requestFields: request.rawHeaders,
  now: timing.now,
  wallNow: timing.wallNow
})

/** A request that counts its body, and asks for it only when somebody reads. */
export class SluiceRequest extends IncomingMessage {
  [exchangeKey]: ExchangeState | undefined = undefined
  /** Sends `100 Continue` once the body is wanted; unset when the client doesn't wait for it. */
  continueWith: ServerResponse | undefined = undefined;
  [upgradeHeadKey]: Buffer | undefined = undefined
  private asksToSwitch = false

  /**
   * Node's word on whether the connection is to be handed over. Not so with a body, whose bytes would be taken for the other
   * protocol's, nor in HTTP/1.0 (RFC 9110, 7.8): these are ordinary requests.
   */
  get upgrade(): boolean {
    return this.asksToSwitch && (this.method === "CONNECT" || (this.httpVersionMinor > 0 && !hasBody(this)))
  }
  set upgrade(asked: boolean | null) {
    this.asksToSwitch = asked === true
  }
  get ignoresUpgrade(): boolean {
    return this.asksToSwitch && !this.upgrade
  }

  override _read(size: number): void {
    const response = this.continueWith
    if (response !== undefined) {
      this.continueWith = undefined
      if (!response.headersSent) response.writeContinue()
    }
    super._read(size)
  }

  override push(chunk: Buffer | null, encoding?: BufferEncoding): boolean {
    if (chunk !== null) {
      const exchange = this[exchangeKey]
      if (exchange !== undefined) exchange.bytesIn += chunk.length
    }
    return super.push(chunk, encoding)
  }
}

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0

/** Node's own constructor takes options which its types don't declare. */
const NodeResponse = ServerResponse as unknown as new(request: SluiceRequest, options: unknown) => ServerResponse<
  SluiceRequest
>

/**
 * A response with an exchange. Subclassing costs no closure a request, and sees every byte and head whoever writes it.
 */
export class SluiceResponse extends NodeResponse {
  readonly exchange: ExchangeState
  /** The responses that are closed with this one's connection, when it is one of them. */
  closedWith: Set<SluiceResponse> | undefined = undefined

  constructor(request: SluiceRequest, options: unknown, timing: MessageOptions) {
    super(request, options)
    this.exchange = request[exchangeKey] ??= new ExchangeState(arrivalOf(request, timing))
    this.exchange.carrier = this
    this.exchange.wire = true
    this.on("close", endExchange)
  }

  override writeHead(...args: WriteHeadArgs): this {
    // The client may or may not send the body that nobody asked for: the connection can't be used again.
    if (this.req.continueWith !== undefined) this.shouldKeepAlive = false
    writeHead(this, this.exchange, super.writeHead as Overloaded, args)
    return this
  }

  // `unknown`: Node's overloads differ only in which arguments are left out, and all are passed on as they came.
  override write(chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
    const taken = (super.write as Overloaded).call(this, chunk, encoding, callback) as boolean
    countBytes(this, this.exchange, chunk, encoding)
    return taken
  }

  override end(chunk?: unknown, encoding?: unknown, callback?: unknown): this {
    const only = encoding === undefined ? onlyPiece(this, chunk) : undefined
    if (only === undefined) {
      ;(super.end as Overloaded).call(this, chunk, encoding, callback)
      countBytes(this, this.exchange, chunk, encoding)
      return this
    }
    // Its length is the declared one, and where Node is to see to that it sends an empty piece behind it.
    this.strictContentLength = false
    ;(super.end as Overloaded).call(this, only, "latin1", callback)
    this.exchange.bytesOut += only.length
    return this
  }

  /** Where only the end of the connection ends the body, an orderly end would make a part of it look whole. */
  override destroy(error?: Error): this {
    const { socket } = this
    if (this.headersSent && !this.writableEnded && this.req.httpVersionMinor === 0 && socket instanceof Socket) {
      socket.resetAndDestroy()
    }
    return super.destroy(error)
  }
}

function endExchange(this: SluiceResponse): void {
  this.closedWith?.delete(this)
  this.exchange.end(this.writableFinished)
}

/** The message classes of one server. */
export const messageClasses = (timing: MessageOptions): {
  readonly IncomingMessage: typeof SluiceRequest
  readonly ServerResponse: new(request: SluiceRequest, options: unknown) => SluiceResponse
} => ({
  IncomingMessage: SluiceRequest,
  ServerResponse: class extends SluiceResponse {
    constructor(request: SluiceRequest, options: unknown) {
      super(request, options, timing)
    }
  }
})
