import * as Effect from "effect/Effect"
import type { Readable } from "node:stream"
import * as Body from "../Body.ts"
import type * as ProxyError from "../ProxyError.ts"
import type { Request } from "../Upstream.ts"
import { closedEarly, toBodyError } from "./bodyError.ts"

/** The request with its whole body in memory. How much that may be is the stream's own limit. */
export const bufferBody = (request: Request): Effect.Effect<Request, ProxyError.RequestBodyError> =>
  request.body._tag === "OneShot"
    ? Effect.map(readAll(request.body.stream), (bytes) => ({ ...request, body: Body.replayable(bytes) }))
    : Effect.succeed(request)

const readAll = (stream: Readable): Effect.Effect<Uint8Array, ProxyError.RequestBodyError> =>
  Effect.callback((resume) => {
    const chunks: Array<Uint8Array> = []
    const onData = (chunk: Uint8Array): void => {
      chunks.push(chunk)
    }
    const onEnd = (): void => finish(Effect.succeed(Buffer.concat(chunks)))
    const onClose = (): void => finish(Effect.fail(closedEarly()))
    const stop = (): void => {
      stream.off("data", onData).off("end", onEnd).off("close", onClose)
      stream.pause()
    }
    const finish = (result: Effect.Effect<Uint8Array, ProxyError.RequestBodyError>): void => {
      stop()
      resume(result)
    }
    if (stream.destroyed) return finish(Effect.fail(closedEarly()))
    // This one stays: an error that nobody hears would bring the process down.
    stream.on("error", (cause) => finish(Effect.fail(toBodyError(cause))))
    stream.on("end", onEnd).on("close", onClose).on("data", onData)
    return Effect.sync(stop)
  })
