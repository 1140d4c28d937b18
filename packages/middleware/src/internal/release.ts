import * as Effect from "effect/Effect"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import { Readable } from "node:stream"

/** Lets go of the body of a response that is not going to be sent. An Effect stream that was never run holds nothing. */
export const release = ({ body }: HttpServerResponse): Effect.Effect<void> =>
  Effect.sync(() => {
    if (body._tag !== "Raw") return
    if (body.body instanceof Readable) body.body.destroy()
    else if (body.body instanceof ReadableStream && !body.body.locked) body.body.cancel().catch(() => {})
  })
