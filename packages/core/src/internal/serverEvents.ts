import * as Cause from "effect/Cause"
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"
import * as Cancellation from "../Cancellation.ts"
import type { Outcome } from "../Exchange.ts"
import * as Fields from "../Fields.ts"
import type { ActiveExchanges } from "./activeExchanges.ts"
import { exchangeKey } from "./exchangeKey.ts"
import { ExchangeState, type Observer } from "./exchangeState.ts"
import { isLingering, linger, lingeringClose } from "./lingeringClose.ts"
import { arrivalOf, type MessageOptions, type SluiceRequest, type SluiceResponse } from "./nodeMessages.ts"
import { type ParserError, rawAnswer, rejectionOf } from "./rawAnswer.ts"
import { checkRequest, type Limits, type Rejection } from "./requestChecks.ts"
import { upgradeHeadKey } from "./upgradeHead.ts"
import type { WaitingConnections } from "./waitingConnections.ts"

/** What stands between Node's events and the app: checks, answers to what can't be handled, and exchanges. */
export class ServerEvents {
  private readonly upgraded = new Set<Duplex>()
  private readonly limits: Limits
  private readonly active: ActiveExchanges
  private readonly timing: MessageOptions
  private readonly observers: ReadonlyArray<Observer>
  private readonly waiting: WaitingConnections

  constructor(
    limits: Limits,
    active: ActiveExchanges,
    timing: MessageOptions,
    observers: ReadonlyArray<Observer>,
    waiting: WaitingConnections
  ) {
    this.limits = limits
    this.active = active
    this.timing = timing
    this.observers = observers
    this.waiting = waiting
  }

  connect(server: Server, handler: (request: IncomingMessage, response: ServerResponse) => void): void {
    const answer = (request: SluiceRequest, response: SluiceResponse, rejection: Rejection | undefined) => {
      if (refused.has(request.socket)) return
      this.active.add(response.exchange)
      if (response.socket === null) closeWith(request.socket, response)
      if (this.timing.closing() || isLast(response)) response.shouldKeepAlive = false
      if (request.ignoresUpgrade) {
        // Node's parser has dropped what came in one packet behind the request.
        refused.add(request.socket)
        response.shouldKeepAlive = false
      }
      if (rejection !== undefined) {
        refused.add(request.socket)
        // Of a version that it does not know Node takes `Connection: keep-alive` by its word.
        response.shouldKeepAlive = false
        this.observe(response.exchange, rejection)
        response.exchange.rejectedWith = rejection.status
      }
      handler(request, response)
    }
    const onRequest = (request: SluiceRequest, response: SluiceResponse) =>
      answer(request, response, checkRequest(request, this.limits))
    // Sound: the server makes its messages of these classes.
    const on = (event: string, listener: (request: SluiceRequest, response: SluiceResponse) => void) =>
      server.on(event, listener as RequestListener)
    on("request", onRequest)
    on("checkContinue", (request, response) => {
      request.continueWith = response
      onRequest(request, response)
    })
    on(
      "checkExpectation",
      (request, response) => answer(request, response, { status: 417, reason: "unknown expectation" })
    )
    server.on(
      "connect",
      (request: SluiceRequest, socket: Duplex) => {
        adopt(socket as Socket)
        if (!refused.has(request.socket)) {
          this.rejectInTurn(socket as Socket, { status: 501, reason: "CONNECT" }, request)
        }
      }
    )
    server.on("clientError", (error: ParserError, socket: Duplex) => this.malformed(error, socket as Socket))
  }

  private observe(exchange: ExchangeState, rejection: Rejection): void {
    exchange.decide(outcomeOf(rejection))
    for (const observer of this.observers) exchange.addObserver(observer)
  }

  private malformed(error: ParserError, socket: Socket): void {
    if (isLingering(socket)) return
    if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy()
    const current = currentResponse(socket)
    if (current?.req.complete === true) return this.malformedBehind(current, error, socket)
    const rejection = rejectionOf(error, this.limits.targetLength)
    if (current === undefined) return refused.has(socket) ? undefined : this.rejectSocket(socket, rejection)
    if (current.headersSent) return void socket.destroy()
    this.rejectBody(current, socket, rejection, error)
  }

  /** What came behind a request that is being answered is answered in its turn. */
  private malformedBehind(current: SluiceResponse, error: ParserError, socket: Socket): void {
    if (behind.has(socket)) return
    behind.add(socket)
    current.once("finish", () => {
      behind.delete(socket)
      if (socket.writable) this.malformed(error, socket)
    })
  }

