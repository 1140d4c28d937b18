/**
 * Sends a request body that flows through once over a stream of any kind: with backpressure, and exactly as long as was
 * promised.
 */
import type { Duplex } from "node:stream"
import type * as Body from "../../Body.ts"
import * as ProxyError from "../../ProxyError.ts"
import { closedEarly, toBodyError } from "../bodyError.ts"

export class BodySender {
  /** Bytes of body that were taken. */
  bytes = 0

  private readonly body: Body.OneShot
  private readonly duplex: Duplex
  private readonly onFailed: (error: ProxyError.RequestBodyError) => void
  private ended = false
  private blocked = false
  private stopped = false

  constructor(body: Body.OneShot, duplex: Duplex, onFailed: (error: ProxyError.RequestBodyError) => void) {
    this.body = body
    this.duplex = duplex
    this.onFailed = onFailed
  }

  /** Whether the body is out; one whose length is known may have its end still to come. */
  get whole(): boolean {
    return this.ended || this.bytes === this.body.contentLength
  }

  start(): void {
    const stream = this.body.stream
    if (stream.readableEnded) return this.onEnd()
    if (stream.errored !== null) return this.onError(stream.errored)
    if (stream.destroyed) return this.onClose()
    stream.on("error", this.onError).on("end", this.onEnd).on("close", this.onClose).on("data", this.onChunk)
    stream.resume()
  }

  /** Takes nothing more. */
  stop(): void {
    if (this.stopped) return
    this.stopped = true
    const stream = this.body.stream
    stream.off("error", this.onError).off("end", this.onEnd).off("close", this.onClose).off("data", this.onChunk)
    if (!this.ended) stream.pause()
  }

  onDrain(): void {
    if (!this.blocked || this.stopped) return
    this.blocked = false
    this.body.stream.resume()
  }

  private readonly onChunk = (chunk: Uint8Array | string): void => {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk
    if (bytes.length === 0) return
    this.bytes += bytes.length
    const expected = this.body.contentLength
    if (expected !== undefined && this.bytes > expected) return this.mismatch(expected)
    if (this.write(bytes)) return
    this.blocked = true
    this.body.stream.pause()
  }

  private write(bytes: Uint8Array): boolean {
    const duplex = this.duplex
    if (this.body.contentLength !== undefined) return duplex.write(bytes)
    duplex.cork()
    duplex.write(`${bytes.length.toString(16)}\r\n`, "latin1")
    duplex.write(bytes)
    const flowing = duplex.write("\r\n", "latin1")
    duplex.uncork()
    return flowing
  }

  private readonly onEnd = (): void => {
    if (this.stopped) return
    const expected = this.body.contentLength
    if (expected !== undefined && this.bytes < expected) return this.mismatch(expected)
    if (expected === undefined) this.duplex.write("0\r\n\r\n", "latin1")
    this.ended = true
    this.stop()
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

  private fail(error: ProxyError.RequestBodyError): void {
    if (this.stopped) return
    this.stop()
    this.onFailed(error)
  }
}
