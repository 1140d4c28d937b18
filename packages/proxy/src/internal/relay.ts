import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type { HeadEdit } from "@sluice/core/ResponseHead"
import * as Timer from "@sluice/core/Timer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Headers from "effect/http/Headers"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Scope from "effect/Scope"
import { IncomingMessage, type ServerResponse } from "node:http"
import type { Incoming } from "../Incoming.ts"
import type { Relay, ResponseHead } from "../Proxy.ts"
import * as ProxyError from "../ProxyError.ts"
import type { BodyConsumer, BodyControl, ResponseBody, UpstreamResponse } from "../Transport.ts"
import { BodyReadable } from "./bodyReadable.ts"
import { isEventStream, untilDrained } from "./eventStream.ts"
import { patch } from "./prepare.ts"
import { bodyTimeout, type TotalClock } from "./totalClock.ts"
import { WriteClock } from "./writeClock.ts"

type Response = HttpServerResponse.HttpServerResponse

/** The clocks that go on once a response has a head. */
interface Limits {
  readonly total: TotalClock | undefined
  /** In milliseconds. */
  readonly writeIdle: number
}

/** A response as it goes to the client. */
interface Outgoing {
  readonly status: number
  /** `undefined` for the usual one. */
  readonly reason: string | undefined
  readonly fields: Fields.Fields
  readonly body: ResponseBody
  /** Whether the client waits for no body: a response to HEAD says a length all the same. */
  readonly bodiless: boolean
  readonly limits: Limits
  readonly exchange: Exchange.Exchange
  /** What the upstream announced of its trailers, when they are relayed. */
  readonly announced: string | undefined
}

/** Sends an upstream's response to the client: straight to its connection when nothing needs the value. */
export const relay = (
  { body, fields: received }: UpstreamResponse,
  head: ResponseHead,
  changes: Relay,
  incoming: Incoming,
  limits: Limits
): Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest | Scope.Scope> => {
  const status = changes.status ?? head.status
  const fields = patch(head.fields, changes)
  const outgoing: Outgoing = {
    status,
    reason: status === head.status ? head.reason : undefined,
    fields: hasNoLength(status) ? Fields.remove(fields, "content-length") : fields,
    body: isEventStream(status, fields, body) ? untilDrained(body, incoming.exchange) : body,
    bodiless: incoming.method === "HEAD" || hasNoLength(status) || status === 304,
    limits,
    exchange: incoming.exchange,
    announced: body.length === undefined && wantsTrailers(incoming.exchange)
      ? Fields.get(received, "trailer")
      : undefined
  }
  return Effect.flatMap(
    DirectResponse.take,
    (direct) => direct === undefined ? asValue(outgoing) : write(direct, outgoing)
  )
}

/** Fields behind a body are for clients that say they take them (RFC 9110, 10.1.4). */
const wantsTrailers = ({ httpVersion, requestFields }: Exchange.Exchange): boolean =>
  httpVersion !== "1.0" && Fields.tokens(requestFields, "te").includes("trailers")

const relayTrailers = (exchange: Exchange.Exchange, trailers: Fields.Fields): void => {
  if (trailers.length > 0 && wantsTrailers(exchange)) DirectResponse.sendTrailers(exchange, trailers)
}

/** RFC 9110, 8.6 and 15.3.6: there is no content, and nothing may promise any. */
const hasNoLength = (status: number): boolean => status === 204 || status === 205

const write = (direct: DirectResponse.DirectResponse, outgoing: Outgoing): Effect.Effect<Response> =>
  Effect.callback((resume) => {
    const writer = new Writer(direct, outgoing, () => resume(Effect.succeed(DirectResponse.receipt(outgoing.status))))
    writer.start()
    return Effect.sync(() => writer.cancel())
  })

/** A body of so many bytes goes out in one string with its head: to copy it costs less than to gather two pieces. */
const oneWrite = 4096

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1")

/** Moves a body to a Node response in the transport's own callbacks. */
class Writer implements BodyConsumer {
  private readonly direct: DirectResponse.DirectResponse
  private readonly node: ServerResponse
  private readonly outgoing: Outgoing
  private readonly done: () => void
  private remaining: number
  private headFlushed = false
  private control: BodyControl | undefined
  private cancelTimer: Timer.Cancel | undefined
  private readonly clock = Timer.currentClock()
  private writeClock: WriteClock | undefined

  constructor(direct: DirectResponse.DirectResponse, outgoing: Outgoing, done: () => void) {
    this.direct = direct
    this.node = direct.node
    this.outgoing = outgoing
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
      this.node.end(latin1(chunk), "latin1")
      release()
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
    relayTrailers(this.outgoing.exchange, trailers)
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
    this.node.off("drain", this.onDrain)
    this.control?.cancel()
    if (!this.node.writableEnded) this.node.destroy()
  }
}

