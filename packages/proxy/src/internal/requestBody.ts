import * as Fields from "@sluice/core/Fields"
import * as Result from "effect/Result"
import { IncomingMessage } from "node:http"
import { Readable, Transform, type TransformCallback } from "node:stream"
import type { ReadableStream } from "node:stream/web"
import * as Body from "../Body.ts"
import type { Incoming } from "../Incoming.ts"
import * as ProxyError from "../ProxyError.ts"

type Refusal = ProxyError.RequestBodyLengthMismatch | ProxyError.RequestBodyTooLarge

/** The body of a request, unread and of at most `limit` bytes. One that somebody has read can't be relayed any more. */
export const bodyOf = (incoming: Incoming, limit: number): Result.Result<Body.Body, Refusal> => {
  const source = incoming.request.source
  return source instanceof IncomingMessage ? nodeBody(incoming, source, limit) : webBody(source, limit)
}

const nodeBody = ({ fields }: Incoming, source: IncomingMessage, limit: number): Result.Result<Body.Body, Refusal> => {
  const length = Fields.get(fields, "content-length")
  if (length === undefined && !Fields.has(fields, "transfer-encoding")) return Result.succeed(Body.empty)
  if (length === "0") return Result.succeed(Body.zeroLength)
  const expected = length === undefined ? undefined : Number(length)
  if (source.readableDidRead) {
    return Result.fail(new ProxyError.RequestBodyLengthMismatch({ expected: expected ?? 0, actual: 0 }))
  }
  if (expected === undefined) return Result.succeed(Body.oneShot(limited(source, limit)))
  return expected > limit
    ? Result.fail(new ProxyError.RequestBodyTooLarge({ limit }))
    : Result.succeed(Body.oneShot(source, expected))
}

const webBody = (source: object, limit: number): Result.Result<Body.Body, never> => {
  const { body } = source as Partial<Request>
  // Sound: Node's `ReadableStream` is the global one; its two declarations differ.
  return Result.succeed(
    body === null || body === undefined
      ? Body.empty
      : Body.oneShot(limited(Readable.fromWeb(body as ReadableStream<Uint8Array>), limit))
  )
}

/** The source, as long as it stays within the limit. */
const limited = (source: Readable, limit: number): Readable => limit === Infinity ? source : new Meter(source, limit)

/**
 * Fails with `RequestBodyTooLarge` after `limit` bytes. It reads only once it is read, because reading is what tells a client
 * that expects a 100 to go on; and it leaves the source open, because its client is still to be answered.
 */
class Meter extends Transform {
  private readonly source: Readable
  private readonly limit: number
  private bytes = 0
  private connected = false

  constructor(source: Readable, limit: number) {
    super()
    this.source = source
    this.limit = limit
    // Until it is read, its errors would be nobody's.
    this.on("error", noop)
    source.once("error", (error) => this.destroy(error))
    source.once("close", () => source.readableEnded || this.destroy(new Error("the request body was closed")))
  }

  override _read(size: number): void {
    if (!this.connected) {
      this.connected = true
      this.source.pipe(this)
    }
    super._read(size)
  }

  override _transform(chunk: Uint8Array, _: BufferEncoding, done: TransformCallback): void {
    this.bytes += chunk.length
    if (this.bytes <= this.limit) return done(null, chunk)
    this.source.unpipe(this)
    this.source.pause()
    done(new ProxyError.RequestBodyTooLarge({ limit: this.limit }))
  }
}

const noop = (): void => {}