  private rejectInTurn(socket: Socket, rejection: Rejection, request?: SluiceRequest): void {
    inTurn(socket, () => this.rejectSocket(socket, rejection, request))
  }

  /** The body of the request that is being handled is malformed, late or cut short: its handler can't go on. */
  private rejectBody(current: SluiceResponse, socket: Socket, rejection: Rejection, error: ParserError): void {
    const { exchange } = current
    const { fiber } = exchange
    if (error.code === "HPE_INVALID_EOF_STATE") exchange.decide({ _tag: "ClientAborted", phase: "handler" })
    else {
      exchange.noteCause(Cause.fail(error))
      exchange.decide(outcomeOf(rejection))
    }
    // Whatever its handler still writes has nowhere to go.
    current.detachSocket(socket)
    this.answerRaw(exchange, socket, rejection)
    close(current)
    if (fiber !== undefined) Cancellation.interrupt(fiber, Cancellation.clientAborted)
  }

  private rejectSocket(socket: Socket, rejection: Rejection, request?: SluiceRequest): void {
    const exchange = new ExchangeState(
      request === undefined
        ? {
          method: "",
          target: "",
          httpVersion: "1.1",
          secure: "encrypted" in socket,
          peerAddress: socket.remoteAddress,
          requestFields: [],
          now: this.timing.now,
          wallNow: this.timing.wallNow
        }
        : arrivalOf(request, this.timing)
    )
    this.active.add(exchange)
    this.observe(exchange, rejection)
    this.answerRaw(exchange, socket, rejection)
  }

  private answerRaw(exchange: ExchangeState, socket: Socket, { status }: Rejection): void {
    // After a clock has struck, Node's parser goes on.
    refused.add(socket)
    const { body, head } = rawAnswer(status)
    exchange.headWritten(status, () => [])
    exchange.bytesOut = body.length
    lingeringClose(socket, head + body)
    exchange.end(true)
  }

  /** Node gives the connection away at once, also when responses are still to be written on it. */
  upgrade(request: SluiceRequest, socket: Socket, head: Buffer, handle: () => void): void {
    const forget = laterListeners(socket)
    adopt(socket)
    if (refused.has(socket)) return
    const rejection = checkRequest(request, this.limits)
    if (rejection !== undefined) return this.rejectInTurn(socket, rejection, request)
    inTurn(socket, () => {
      if (!socket.writable) return
      this.beginUpgrade(request, socket, head, forget)
      handle()
    })
  }

  /** The exchange of an upgrade request, whose response goes to the socket without Node's response class. */
  private beginUpgrade(request: SluiceRequest, socket: Socket, head: Buffer, forget: () => void): void {
    const exchange = new ExchangeState(arrivalOf(request, this.timing))
    request[exchangeKey] = exchange
    request[upgradeHeadKey] = head
    exchange.carrier = socket
    exchange.refuseUpgrade = (response) => this.serveOn(request, response, head, forget)
    this.active.add(exchange)
    this.upgraded.add(socket)
    const countTunnel = watchStatusLine(socket, exchange)
    socket.once("close", () => {
      this.upgraded.delete(socket)
      countTunnel()
      exchange.end(socket.writableFinished)
    })
    // Until it has switched it is HTTP, and a client that ends its side has left, as in Node's own handling.
    const onEnd = () => void (exchange.status === 101 || socket.destroy())
    if (socket.readableEnded) onEnd()
    else socket.once("end", onEnd)
  }

  /** Node has taken its parser off the connection: that comes back after the response. */
  private serveOn(request: SluiceRequest, response: ServerResponse, head: Buffer, forget: () => void): void {
    const { socket } = request
    response.shouldKeepAlive = this.isReusable(request)
    // Effect's adapter would end the connection after the response.
    response.removeAllListeners("finish")
    response.once("finish", () => {
      response.detachSocket(socket)
      process.nextTick(close, response)
      if (isFinal(response) || this.timing.closing()) {
        socket.end()
        return linger(socket)
      }
      forget()
      this.upgraded.delete(socket)
      if (!socket.destroyed) this.waiting.add(socket, head)
    })
  }

  /** Node counts requests by parser, so a limit for them would begin anew with each. */
  private isReusable(request: SluiceRequest): boolean {
    return !this.timing.closing() && this.limits.requestsPerConnection === 0 &&
      !Fields.tokens(request.rawHeaders, "connection").includes("close")
  }

  destroyUpgrades(): void {
    for (const socket of this.upgraded) socket.destroy()
  }
}

/**
 * Connections that close after a refusal, or because something was lost: what was pipelined behind it is not executed
 * (RFC 9112, 9.3.2 and 11.2).
 */
