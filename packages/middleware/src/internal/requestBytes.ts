import * as RequestBody from "@sluice/core/RequestBody"
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import { HttpServerError, RequestParseError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { IncomingMessage } from "node:http"

/** The whole body of a request, which can be read again in any way afterwards; `undefined` when it is over the limit. */
export const requestBytes = (
  request: HttpServerRequest,
  limit: number
): Effect.Effect<Uint8Array | undefined, HttpServerError, HttpServerRequest> => {
  if (Number(request.headers["content-length"] ?? 0) > limit) return Effect.undefined
  const { source } = request
  return source instanceof IncomingMessage && !source.readableDidRead
    ? Effect.flatMap(
      peek(source, limit),
      (bytes) => bytes === cutShort ? ended(request) : Effect.succeed(bytes)
    )
    : bufferedByEffect(request, limit)
}

/** Whoever ended the body (a limit, a clock) wants an answer; without a connection nobody does, and an interruption is near. */
const ended = (request: HttpServerRequest): Effect.Effect<never, HttpServerError, HttpServerRequest> =>
  Effect.flatMap(RequestBody.current, (body) =>
    body?.failure === undefined
      ? Effect.never
      : Effect.fail(new HttpServerError({ reason: new RequestParseError({ request, cause: body.failure }) })))

/** Effect keeps what it has read of a request, but only for those who ask it for the whole of it. */
const bufferedByEffect = (
  request: HttpServerRequest,
  limit: number
): Effect.Effect<Uint8Array | undefined, HttpServerError> =>
  request.arrayBuffer.pipe(
    Effect.map((buffer): Uint8Array | undefined => buffer.byteLength > limit ? undefined : new Uint8Array(buffer)),
    Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(limit)),
    Effect.catchIf(
      ({ reason }) => reason._tag === "RequestParseError" && reason.reason === "BodyTooLarge",
      () => Effect.undefined
    )
  )

/** The body ended before it was whole. */
const cutShort = Symbol("cutShort")

/**
 * Reads up to the end of a message and puts everything back before the end is announced, so that who reads it next (a
 * parser, a stream, a proxy) finds an unread body.
 */
const peek = (source: IncomingMessage, limit: number): Effect.Effect<Uint8Array | undefined | typeof cutShort> =>
  Effect.callback((resume) => {
    const chunks: Array<Buffer> = []
    let length = 0
    const stop = () => source.off("readable", onReadable).off("close", onClose).off("error", onClose)
    const finish = (result: Uint8Array | undefined | typeof cutShort) => {
      stop()
      resume(Effect.succeed(result))
    }
    const onClose = () => finish(cutShort)
    const onReadable = () => {
      // A read that finds nothing would announce the end.
      while (source.readableLength > 0) {
        const chunk = source.read() as Buffer
        chunks.push(chunk)
        length += chunk.length
        if (length > limit) return finish(undefined)
      }
      if (source.complete) putBack()
    }
    const putBack = () => {
      const bytes = Buffer.concat(chunks, length)
      if (length > 0) {
        source.unshift(bytes)
        Object.defineProperty(source, "readableDidRead", {
          get: () => source.readableEnded || source.readableLength !== length
        })
      }
      finish(bytes)
    }
    if (source.destroyed) return onClose()
    source.on("close", onClose).on("error", onClose)
    if (source.complete) onReadable()
    else source.on("readable", onReadable)
    return Effect.sync(stop)
  })
