import * as Fields from "@sluice/core/Fields"
import * as Result from "effect/Result"
import { IncomingMessage } from "node:http"
import { Readable } from "node:stream"
import type { ReadableStream } from "node:stream/web"
import * as Body from "../Body.ts"
import type { Incoming } from "../Incoming.ts"
import * as ProxyError from "../ProxyError.ts"

/** The body of a request, unread. One that somebody has read already can't be relayed any more. */
export const bodyOf = (
  incoming: Incoming
): Result.Result<Body.Body, ProxyError.RequestBodyLengthMismatch> => {
  const source = incoming.request.source
  return source instanceof IncomingMessage ? nodeBody(incoming, source) : webBody(source)
}

const nodeBody = (
  { fields }: Incoming,
  source: IncomingMessage
): Result.Result<Body.Body, ProxyError.RequestBodyLengthMismatch> => {
  const length = Fields.get(fields, "content-length")
  if (length === undefined && !Fields.has(fields, "transfer-encoding")) return Result.succeed(Body.empty)
  if (length === "0") return Result.succeed(Body.zeroLength)
  const expected = length === undefined ? undefined : Number(length)
  if (source.readableDidRead) {
    return Result.fail(
      new ProxyError.RequestBodyLengthMismatch({ expected: expected ?? 0, actual: 0 })
    )
  }
  return Result.succeed(Body.oneShot(source, expected))
}

const webBody = (source: object): Result.Result<Body.Body, never> => {
  const { body } = source as Partial<Request>
  // Sound: Node's `ReadableStream` is the global one; its two declarations differ.
  return Result.succeed(
    body === null || body === undefined
      ? Body.empty
      : Body.oneShot(Readable.fromWeb(body as ReadableStream<Uint8Array>))
  )
}
