/**
 * How many bytes the body of a request may have.
 *
 * **When to use** At the edge, for all routes: handlers that hold a body in memory trust its size. A route that takes uploads
 * has {@link override}, one that streams without end {@link none}.
 *
 * **Details** A request whose `Content-Length` is over the limit is answered with 413 ({@link BodyTooLarge}) before a byte of
 * it is read: its handler does not run, and a client that expects a `100 Continue` gets none. A chunked body is counted as it
 * comes in, whoever reads it: the accessors of Effect's request, a stream, a multipart form, a proxy, an Express app. With
 * the first byte too many its reader fails, and unless somebody has a better answer that is the 413. In each case the
 * connection is closed after the response, also when nobody has read the body. `Decompression` has the decoded size counted,
 * too.
 *
 * Of two nested limits the smaller one holds, unless the inner one is an {@link override}.
 *
 * **Gotchas** What a declared length decides is decided where the handler of a `Route` would run, so that a route can override
 * the limit of the edge; middleware between the two runs before that. A handler that is not under a `Route` (an `HttpApi`)
 * runs, and fails when it begins to read. A Node handler must listen to its request's `error`, as for a client that leaves.
 * The limits of a request's target and fields are the server's (`NodeServer`).
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.5.14
 * @since 0.1.0
 */
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as RequestBody from "@sluice/core/RequestBody"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Schema from "effect/Schema"
import { failWith } from "./internal/bodyFailure.ts"
import { requireBytes } from "./internal/options.ts"

/**
 * The body is larger than it may be: 413, and the connection is closed.
 *
 * @category errors
 * @since 0.1.0
 */
export class BodyTooLarge extends Problem.TaggedError<BodyTooLarge>()("BodyTooLarge", {
  status: 413,
  title: "The request body is too large",
  headers: () => ({ connection: "close" })
}, {
  /** In bytes. */
  limit: Schema.Number
}) {}

/**
 * Fails with {@link BodyTooLarge} when there are more than `bytes` bytes of body.
 *
 * **Details** Throws a `RangeError` unless `bytes` is a non-negative integer or infinite.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { BodyLimit } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerRequest, HttpServerResponse } from "effect/http"
 *
 * const Echo = Route.post("/", BodyLimit.make(4), Effect.gen(function*() {
 *   const request = yield* HttpServerRequest.HttpServerRequest
 *   return HttpServerResponse.text(yield* request.text)
 * }))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Echo)
 *   const send = (body: string) => Effect.promise(() => fetch(new Request("http://localhost/", { method: "POST", body })))
 *   return [(yield* send("four")).status, (yield* send("fives")).status]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => [200, 413]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (bytes: number): Middleware.Middleware<never, BodyTooLarge, HttpServerRequest> => {
  const limit = requireBytes("bytes", bytes)
  return limiting(`BodyLimit(${format(limit)})`, (outer) => Math.min(outer, limit))
}

/**
 * A limit in place of those around it: it may be larger than they are.
 *
 * @example
 * ```ts
 * import { BodyLimit } from "@sluice/middleware"
 *
 * console.log(BodyLimit.override(50 * 1024 * 1024).label) // => BodyLimit.override(50MiB)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const override = (bytes: number): Middleware.Middleware<never, BodyTooLarge, HttpServerRequest> => {
  const limit = requireBytes("bytes", bytes)
  return limiting(`BodyLimit.override(${format(limit)})`, () => limit)
}

/**
 * Lifts the limits around it.
 *
 * @category presets
 * @since 0.1.0
 */
export const none: Middleware.Middleware<never, never, HttpServerRequest> = Middleware.around(
  "BodyLimit.none",
  (handler) =>
    Effect.flatMap(RequestBody.current, (body) => {
      if (body !== undefined) limits.set(body, Infinity)
      return handler
    }),
  { response: "none" }
)

/** The limit in force, for every body that has one. */
const limits = new WeakMap<RequestBody.RequestBody, number>()

const limiting = (
  label: string,
  limitUnder: (outer: number) => number
): Middleware.Middleware<never, BodyTooLarge, HttpServerRequest> =>
  Middleware.around<BodyTooLarge, HttpServerRequest>(
    label,
    (handler) =>
      Effect.flatMap(RequestBody.current, (body) => body === undefined ? handler : limited(handler, body, limitUnder)),
    { response: "none" }
  )

const limited = <E, R>(
  handler: Handler<E, R>,
  body: RequestBody.RequestBody,
  limitUnder: (outer: number) => number
): Handler<E | BodyTooLarge, R | HttpServerRequest> => {
  const outer = limits.get(body)
  limits.set(body, limitUnder(outer ?? Infinity))
  if (outer === undefined) watch(body)
  return failWith(handler, body, BodyTooLarge)
}

const watch = (body: RequestBody.RequestBody): void => {
  const excess = (bytes: number): BodyTooLarge | undefined => {
    const limit = limits.get(body) ?? Infinity
    return bytes > limit ? new BodyTooLarge({ limit }) : undefined
  }
  body.watch({
    admit: (declared) => declared === undefined ? undefined : excess(declared),
    onBytes: (total) => {
      const error = excess(total)
      if (error !== undefined) body.fail(error)
    }
  })
}

const units = ["B", "KiB", "MiB", "GiB"] as const

const format = (bytes: number): string => {
  if (bytes === Infinity) return "∞"
  let unit = 0
  for (; unit < units.length - 1 && bytes > 0 && bytes % 1024 === 0; unit++) bytes /= 1024
  return `${bytes}${units[unit]}`
}