/** An ordinary response, whose body streams: for stacks that read or replace it. */
const asValue = (
  outgoing: Outgoing
): Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest | Scope.Scope> =>
  Effect.gen(function*() {
    const headers = Fields.toHeaders(outgoing.fields)
    const { reason, status } = outgoing
    const options = { status, headers, ...(reason === undefined ? undefined : { statusText: reason }) }
    yield* Exchange.editHead(restore(outgoing.fields, headers))
    if (outgoing.bodiless || outgoing.body.length === 0) return HttpServerResponse.empty(options)
    const cutOff = yield* DirectResponse.noteCutOff
    const { announced, exchange, limits } = outgoing
    if (announced !== undefined) yield* Exchange.editHead(announce(announced))
    const request = yield* HttpServerRequest.HttpServerRequest
    const late = (cause: Cause.Cause<unknown>) => {
      cutOff(cause)
      readable.destroy(new Error("a clock ran out"))
    }
    const startWriteClock = writeClock(request, outgoing, late)
    const readable: BodyReadable = new BodyReadable(
      outgoing.body,
      (error) => cutOff(Cause.fail(error)),
      (trailers) => relayTrailers(exchange, trailers),
      startWriteClock
    )
    // Bytes cost much less on their way than a stream. Without a type, though, they would get one.
    if (outgoing.body.length !== undefined && headers["content-type"] !== undefined) {
      const bytes = readable.whole()
      if (bytes !== undefined) return HttpServerResponse.uint8Array(bytes, options)
    }
    // One that was replaced by another response has no reader to end it, and its clocks.
    yield* Effect.addFinalizer(() => Effect.sync(() => readable.destroy()))
    readable.once("close", bodyTimeout(limits.total, late)).once("close", startWriteClock)
    if (!(request.source instanceof IncomingMessage)) return fetched(readable, options, outgoing.body.length)
    flushHeadBefore(readable, request, exchange)
    return HttpServerResponse.raw(readable, options)
  })

/** What starts the write clock of a response's value, as soon as it has a head. */
const writeClock = (
  request: HttpServerRequest.HttpServerRequest,
  { exchange, limits: { writeIdle } }: Outgoing,
  late: (cause: Cause.Cause<unknown>) => void
): () => void => {
  if (writeIdle === Infinity || !(request.source instanceof IncomingMessage)) return noop
  const clock = Timer.currentClock()
  let writeClock: WriteClock | undefined
  let looking = false
  const start = () => {
    looking = false
    const node = nodeResponse(request)
    writeClock ??= new WriteClock(node, clock, writeIdle, () => {
      late(Cause.fail(new ProxyError.DownstreamWriteTimeout()))
      node.destroy()
    })
    if (node.writableNeedDrain || node.writableLength > 0) writeClock.start()
  }
  // By the next turn, what the stream has taken is written.
  const look = () => void setImmediate(start)
  return () => {
    if (looking) return
    looking = true
    Exchange.onHead(exchange, look)
  }
}

const noop = (): void => {}

const nodeResponse = (request: HttpServerRequest.HttpServerRequest): ServerResponse =>
  // Sound: an HTTP/1 request has an HTTP/1 response.
  NodeHttpServerRequest.toServerResponse(request) as ServerResponse

/** Whoever gave the body a length has taken its trailers away. */
const announce = (trailer: string): HeadEdit => (head) => {
  if (head.get("content-length") === undefined) head.append("Trailer", trailer)
}

/** A value holds one line a field, in lower case. What nobody changed since is written as it was received. */
const restore = (fields: Fields.Fields, headers: Headers.Headers): HeadEdit => (head) => {
  const unchanged = new Set(
    Object.keys(headers).filter((name) => name !== "set-cookie" && head.get(name) === headers[name])
  )
  for (const name of unchanged) head.remove(name)
  if (restoresCookies(head, headers["set-cookie"])) unchanged.add("set-cookie")
  for (let i = 0; i < fields.length; i += 2) {
    if (unchanged.has(fields[i].toLowerCase())) head.append(fields[i], fields[i + 1])
  }
}

/** Middleware may have added cookies to the upstream's, of which the value holds the last: it stands for them all. */
const restoresCookies = (head: Parameters<HeadEdit>[0], last: string | undefined): boolean => {
  if (last === undefined) return false
  const lines = head.getAll("set-cookie")
  const at = lines.lastIndexOf(last)
  if (at === -1) return false
  head.remove("set-cookie")
  for (const line of lines.toSpliced(at, 1)) head.append("Set-Cookie", line)
  return true
}

/** Through `fetch` a request's scope, and with it the upstream's connection, outlives the handler for a stream alone. */
const fetched = (
  readable: BodyReadable,
  options: HttpServerResponse.Options & { readonly headers: Headers.Headers },
  length: number | undefined
): Response =>
  HttpServerResponse.stream(NodeStream.fromReadable({ evaluate: () => readable }), {
    ...options,
    contentType: options.headers["content-type"],
    contentLength: length
  })

/** Node sends a value's head along with the first chunk, and that may be long in coming. */
const flushHeadBefore = (
  readable: BodyReadable,
  request: HttpServerRequest.HttpServerRequest,
  exchange: Exchange.Exchange
): void => {
  const flush = () => {
    const node = nodeResponse(request)
    if (!readable.started && !node.writableEnded && !node.destroyed) node.flushHeaders()
  }
  Exchange.onHead(exchange, () => setImmediate(flush))
}
