/**
 * Bodies of requests that come in a content coding, decoded for the handler.
 *
 * **When to use** Around routes whose clients send large bodies compressed. Not around a proxy, which relays what it gets.
 *
 * **Details** The handler sees a request without `Content-Encoding` and `Content-Length`, whose accessors read the decoded
 * body; it is decoded as it is read, with backpressure. A coding that is not among `codings`, or more than three of them, is a
 * 415 ({@link UnsupportedCoding}) before the handler runs.
 *
 * A small body may decode to a very large one. What has been decoded, of each coding, is bounded by `maxBytes`, by `maxRatio` times the bytes
 * that came for it, and by a `BodyLimit`, inside or outside of this, which counts decoded bytes as it counts others. Beyond
 * that the reader fails, and unless somebody has a better answer that is a 413. Nothing is decoded ahead of the reader but a
 * buffer.
 *
 * **Gotchas** A handler that reads Node's own message (an Express app) gets it as it was sent.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-8.4
 * @since 0.1.0
 */
import * as NodeStream from "@effect/platform-node/NodeStream"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as RequestBody from "@sluice/core/RequestBody"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { failWith } from "./internal/bodyFailure.ts"
import * as Codings from "./internal/codings.ts"
import { withBody } from "./internal/decodedRequest.ts"
import { requireBytes } from "./internal/options.ts"

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
  /** Those that are decoded. `zstd` takes Node 26. @default ["zstd", "br", "gzip", "deflate"], before Node 26 without `zstd` */
  readonly codings?: ReadonlyArray<Coding>
  /** The most bytes a body may decode to. @default 10 MiB */
  readonly maxBytes?: number
  /** How many times its size a body may decode to; looked at from the first MiB on. @default 100 */
  readonly maxRatio?: number
}

/**
 * The body has a coding that is not decoded: 415, with those that are in `Accept-Encoding`.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
 * @category errors
 * @since 0.1.0
 */
export class UnsupportedCoding extends Problem.TaggedError<UnsupportedCoding>()("UnsupportedCoding", {
  status: 415,
  title: "Unsupported content coding",
  headers: ({ accepted }) => ({ "accept-encoding": accepted.join(", ") })
}, { accepted: Schema.Array(Schema.String) }) {}

/**
 * The body is not in the coding that it says: 400.
 *
 * @category errors
 * @since 0.1.0
 */
export class MalformedCoding extends Problem.TaggedError<MalformedCoding>()("MalformedCoding", {
  status: 400,
  title: "The request body can't be decoded"
}, { coding: Schema.String }) {}

/**
 * The body decodes to more than it may: 413.
 *
 * @category errors
 * @since 0.1.0
 */
export class DecodedTooLarge extends Problem.TaggedError<DecodedTooLarge>()("DecodedTooLarge", {
  status: 413,
  title: "The request body decodes to too much"
}, {
  exceeded: Schema.Literals(["maxBytes", "maxRatio"]),
  limit: Schema.Number
}) {}

