import { IncomingMessage, type ServerResponse } from "node:http"
import type { Socket } from "node:net"
import type { RequestBody, Watcher } from "../RequestBody.ts"
import type { ExchangeState } from "./exchangeState.ts"

/**
 * Stands where a request's bytes enter the process, on the message itself: whoever reads it (Effect's accessors, a proxy, an
 * Express app) reads through it, and nothing is copied.
 */
export class BodyGate implements RequestBody {
  readonly declared: number | undefined
  bytes: number
  failure: Error | undefined = undefined
  wanted = false
  ended = false
  private admitted = false
  private readonly watchers: Array<Watcher> = []
  /** Makes the source fail. */
  private readonly breakOff: (error: Error) => void

  constructor(exchange: ExchangeState, source: object, declared: number | undefined) {
    this.declared = declared
    // What came before there was a gate waits in the message's buffer.
    this.bytes = source instanceof IncomingMessage ? source.readableLength : 0
    this.breakOff = source instanceof IncomingMessage ? gateNode(this, source, exchange) : gateWeb(this, source)
  }

  watch(watcher: Watcher): void {
    this.watchers.push(watcher)
    if (this.admitted && this.bytes > 0) watcher.onBytes?.(this.bytes)
  }

  admit(): Error | undefined {
    for (const watcher of this.watchers) {
      if (this.failure !== undefined) break
      const refusal = watcher.admit?.(this.declared)
      if (refusal !== undefined) this.fail(refusal)
    }
    if (!this.admitted) {
      this.admitted = true
      if (this.failure === undefined && this.bytes > 0) this.size(this.bytes)
    }
    return this.failure
  }

  size(bytes: number): void {
    for (const watcher of this.watchers) watcher.onBytes?.(bytes)
  }

  fail(error: Error): void {
    if (this.failure !== undefined) return
    this.failure = error
    this.end()
    this.breakOff(error)
  }

  /** Somebody waits for bytes. Returns whether there may be any. */
  wait(): boolean {
    if (!this.wanted) {
      this.admit()
      this.wanted = true
    }
    if (this.failure !== undefined) return false
    if (!this.ended) { for (const watcher of this.watchers) watcher.onWait?.(true) }
    return true
  }

  /** Nobody waits until `wait` is called again. */
  pause(): void {
    if (!this.ended) { for (const watcher of this.watchers) watcher.onWait?.(false) }
  }

  /** Bytes came. Returns whether they may be passed on. */
  take(length: number): boolean {
    this.bytes += length
    if (this.admitted && this.failure === undefined) this.size(this.bytes)
    return this.failure === undefined
  }

  /** No more bytes will come. */
  end(): void {
    if (this.ended) return
    this.ended = true
    for (const watcher of this.watchers) watcher.onEnd?.()
  }
}

/**
 * Node's `_destroy` closes the connection of a message that has not come whole. One that we broke off is still to be answered:
 * its connection is closed after that.
 */
const gateNode = (gate: BodyGate, source: IncomingMessage, exchange: ExchangeState): (error: Error) => void => {
  const { _destroy, _read, push, read } = source
  if (source.complete) gate.ended = true
  // `_read` is not called for a body that is in the buffer as a whole before anybody reads it.
  source.read = (size) => gate.admit() === undefined ? read.call(source, size) : null
  source._read = (size) => {
    if (gate.wait()) _read.call(source, size)
  }
  source.push = (chunk: Buffer | null, encoding?: BufferEncoding) => {
    if (chunk === null) gate.end()
    else if (!gate.take(chunk.length)) return false
    const more = push.call(source, chunk, encoding)
    if (!more) gate.pause()
    return more
  }
  source._destroy = (error, callback) => {
    gate.end()
    if (gate.failure === undefined) return _destroy.call(source, error, callback)
    callback(source.listenerCount("error") > 0 ? error : null)
  }
  return (error) => {
    if (!source.complete) closeAfterResponse(source, exchange)
    if (!source.readableEnded) source.destroy(error)
  }
}

/** Node's own flags: what its `finish` listener does with the rest of the body and with the connection. */
interface Internals {
  _consuming: boolean
  _last: boolean
}

const closeAfterResponse = (source: IncomingMessage, exchange: ExchangeState): void => {
  if (exchange.outcome !== undefined) return endSocket(source.socket)
  // The answer to a request for an upgrade closes its connection by itself.
  if (!exchange.wire) return
  // Sound: `wire` says that the carrier is one of Node's responses.
  const response = exchange.carrier as ServerResponse & Internals
  if (response.writableFinished) return endSocket(source.socket)
  response.shouldKeepAlive = false
  response.prependOnceListener("finish", () => {
    // Node would read the rest, or destroy the connection at once: with unread input that is a reset, and loses the response.
    ;(source as unknown as Internals)._consuming = true
    response._last = false
    endSocket(source.socket)
  })
}

/** How long a client may take to read its answer before its connection is destroyed. */
const grace = 500

const endSocket = (socket: Socket): void => {
  if (socket.destroyed) return
  socket.end()
  const timer = setTimeout(() => socket.destroy(), grace)
  socket.once("close", () => clearTimeout(timer))
}

/** A `fetch` request's accessors all read its `body`, so each gets one that reads ours. */
const gateWeb = (gate: BodyGate, source: object): (error: Error) => void => {
  const { body } = source as { readonly body?: ReadableStream<Uint8Array> | null }
  if (body === null || body === undefined) return () => {}
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  const gated = new ReadableStream<Uint8Array>({
    start: (own) => {
      controller = own
    },
    pull: async (own) => {
      if (!gate.wait()) return
      reader ??= body.getReader()
      const { done, value } = await reader.read()
      if (gate.failure !== undefined) return
      if (done) {
        gate.end()
        return own.close()
      }
      if (gate.take(value.length)) own.enqueue(value)
      gate.pause()
    },
    cancel: (reason) => {
      gate.end()
      return reader?.cancel(reason) ?? body.cancel(reason)
    }
  }, { highWaterMark: 0 })
  // `formData` and `blob` need the type of the content.
  const reading = () => new Response(gated, { headers: (source as Request).headers })
  const read = (name: "arrayBuffer" | "blob" | "formData" | "json" | "text") => ({ value: () => reading()[name]() })
  Object.defineProperties(source, {
    body: { value: gated },
    arrayBuffer: read("arrayBuffer"),
    blob: read("blob"),
    bytes: { value: async () => new Uint8Array(await reading().arrayBuffer()) },
    formData: read("formData"),
    json: read("json"),
    text: read("text")
  })
  const cancel = async (error: Error) => {
    try {
      await (reader?.cancel(error) ?? body.cancel(error))
    } catch {
      // It had failed by itself.
    }
  }
  return (error) => {
    controller?.error(error)
    void cancel(error)
  }
}
