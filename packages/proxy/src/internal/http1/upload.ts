/**
 * Sends a request body that flows through once: with backpressure, and exactly as long as was promised.
 */
import { IncomingMessage } from "node:http"
import { Socket } from "node:net"
import type { Duplex } from "node:stream"
import type * as Body from "../../Body.ts"
import * as ProxyError from "../../ProxyError.ts"
import { closedEarly, toBodyError } from "../bodyError.ts"
import { isWatcher } from "../chunkWatchers.ts"
import { trailerSection } from "./requestHead.ts"

/** Told how an upload ends, at most one of the two. */
export interface Listener {
  onUploaded(): void
  onUploadFailed(error: ProxyError.TransportError): void
}

export class Upload {
  /** Whether the body was taken in full. */
  done = false
  /** Whether any of it was taken: it can't be sent again then. */
  started = false
  /** Whether it is the upstream that is waited for. */
  blocked = false
  /** Bytes of body that were taken. */
  bytes = 0
  /** When something was last written, in milliseconds of `now`. */
  progress: number

  private readonly body: Body.OneShot
  private readonly target: Duplex
  private readonly listener: Listener
  private readonly now: () => number
  private stopped = false
  /** Whether nobody else gets the chunks. */
  private sole = false
  /** Chunks on their way, the oldest first; `undefined` for those whose memory stays. */
  private readonly written: Array<Uint8Array | undefined> = []

  constructor(body: Body.OneShot, target: Duplex, listener: Listener, now: () => number) {
    this.body = body
    this.target = target
    this.listener = listener
    this.now = now
    this.progress = now()
  }

  /** Whether the body is out; the end of one whose length is known may still be to come. */
  get whole(): boolean {
    return this.done || this.bytes === this.body.contentLength
  }

  start(): void {
    const stream = this.body.stream
    stream.on("error", this.onError)
    if (stream.readableEnded) return this.onEnd()
    if (stream.errored !== null) return this.onError(stream.errored)
    if (stream.destroyed) return this.onClose()
    this.sole = this.target instanceof Socket && isUnheard(stream)
    stream.on("end", this.onEnd)
    stream.on("close", this.onClose)
    stream.on("data", this.onChunk)
    if (this.sole) stream.on("newListener", this.onListener)
    stream.resume()
  }

  /** Takes nothing more. An error of the stream is still heard, by nobody: it must not bring the process down. */
  stop(): void {
    if (this.stopped) return
    this.stopped = true
    const stream = this.body.stream
    stream.off("end", this.onEnd)
    stream.off("close", this.onClose)
    stream.off("data", this.onChunk)
    stream.off("newListener", this.onListener)
    if (!this.done) stream.pause()
  }

  onDrain(): void {
    if (!this.blocked) return
    this.blocked = false
    this.progress = this.now()
    if (!this.stopped) this.body.stream.resume()
  }

  private readonly onChunk = (chunk: Uint8Array | string): void => {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk
    if (bytes.length === 0) return
    this.started = true
    this.bytes += bytes.length
    this.progress = this.now()
    const expected = this.body.contentLength
    if (expected !== undefined && this.bytes > expected) return this.mismatch(expected)
    if (this.write(bytes)) return
    this.blocked = true
    this.body.stream.pause()
  }

  private write(bytes: Uint8Array): boolean {
    const socket = this.target
    this.written.push(this.sole && isWhole(bytes) ? bytes : undefined)
    if (this.body.contentLength !== undefined) return socket.write(bytes, this.onWritten)
    socket.cork()
    socket.write(`${bytes.length.toString(16)}\r\n`, "latin1")
    socket.write(bytes, this.onWritten)
    const flowing = socket.write("\r\n", "latin1")
    socket.uncork()
    return flowing
  }

  /** To count listeners as a chunk comes would be too late: one that wanted a single chunk has gone by then. */
  private readonly onListener = (event: string, listener: object): void => {
    if (event === "readable" || (event === "data" && !isWatcher(listener))) this.sole = false
  }

  /** Gives the memory back at once: tens of megabytes would lie around until the collector comes. */
  private readonly onWritten = (error?: Error | null): void => {
    const bytes = this.written.shift()
    // After an error the system may still be reading it.
    if (bytes === undefined || (error !== undefined && error !== null)) return
    // Sound: what Node's parser makes is no shared memory.
    const memory = bytes.buffer as ArrayBuffer
    memory.transfer(0)
  }

  private readonly onEnd = (): void => {
    if (this.stopped) return
    const expected = this.body.contentLength
    if (expected !== undefined && this.bytes < expected) return this.mismatch(expected)
    if (expected === undefined) {
      const trailers = trailerSection(this.body.trailers?.() ?? [])
      if (typeof trailers !== "string") return this.fail(trailers)
      this.target.write(`0\r\n${trailers}\r\n`, "latin1")
    }
    this.done = true
    this.progress = this.now()
    this.stop()
    this.listener.onUploaded()
  }

  private readonly onClose = (): void => {
    this.fail(closedEarly())
  }

  private readonly onError = (cause: unknown): void => {
    this.fail(toBodyError(cause))
  }

  private mismatch(expected: number): void {
    this.fail(new ProxyError.RequestBodyLengthMismatch({ expected, actual: this.bytes }))
  }

  private fail(error: ProxyError.TransportError): void {
    if (this.stopped) return
    this.stop()
    this.listener.onUploadFailed(error)
  }
}

/** In bytes. Less is not worth the trouble. */
const leastFreed = 4096

/** Whether nothing else lies in its memory. */
const isWhole = (bytes: Uint8Array): boolean => bytes.length >= leastFreed && bytes.length === bytes.buffer.byteLength

/** Whether it is Node's parser that makes the chunks, each in memory of its own, and nobody has asked for them so far. */
const isUnheard = (stream: Body.OneShot["stream"]): boolean =>
  stream instanceof IncomingMessage && stream.socket instanceof Socket &&
  stream.listeners("data").every(isWatcher) && stream.listenerCount("readable") === 0
