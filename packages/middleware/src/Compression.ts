/**
 * Responses in the content coding that the client likes best.
 *
 * **When to use** At the edge or around routes, when nothing in front of the server does it. Put it around what sets entity tags
 * and inside what stores responses.
 *
 * **Details** The client's weights decide (RFC 9110, 12.5.3), and among equals the order of `codings`. A response is left as it
 * is when its type doesn't compress, when it is smaller than `minimumSize`, when it is already encoded, a part
 * (`Content-Range`), or must not be transformed (`Cache-Control: no-transform`), and when compressing it doesn't make it
 * smaller. Event streams are left, too, unless `compressible` says otherwise.
 *
 * What is compressed says so in `Content-Encoding`, loses `Accept-Ranges` and the digests of what it was, and has a weak entity
 * tag in place of a strong one (RFC 9110, 8.8.3.3). Bytes are compressed apart from the main thread and sent with their
 * `Content-Length`; a stream is compressed as it comes, and what it has so far is sent when it pauses. Whatever could be
 * compressed says `Vary: Accept-Encoding`, also when it isn't. `HEAD` has the fields of `GET`.
 *
 * A client that wants no identity (`identity;q=0`) gets everything compressed that may be transformed. One that accepts
 * neither identity nor any of our codings gets {@link NoAcceptableCoding} before the handler runs.
 *
 * **Gotchas** It reads the response's value, so a proxied response does not stream past on its fast path, and what a Node
 * handler writes by itself is not compressed. Where a secret and what an attacker chose are in one response, its size may
 * tell the secret (BREACH): such a response should be `no-transform`.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-8.4
 * @since 0.1.0
 */
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Effect from "effect/Effect"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Schema from "effect/Schema"
import { IncomingMessage } from "node:http"
import { pipeline, Readable } from "node:stream"
import type { ReadableStream } from "node:stream/web"
import * as Codings from "./internal/codings.ts"
import { memo } from "./internal/memo.ts"
import { requireBytes } from "./internal/options.ts"
import { qualityValues } from "./internal/qualityValues.ts"
import { withVary } from "./internal/vary.ts"

type Response = HttpServerResponse.HttpServerResponse

/**
 * A content coding.
 *
 * @category models
 * @since 0.1.0
 */
export type Coding = Codings.Coding

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Those to use; of two that the client likes as well the first. @default ["zstd", "br", "gzip", "deflate"] */
  readonly codings?: ReadonlyArray<Coding>
  /** In bytes: what is known to be smaller is left as it is. @default 1024 */
  readonly minimumSize?: number
  /** Whether a media type (in lower case, without parameters) is worth it. @default {@link compressible} */
  readonly compressible?: (mediaType: string) => boolean
}

/**
 * The client excludes the identity and every coding that there is: 406.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
 * @category errors
 * @since 0.1.0
 */
export class NoAcceptableCoding extends Problem.TaggedError<NoAcceptableCoding>()("NoAcceptableCoding", {
  status: 406,
  title: "No acceptable content coding",
  headers: () => ({ vary: "Accept-Encoding" })
}, { available: Schema.Array(Schema.String) }) {}

/**
 * Whether a media type is one that compresses: text (without `text/event-stream`), JSON, XML, JavaScript, WebAssembly, SVG.
 *
 * @example
 * ```ts
 * import { Compression } from "@sluice/middleware"
 *
 * console.log(["application/geo+json", "image/png"].map(Compression.compressible)) // => [true, false]
 * ```
 *
 * @category guards
 * @since 0.1.0
 */
export const compressible = (mediaType: string): boolean =>
  mediaType.startsWith("text/")
    ? mediaType !== "text/event-stream"
    : /^(?:application\/(?:json|javascript|manifest\+json|wasm|x-ndjson|xml)|font\/(?:otf|ttf)|image\/(?:bmp|svg\+xml))$|\+(?:json|xml)$/
      .test(mediaType)

