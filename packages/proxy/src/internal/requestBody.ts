import * as Fields from "@sluice/core/Fields"
import * as Result from "effect/Result"
import { IncomingMessage } from "node:http"
import { Readable, Transform } from "node:stream"
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

/** Fails with `RequestBodyTooLarge` after `limit` bytes. It leaves the source open: its client is still to be answered. */
const limited = (source: Readable, limit: number): Readable => {
  if (limit === Infinity) return source
  let bytes = 0
  const meter = new Transform({
    transform(chunk: Uint8Array, _encoding, done) {
      bytes += chunk.length
      if (bytes <= limit) return done(null, chunk)
      source.unpipe(meter)
      source.pause()
      done(new ProxyError.RequestBodyTooLarge({ limit }))
    }
  })
  source.once("error", (error) => meter.destroy(error))
  source.once("close", () => source.readableEnded || meter.destroy(new Error("the request body was closed")))
  return source.pipe(meter)
}