const refused = new WeakSet<Socket>()

/** At `requestsPerConnection` Node says `Connection: close` by itself, and then waits for the client to close. */
const isLast = (response: SluiceResponse): boolean =>
  (response as unknown as { readonly maxRequestsOnConnectionReached: boolean }).maxRequestsOnConnectionReached

/** Every response before it goes first: those that wait take the socket as the one before them finishes. */
const inTurn = (socket: Socket, answer: () => void): void => {
  const current = currentResponse(socket)
  if (current === undefined) return answer()
  current.once("finish", () => inTurn(socket, answer))
}

/** By connection, the responses that nobody else closes when it is lost, and who does. */
const orphans = new WeakMap<Socket, { readonly responses: Set<SluiceResponse>; readonly onClose: () => void }>()

/**
 * Node closes the response that has the connection when that is lost; those that wait for their turn would wait for ever. There
 * may be hundreds of them, so the connection has one listener for all.
 */
const closeWith = (socket: Socket, response: SluiceResponse): void => {
  const known = orphans.get(socket)
  // A connection that comes back from a refused upgrade has lost it.
  if (known !== undefined && socket.listeners("close").includes(known.onClose)) {
    known.responses.add(response)
    response.closedWith = known.responses
    return
  }
  const responses = new Set([response])
  const onClose = () => {
    for (const response of responses) close(response)
  }
  response.closedWith = responses
  orphans.set(socket, { responses, onClose })
  socket.once("close", onClose)
}

/** Whether the connection is to close after this response: Node's own word, once the head is written. */
const isFinal = (response: ServerResponse): boolean => (response as unknown as { readonly _last: boolean })._last

/** Returns what takes off a connection the listeners that it got from now on. */
const laterListeners = (socket: Duplex): () => void => {
  const events = ["close", "drain", "end", "error"].map((event) => ({
    event,
    before: new Set(socket.rawListeners(event))
  }))
  return () => {
    for (const { before, event } of events) {
      // Sound: they are listeners of that event.
      const all = socket.rawListeners(event) as Array<(...args: ReadonlyArray<unknown>) => void>
      for (const listener of all) if (!before.has(listener)) socket.off(event, listener)
    }
  }
}

/**
 * With CONNECT and Upgrade Node lets go of a socket: its errors would be nobody's and end the process, its end would not be
 * that of the response that has it, and that would wait for ever for the socket to take more.
 */
const adopt = (socket: Socket): void => {
  socket.on("error", () => {})
  socket.on("drain", () => {
    const current = currentResponse(socket)
    if (current?.writableNeedDrain === true) current.emit("drain")
  })
  const current = currentResponse(socket)
  if (current !== undefined) closeWith(socket, current)
}

/** Ends a response that will never get a connection: whoever writes it is told. */
const close = (response: ServerResponse): void => {
  if (response.closed) return
  response.destroy()
  response.emit("close")
}

const outcomeOf = (rejection: Rejection): Outcome =>
  rejection.status === 408 ? { _tag: "TimedOut", clock: "request" } : { _tag: "Rejected", reason: rejection.reason }

/** Connections with something malformed behind the response that is being written. */
const behind = new WeakSet<Socket>()

/** Node's own link from a socket to the response that it is carrying. */
const currentResponse = (socket: Socket): SluiceResponse | undefined =>
  (socket as unknown as { readonly _httpMessage?: SluiceResponse | null })._httpMessage ?? undefined

/**
 * Reads the status off the first bytes that are written, whoever writes them. Returns what counts the bytes of a tunnel once
 * it is closed: those after the 101.
 */
const watchStatusLine = (stream: Duplex, exchange: ExchangeState): () => void => {
  // Sound: a server's connections are sockets.
  const socket = stream as Socket
  const readBefore = socket.bytesRead
  let writtenBefore = 0
  const write = socket.write
  socket.write = ((chunk: string | Uint8Array, ...rest: [never, never]) => {
    socket.write = write
    const line = typeof chunk === "string" ? chunk.slice(0, 12) : Buffer.from(chunk.subarray(0, 12)).toString("latin1")
    const status = /^HTTP\/1\.[01] (\d{3})$/.exec(line)?.[1]
    if (status !== undefined && !exchange.committed) exchange.headWritten(Number(status), () => [])
    writtenBefore = socket.bytesWritten + chunk.length
    return write.call(socket, chunk, ...rest)
  }) as Socket["write"]
  return () => {
    if (exchange.status !== 101) return
    exchange.bytesIn = socket.bytesRead - readBefore
    exchange.bytesOut = socket.bytesWritten - writtenBefore
  }
}
