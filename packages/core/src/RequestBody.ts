/**
 * The body of a request as it comes in: its bytes are counted and its pauses seen, whoever reads it.
 *
 * **When to use** To write middleware that bound a body: `BodyLimit` and `Timeout.requestBody` of `@sluice/middleware` do.
 * Handlers read `HttpServerRequest`.
 *
 * **Details** A body is watched where it enters the process, so it makes no difference whether it is read with an accessor of
 * Effect's request, by a proxy, by an Express app or not at all; nothing is copied, and a request without a body costs
 * nothing. {@link RequestBody.fail} ends it for everybody: whoever reads it or comes to read it gets the error, the response
 * can still be written, and the connection is closed after it.
 *
 * **Gotchas** Watching begins when somebody first asks for {@link current}. Bytes that were read before that are not counted.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Fields from "./Fields.ts"
import { exchangeOf } from "./internal/attach.ts"
import { BodyGate } from "./internal/bodyGate.ts"

/**
 * What is told of a body. The callbacks run while bytes come in: they must be short and must not throw.
 *
 * @category models
 * @since 0.1.0
 */
export interface Watcher {
  /**
   * Asked more than once: before a `Route`'s handler runs and before the first byte is read, so that what stands further
   * in can change the answer. An error ends the body. `declared` is its `Content-Length` in bytes.
   */
  readonly admit?: (declared: number | undefined) => Error | undefined
  /**
   * Bytes came; `total` is how many so far. Also called with the size of what they decode to, by whoever decodes them. Not
   * before `admit` was asked.
   */
  readonly onBytes?: (total: number) => void
  /** Somebody begins to wait for bytes, again after each pause; or nobody waits, because what came has not been read yet. */
  readonly onWait?: (waiting: boolean) => void
  /** The body has come whole, was ended, or its client is gone. */
  readonly onEnd?: () => void
}

/**
 * A body that is coming in.
 *
 * @category models
 * @since 0.1.0
 */
export interface RequestBody {
  /** Its `Content-Length` in bytes; `undefined` when it is chunked. */
  readonly declared: number | undefined
  /** How many bytes came so far. */
  readonly bytes: number
  /** Whether somebody has begun to read it. */
  readonly wanted: boolean
  /** What {@link RequestBody.fail} ended it with. */
  readonly failure: Error | undefined
  readonly watch: (watcher: Watcher) => void
  /** Asks every watcher whether the body is wanted at all; the answer of the first that refuses has ended it. */
  readonly admit: () => Error | undefined
  /** Tells the watchers how many bytes what came so far decodes to. */
  readonly size: (bytes: number) => void
  /** Ends it with an error. A second call does nothing. */
  readonly fail: (error: Error) => void
}

/**
 * The body of the request that is being handled; `undefined` when it has none.
 *
 * @example
 * ```ts
 * import { Middleware, RequestBody } from "@sluice/core"
 * import { Console, Effect } from "effect"
 * import type { HttpServerRequest } from "effect/http"
 *
 * const logSize = Middleware.around<never, HttpServerRequest.HttpServerRequest>("logSize", (handler) =>
 *   Effect.flatMap(RequestBody.current, (body) =>
 *     body === undefined ? handler : Effect.ensuring(handler, Effect.suspend(() => Console.log(body.bytes)))), {
 *   response: "none"
 * })
 * console.log(logSize.label) // => logSize
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const current: Effect.Effect<RequestBody | undefined, never, HttpServerRequest.HttpServerRequest> = Effect
  .withFiberSucceed((fiber) => {
    const request = Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
    const exchange = exchangeOf(request, fiber)
    const { requestBody, requestFields } = exchange
    if (requestBody !== undefined) return requestBody
    const length = Fields.get(requestFields, "content-length")
    if (length === undefined ? !hasBody(requestFields, request) : length === "0") return undefined
    const declared = length === undefined ? undefined : Number(length)
    return exchange.requestBody = new BodyGate(exchange, request.source, declared)
  })

/** A message without a length has a body if it is chunked (RFC 9112, 6.3); a `fetch` request says so itself. */
const hasBody = (fields: Fields.Fields, { source }: HttpServerRequest.HttpServerRequest): boolean =>
  Fields.has(fields, "transfer-encoding") || "body" in source && source.body instanceof ReadableStream