/**
 * Decodes the bodies of requests.
 *
 * **Details** Throws a `RangeError` when `codings` is empty or has one that can't be decoded, `maxBytes` is no number of bytes, or
 * `maxRatio` is less than 1.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Decompression } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerRequest, HttpServerResponse } from "effect/http"
 * import { gzipSync } from "node:zlib"
 *
 * const Echo = Route.post("/", Decompression.make(), Effect.gen(function*() {
 *   const request = yield* HttpServerRequest.HttpServerRequest
 *   return HttpServerResponse.text(yield* request.text)
 * }))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Echo)
 *   const request = new Request("http://localhost/", {
 *     method: "POST",
 *     headers: { "content-encoding": "gzip" },
 *     body: gzipSync("hello")
 *   })
 *   return yield* Effect.promise(async () => (await fetch(request)).text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => hello
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<
  never,
  UnsupportedCoding | MalformedCoding | DecodedTooLarge,
  HttpServerRequest.HttpServerRequest
> => {
  const accepted = Codings.requireCodings(options.codings ?? Codings.decodable, Codings.decodable)
  const limits: Limits = {
    maxBytes: requireBytes("maxBytes", options.maxBytes ?? 10 * mebibyte),
    maxRatio: requireRatio(options.maxRatio ?? 100)
  }
  const unsupported = Effect.suspend(() => Effect.fail(new UnsupportedCoding({ accepted })))
  return Middleware.around<Fails, HttpServerRequest.HttpServerRequest>(
    `Decompression(${accepted.join(", ")})`,
    <E, R>(handler: Handler<E, R>) =>
      Effect.flatMap(RequestBody.current, (body): Handler<E | Fails, R | HttpServerRequest.HttpServerRequest> => {
        if (body === undefined) return handler
        return Effect.flatMap(
          HttpServerRequest.HttpServerRequest,
          (request): Handler<E | Fails, R | HttpServerRequest.HttpServerRequest> => {
            const field = request.headers["content-encoding"]
            if (field === undefined) return handler
            const codings = parse(field, accepted)
            return codings === undefined ? unsupported : decoding(handler, request, body, codings, limits)
          }
        )
      }),
    { response: "none" }
  )
}

type Fails = UnsupportedCoding | MalformedCoding | DecodedTooLarge

interface Limits {
  readonly maxBytes: number
  readonly maxRatio: number
}

const mebibyte = 1024 * 1024

const requireRatio = (value: number): number => {
  if (value >= 1) return value
  throw new RangeError(`maxRatio must be a number of at least 1, got ${value}`)
}

/** Each coding takes memory of its own, and nobody needs more than one. */
const mostCodings = 3

/** In the order in which they were applied; `undefined` when one of them is not accepted. */
const parse = (field: string, accepted: ReadonlyArray<Coding>): ReadonlyArray<Coding> | undefined => {
  const names = field.split(",").map((name) => Codings.codingName(name.trim().toLowerCase()))
    .filter((name) => name !== "" && name !== "identity")
  const codings = names.filter((name): name is Coding => (accepted as ReadonlyArray<string>).includes(name))
  return codings.length === names.length && codings.length <= mostCodings ? codings : undefined
}

const decoding = <E, R>(
  handler: Handler<E, R>,
  request: HttpServerRequest.HttpServerRequest,
  body: RequestBody.RequestBody,
  codings: ReadonlyArray<Coding>,
  limits: Limits
): Handler<E | Fails, R | HttpServerRequest.HttpServerRequest> =>
  Effect.contextWith((context) => {
    const stream = decode(request.stream, codings, body, limits)
    const decoded = withBody(request, () => Stream.toReadableStreamWith(stream, context))
    const through = Effect.provideService(handler, HttpServerRequest.HttpServerRequest, decoded)
    return failWith(failWith(through, body, MalformedCoding), body, DecodedTooLarge)
  })

/** The last coding that was applied is the first to be undone. */
const decode = (
  encoded: Stream.Stream<Uint8Array, unknown>,
  codings: ReadonlyArray<Coding>,
  body: RequestBody.RequestBody,
  limits: Limits
): Stream.Stream<Uint8Array, unknown> =>
  codings.reduceRight<Stream.Stream<Uint8Array, unknown>>(
    (stream, coding, i) =>
      // Every coding is bounded: what decodes to much in the middle may decode to nothing in the end.
      bounded(
        NodeStream.pipeThroughDuplex(stream, {
          evaluate: () => Codings.decompressor(coding),
          onError: () => {
            body.fail(new MalformedCoding({ coding }))
            return body.failure
          },
          // At a time, so that little is decoded ahead.
          chunkSize: 4
        }),
        body,
        limits,
        i === 0
      ),
    encoded
  )

const bounded = (
  decoded: Stream.Stream<Uint8Array, unknown>,
  body: RequestBody.RequestBody,
  { maxBytes, maxRatio }: Limits,
  isLast: boolean
): Stream.Stream<Uint8Array, unknown> => {
  let bytes = 0
  return Stream.mapEffect(decoded, (chunk) => {
    bytes += chunk.length
    if (isLast) body.size(bytes)
    if (bytes > maxBytes) body.fail(new DecodedTooLarge({ exceeded: "maxBytes", limit: maxBytes }))
    if (bytes > mebibyte && bytes > maxRatio * body.bytes) {
      body.fail(new DecodedTooLarge({ exceeded: "maxRatio", limit: maxRatio }))
    }
    return body.failure === undefined ? Effect.succeed(chunk) : Effect.fail(body.failure)
  })
}