/**
 * Compresses responses.
 *
 * **Details** Throws a `RangeError` when `codings` is empty or has an unknown one, or `minimumSize` is no number of bytes.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Compression } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Words = Route.get("/", Effect.succeed(HttpServerResponse.text("again and ".repeat(1000))))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Words, { edge: Compression.make() })
 *   const request = new Request("http://localhost/", { headers: { "accept-encoding": "gzip, br;q=0.5" } })
 *   const { headers } = yield* Effect.promise(() => fetch(request))
 *   return [headers.get("content-encoding"), headers.get("vary"), Number(headers.get("content-length")) < 200]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => ["gzip", "Accept-Encoding", true]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<never, NoAcceptableCoding, HttpServerRequest.HttpServerRequest> => {
  const codings = Codings.requireCodings(options.codings ?? Codings.codings)
  const choose = memo((field) => choice(field, codings))
  const policy: Policy = {
    minimumSize: requireBytes("minimumSize", options.minimumSize ?? 1024),
    compressible: options.compressible ?? compressible
  }
  const refused: Handler<NoAcceptableCoding> = Effect.suspend(() =>
    Effect.fail(new NoAcceptableCoding({ available: codings }))
  )
  return Middleware.around<NoAcceptableCoding, HttpServerRequest.HttpServerRequest>(
    `Compression(${codings.join(", ")})`,
    <E, R>(handler: Handler<E, R>) =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, (request): Handler<
        E | NoAcceptableCoding,
        R | HttpServerRequest.HttpServerRequest
      > => {
        const field = request.headers["accept-encoding"]
        const choice = field === undefined ? identityOnly : choose(field)
        if (choice === undefined) return refused
        return Effect.flatMap(handler, (response) => encode(response, request, choice, policy))
      })
  )
}

interface Policy {
  readonly minimumSize: number
  readonly compressible: (mediaType: string) => boolean
}

interface Choice {
  readonly coding: Coding | undefined
  /** The client doesn't want the identity. */
  readonly forced: boolean
}

const identityOnly: Choice = { coding: undefined, forced: false }

/** `undefined` when the client accepts nothing that can be had. */
const choice = (field: string, codings: ReadonlyArray<Coding>): Choice | undefined => {
  const weights = new Map(qualityValues(field).map(({ value, weight }) => [Codings.codingName(value), weight]))
  const other = weights.get("*")
  const identity = weights.get("identity") ?? other
  let coding: Coding | undefined
  let most = 0
  for (const candidate of codings) {
    const weight = weights.get(candidate) ?? other ?? 0
    if (weight <= most || weight < (identity ?? 0)) continue
    coding = candidate
    most = weight
  }
  return coding === undefined && identity === 0 ? undefined : { coding, forced: identity === 0 }
}

const encode = (
  response: Response,
  request: HttpServerRequest.HttpServerRequest,
  { coding, forced }: Choice,
  { compressible, minimumSize }: Policy
): Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest> => {
  const toHead = request.method === "HEAD"
  // Nobody knows what was not sent, so it may have been one that varies (RFC 9110, 15.4.5).
  if (response.status === 304) {
    return Effect.succeed(withVary(coding === undefined ? response : weak(response), "Accept-Encoding"))
  }
  if (!isTransformable(response, toHead)) return Effect.succeed(response)
  const type = typeOf(response)
  if (!forced && (type === undefined || !compressible(type.split(";", 1)[0].trim().toLowerCase()))) {
    return Effect.succeed(response)
  }
  const length = lengthOf(response)
  if (!forced && length !== undefined && length < minimumSize) return Effect.succeed(response)
  const varied = withVary(response, "Accept-Encoding")
  if (coding === undefined) return Effect.succeed(varied)
  return Effect.flatMap(Exchange.current, ({ status }) =>
    // A handler that has written its response by itself returns a receipt of it.
    status === undefined ? withCoding(varied, coding, request, toHead, forced) : Effect.succeed(response))
}

