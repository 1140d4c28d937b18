import * as NodeStream from "@effect/platform-node/NodeStream"
import type * as Fields from "@sluice/core/Fields"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Pull from "effect/Pull"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Readable } from "node:stream"

type Response = HttpServerResponse.HttpServerResponse

/** A response that can be given again and again, and to other processes. */
export interface StoredResponse {
  readonly status: number
  /** Names in lower case; one line a cookie. */
  readonly fields: Fields.Fields
  readonly body: Uint8Array
}

/** How it is written for a store that keeps text. */
export const StoredResponse = Schema.Struct({
  status: Schema.Int,
  fields: Schema.Array(Schema.String),
  body: Schema.Uint8ArrayFromBase64
})

/** About how much memory it takes, in bytes. */
export const sizeOf = ({ body, fields }: StoredResponse): number =>
  fields.reduce((sum, text) => sum + text.length, body.length)

/** The response again. */
export const toResponse = ({ body, fields, status }: StoredResponse): Response => {
  const headers: Record<string, string> = {}
  const cookies: Array<string> = []
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] === "set-cookie") cookies.push(fields[i + 1])
    else headers[fields[i]] = fields[i + 1]
  }
  const empty = HttpServerResponse.empty({ status, headers })
  const response = body.length === 0
    ? empty
    : HttpServerResponse.setHeaders(HttpServerResponse.setBody(empty, bodyOf(body, headers["content-type"])), headers)
  return cookies.length === 0
    ? response
    : HttpServerResponse.replaceCookies(response, Cookies.fromSetCookie(cookies))
}

/** Bytes would be given a type where the response has none. */
const bodyOf = (bytes: Uint8Array, type: string | undefined): HttpBody.HttpBody =>
  type === undefined ? HttpBody.raw(bytes, { contentLength: bytes.length }) : HttpBody.uint8Array(bytes, type)

/** A response whose body is there, or the response with a body that can still be sent when it is longer than that. */
export type Buffered =
  | { readonly _tag: "Stored"; readonly stored: StoredResponse }
  | { readonly _tag: "Live"; readonly response: Response }

/**
 * Reads a response's body, up to `limit` bytes. What was read of a longer one is put before the rest. A body that breaks off
 * is a defect: a part of it must not pass for the whole. The scope holds the body while it is read.
 */
export const buffer = (response: Response, limit: number, scope: Scope.Scope): Effect.Effect<Buffered> => {
  const { body } = response
  const live = Effect.succeed<Buffered>({ _tag: "Live", response })
  switch (body._tag) {
    case "Empty":
      return Effect.succeed(kept(response, new Uint8Array(0)))
    case "Uint8Array":
      return body.body.length > limit ? live : Effect.succeed(kept(response, body.body))
    case "Stream":
      return (body.contentLength ?? 0) > limit ? live : buffered(response, body, body.stream, limit, scope)
    case "Raw": {
      const readable = body.body
      if (!(readable instanceof Readable) || (body.contentLength ?? 0) > limit) return live
      return buffered(response, body, NodeStream.fromReadable({ evaluate: () => readable }), limit, scope)
    }
    case "FormData":
      return live
  }
}

/** Whether a response goes on for as long as its client listens, so that nobody should wait for the end of it. */
export const isEventStream = ({ headers }: Response): boolean =>
  headers["content-type"]?.toLowerCase().startsWith("text/event-stream") ?? false

const kept = (response: Response, body: Uint8Array): Buffered => ({
  _tag: "Stored",
  stored: { status: response.status, fields: fieldsOf(response), body }
})

/** The length follows from the bytes. */
const fieldsOf = ({ cookies, headers }: Response): Fields.Fields => [
  ...Object.entries(headers).filter(([name]) => name !== "content-length" && name !== "set-cookie").flat(),
  ...[...headers["set-cookie"] === undefined ? [] : [headers["set-cookie"]], ...Cookies.toSetCookieHeaders(cookies)]
    .flatMap((line) => ["set-cookie", line])
]

const buffered = (
  response: Response,
  { contentLength, contentType }: HttpBody.Stream | HttpBody.Raw,
  stream: Stream.Stream<Uint8Array, unknown>,
  limit: number,
  scope: Scope.Scope
): Effect.Effect<Buffered> =>
  Effect.gen(function*() {
    const pull = yield* Scope.provide(Stream.toPull(stream), scope)
    const chunks: Array<Uint8Array> = []
    let length = 0
    while (length <= limit) {
      const more = yield* Effect.orDie(
        Pull.catchDone(
          Effect.map(pull, (chunk): ReadonlyArray<Uint8Array> | undefined => chunk),
          () => Effect.undefined
        )
      )
      if (more === undefined) return kept(response, Buffer.concat(chunks))
      for (const chunk of more) {
        chunks.push(chunk)
        length += chunk.length
      }
    }
    const rest = Stream.fromPull(Effect.succeed(pull))
    const whole = Stream.catchCause(
      Stream.concat(Stream.fromIterable(chunks), rest),
      (cause) => Stream.die(Cause.squash(cause))
    )
    const { headers } = response
    return {
      _tag: "Live",
      response: HttpServerResponse.setHeaders(
        HttpServerResponse.setBody(response, HttpBody.stream(whole, contentType, contentLength)),
        headers
      )
    }
  })
