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
import * as ProxyError from "../ProxyError.ts"
import { BodyReadable } from "./bodyReadable.ts"
import { type Outgoing, relayTrailers } from "./outgoing.ts"
import { bodyTimeout } from "./totalClock.ts"
import { WriteClock } from "./writeClock.ts"

type Response = HttpServerResponse.HttpServerResponse

/** An ordinary response, whose body streams: for stacks that read or replace it. */
export const asValue = (
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