const typeOf = ({ body, headers }: Response): string | undefined =>
  headers["content-type"] ?? (body._tag === "Empty" ? undefined : body.contentType)

const lengthOf = ({ body, headers }: Response): number | undefined => {
  const length = headers["content-length"] ?? (body._tag === "Empty" ? undefined : body.contentLength)
  return length === undefined ? undefined : Number(length)
}

const isTransformable = ({ body, headers, status }: Response, toHead: boolean): boolean =>
  status >= 200 && status !== 204 && status !== 205 && status !== 206 &&
  body._tag !== "FormData" && (body._tag !== "Empty" || toHead && headers["content-type"] !== undefined) &&
  headers["content-encoding"] === undefined && headers["content-range"] === undefined &&
  !/(?:^|[\s,])no-transform(?:$|[\s,])/i.test(headers["cache-control"] ?? "")

/** A tag that was strong stood for other bytes. */
const weak = (response: Response): Response => {
  const { etag } = response.headers
  return etag === undefined || etag.startsWith("W/")
    ? response
    : HttpServerResponse.setHeader(response, "etag", `W/${etag}`)
}

/** Fields that are true of the bytes as they were. */
const stale = ["accept-ranges", "content-digest", "content-length", "content-md5", "repr-digest"]

const encoded = (response: Response, coding: Coding): Response =>
  stale.reduce(
    (self, name) => HttpServerResponse.removeHeader(self, name),
    HttpServerResponse.setHeader(weak(response), "content-encoding", coding)
  )

const withCoding = (
  response: Response,
  coding: Coding,
  { source }: HttpServerRequest.HttpServerRequest,
  toHead: boolean,
  forced: boolean
): Effect.Effect<Response> => {
  const { body } = response
  const contentType = typeOf(response) ?? "application/octet-stream"
  const replace = (body: HttpBody.HttpBody) =>
    HttpServerResponse.removeHeader(HttpServerResponse.setBody(encoded(response, coding), body), "content-length")
  switch (body._tag) {
    case "Uint8Array":
      return Effect.map(compressed(body.body, coding), (bytes) =>
        !forced && bytes.length >= body.body.length
          ? response
          : HttpServerResponse.setHeader(
            replace(HttpBody.uint8Array(bytes, contentType)),
            "content-length",
            String(bytes.length)
          ))
    case "Stream":
      // The body of a HEAD is never read, so there is nothing to replace.
      return Effect.succeed(
        toHead ? encoded(response, coding) : replace(HttpBody.stream(through(body.stream, coding), contentType))
      )
    case "Raw": {
      if (toHead) return Effect.succeed(encoded(response, coding))
      const readable = () => pipeline(readableOf(body.body), Codings.compressor(coding), () => {})
      return Effect.succeed(replace(
        source instanceof IncomingMessage
          ? HttpBody.raw(readable(), { contentType })
          : HttpBody.stream(NodeStream.fromReadable({ evaluate: readable }), contentType)
      ))
    }
    default:
      return Effect.succeed(encoded(response, coding))
  }
}

const compressed = (bytes: Uint8Array, coding: Coding): Effect.Effect<Uint8Array> =>
  Effect.callback((resume) =>
    Codings.compress(
      bytes,
      coding,
      (error, result) => resume(error === null ? Effect.succeed(result) : Effect.die(error))
    )
  )

const through = (stream: HttpBody.Stream["stream"], coding: Coding): HttpBody.Stream["stream"] =>
  NodeStream.pipeThroughDuplex(stream, { evaluate: () => Codings.compressor(coding) })

const readableOf = (body: unknown): Readable => {
  if (body instanceof Readable) return body
  // Sound: what is not a Node stream is something that `fetch` takes.
  const stream = new globalThis.Response(body as ConstructorParameters<typeof globalThis.Response>[0]).body
  // Sound: Node's `ReadableStream` is the global one; its two declarations differ.
  return stream === null ? Readable.from([]) : Readable.fromWeb(stream as ReadableStream<Uint8Array>)
}
