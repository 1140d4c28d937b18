import type * as Fields from "@sluice/core/Fields"
import { Readable } from "node:stream"
import type * as ProxyError from "../ProxyError.ts"
import type { BodyConsumer, BodyControl, ResponseBody } from "../Transport.ts"

/** A response body as a Node stream. Chunks are copied: whoever reads it may keep them. */
export class BodyReadable extends Readable implements BodyConsumer {
  /** Whether any of it has come. */
  started = false
  private readonly body: ResponseBody
  private readonly onCutOff: (error: ProxyError.Committed) => void
  private readonly onTrailers: (trailers: Fields.Fields) => void
  private readonly onFull: () => void
  private control: BodyControl | undefined
  private ended = false

  constructor(
    body: ResponseBody,
    onCutOff: (error: ProxyError.Committed) => void,
    onTrailers: (trailers: Fields.Fields) => void,
    onFull: () => void
  ) {
    super()
    this.body = body
    this.onCutOff = onCutOff
    this.onTrailers = onTrailers
    this.onFull = onFull
    // Middleware may be slow to pass it on, or never do: its errors would be nobody's and end the process.
    this.on("error", noop)
  }

  /** The body, if all of it has come by now. */
  whole(): Buffer | undefined {
    this.read(0)
    if (!this.ended || this.destroyed) return undefined
    const bytes: unknown = this.read()
    return Buffer.isBuffer(bytes) ? bytes : undefined
  }

  override _read(): void {
    if (this.control !== undefined) this.control.resume()
    else if (!this.ended) this.control = this.body.consume(this)
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.ended) this.control?.cancel()
    callback(error)
  }

  onData(chunk: Uint8Array, release: () => void): boolean {
    this.started = true
    const more = this.push(Buffer.from(chunk))
    release()
    if (!more) this.onFull()
    return more
  }

  onEnd(trailers: Fields.Fields): void {
    this.ended = true
    this.onTrailers(trailers)
    this.push(null)
  }

  onError(error: ProxyError.Committed): void {
    this.ended = true
    this.onCutOff(error)
    this.destroy(new Error(error._tag, { cause: error }))
  }
}

const noop = (): void => {}
