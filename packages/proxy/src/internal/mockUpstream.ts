import * as Fields from "@sluice/core/Fields"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Cookies from "effect/http/Cookies"
import type * as Headers from "effect/http/Headers"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Stream from "effect/Stream"
import type * as Body from "../Body.ts"
import * as ProxyError from "../ProxyError.ts"
import * as Target from "../Target.ts"
import type { BodyConsumer, ResponseBody, UpstreamResponse } from "../Transport.ts"
import type { Request, Upstream } from "../Upstream.ts"

/**
 * What a mocked upstream is asked.
 *
 * @category models
 * @since 0.1.0
 */
export interface MockRequest {
  readonly method: string
  /** Escaped, as the upstream would see it after prefixes are stripped. */
  readonly path: string
  /** With its `?`; empty when there is none. */
  readonly query: string
  readonly fields: Fields.Fields
  /** The same, in Effect's form. */
  readonly headers: Headers.Headers
  /** The body as text. */
  readonly text: Effect.Effect<string>
}

/** An upstream that a handler answers for. */
export const mockUpstream = <R>(
  name: string,
  handler: (request: MockRequest) => Effect.Effect<HttpServerResponse, ProxyError.Uncommitted, R>,
  context: Context.Context<R>
): Upstream => ({
  name,
  send: (request) =>
    Effect.map(
      Effect.provideContext(Effect.suspend(() => handler(toMock(request))), context),
      (response) => toUpstream(response, request.method, context)
    )
})

const toMock = ({ body, fields, host, method, target, targetOptions }: Request): MockRequest => {
  const prefix = targetOptions?.stripPrefix
  const all = ["Host", host.value, ...fields]
  return {
    method,
    path: prefix === undefined ? target.path : Target.stripPrefix(target.path, prefix),
    query: target.query,
    fields: all,
    headers: Fields.toHeaders(all),
    text: Effect.promise(() => textOf(body))
  }
}

const textOf = async (body: Body.Body): Promise<string> => {
  if (body._tag === "Empty") return ""
  if (body._tag === "Replayable") return Buffer.from(body.bytes).toString()
  const chunks: Array<Uint8Array> = []
  for await (const chunk of body.stream) chunks.push(chunk as Uint8Array)
  return Buffer.concat(chunks).toString()
}

const toUpstream = (
  response: HttpServerResponse,
  method: string,
  context: Context.Context<never>
): UpstreamResponse => ({
  status: response.status,
  reason: response.statusText ?? "",
  httpVersion: "1.1",
  fields: [
    ...Fields.fromHeaders(response.headers),
    ...Cookies.toSetCookieHeaders(response.cookies).flatMap((cookie) => ["Set-Cookie", cookie])
  ],
  body: method === "HEAD" ? emptyBody : bodyOf(response, context)
})

const emptyBody: ResponseBody = {
  length: 0,
  consume: (consumer) => {
    consumer.onEnd([])
    return inert
  }
}

const inert = { resume: () => {}, cancel: () => {} }

const bodyOf = ({ body }: HttpServerResponse, context: Context.Context<never>): ResponseBody => {
  switch (body._tag) {
    case "Empty":
      return emptyBody
    case "Uint8Array":
      return streamBody(Stream.succeed(body.body), body.contentLength, context)
    case "Stream":
      return streamBody(body.stream, body.contentLength, context)
    default:
      throw new TypeError(`a mocked upstream answers with an empty, byte or stream body, not ${body._tag}`)
  }
}

/** The stream runs with the services of the layer, so that the clock of a test is its clock. */
const streamBody = (
  stream: Stream.Stream<Uint8Array, unknown>,
  length: number | undefined,
  context: Context.Context<never>
): ResponseBody => ({
  length,
  consume: (consumer) => {
    let resume: (() => void) | undefined
    const wait = Effect.callback<void>((done) => {
      resume = () => done(Effect.void)
    })
    const fiber = Effect.runForkWith(context)(Effect.matchCause(
      Stream.runForEach(stream, (chunk) => Effect.suspend(() => consumer.onData(chunk, () => {}) ? Effect.void : wait)),
      {
        onSuccess: () => consumer.onEnd([]),
        onFailure: (cause) => fail(consumer, cause)
      }
    ))
    return { resume: () => resume?.(), cancel: () => cancel(fiber) }
  }
})

const fail = (consumer: BodyConsumer, cause: unknown): void =>
  consumer.onError(new ProxyError.UpstreamBodyTruncated({ reason: "Reset", cause, received: 0 }))

const cancel = (fiber: Fiber.Fiber<void>): void => fiber.interruptUnsafe()
