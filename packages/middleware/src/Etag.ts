/**
 * Entity tags and conditional requests: what a client already has is not sent again, and nobody overwrites what somebody else
 * has changed meanwhile.
 *
 * **When to use** {@link make} around routes whose responses are read again and again. {@link precondition} around those
 * that change something, where the current state is cheap to look up; {@link requirePrecondition} where an update without
 * a condition is an error.
 *
 * **Details** A 200 to GET or HEAD whose body is bytes gets a strong tag, a hash of the body, unless it has one. Then, and
 * for any 200 with an `ETag` or `Last-Modified` of its own, the conditions are evaluated in the order of RFC 9110, 13.2.2:
 * `If-Match`, else `If-Unmodified-Since` (412); `If-None-Match`, compared weakly, else `If-Modified-Since` (304). A 304 has
 * of the handler's fields those of RFC 9110, 15.4.5: `Cache-Control`, `Content-Location`, `Date`, `ETag`, `Expires` and
 * `Vary`, and `Last-Modified` when there is no `ETag`. What middleware adds to every response is added to it as well.
 *
 * The hash is the first 132 bits of SHA-256. A faster one is not safe here: who can make two bodies with one hash can have
 * a client keep the wrong one. It takes about 1 µs for 200 bytes and 6 µs for 4 KiB.
 *
 * **Gotchas** The handler runs all the same: a 304 saves bytes, not work. Streams are not hashed, nor are bodies over
 * `maxBodyBytes`. A proxied response keeps its fast path unless the request is conditional; then it is taken as a value,
 * and a 304 replaces it. Compression belongs outside of this middleware, and makes the tag weak.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-13
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { hash } from "node:crypto"
import { evaluate, hasConditions, isEntityTag } from "./internal/conditions.ts"
import { isSafe } from "./internal/methods.ts"
import { notModified, validatorsOf } from "./internal/notModified.ts"
import { requireCount } from "./internal/options.ts"
import { release } from "./internal/release.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The largest body that is hashed, in bytes. @default 1048576 */
  readonly maxBodyBytes?: number
}

/**
 * What identifies the current state of a resource.
 *
 * @category models
 * @since 0.1.0
 */
export interface Validators {
  /** An entity tag as in the field, with its quotes: `"v7"` or `W/"v7"`. @default unknown: no tag matches */
  readonly etag?: string | undefined
  /** When it last changed. @default unknown: conditions on time are ignored */
  readonly lastModified?: Date | undefined
}

/**
 * A condition of the request does not hold: 412.
 *
 * @category errors
 * @since 0.1.0
 */
export class PreconditionFailed extends Problem.TaggedError<PreconditionFailed>()("PreconditionFailed", {
  status: 412
}) {}

/**
 * The request must say which state it changes, with `If-Match` or another condition: 428 (RFC 6585, 3).
 *
 * @category errors
 * @since 0.1.0
 */
export class PreconditionRequired extends Problem.TaggedError<PreconditionRequired>()("PreconditionRequired", {
  status: 428,
  headers: () => ({ "cache-control": "no-store" })
}) {}

/**
 * Adds tags and answers conditional requests.
 *
 * **Details** Throws a `RangeError` unless `maxBodyBytes` is a whole number of at least 0; 0 hashes nothing, and only
 * answers the conditions on validators that responses have of their own.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Etag } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Page = Route.get("/", Etag.make(), Effect.succeed(HttpServerResponse.text("hello")))
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Page)
 *   const first = yield* Effect.promise(() => fetch(new Request("http://localhost/")))
 *   const headers = { "if-none-match": first.headers.get("etag") ?? "" }
 *   const second = yield* Effect.promise(() => fetch(new Request("http://localhost/", { headers })))
 *   return [first.status, second.status]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => [200, 304]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<never, PreconditionFailed, HttpServerRequest.HttpServerRequest> => {
  const limit = requireCount("maxBodyBytes", options.maxBodyBytes ?? 1_048_576, 0)
  // Head access is enough to say: the value is asked for only where a condition may replace it.
  return Middleware.around<PreconditionFailed, HttpServerRequest.HttpServerRequest>(
    "Etag",
    (handler) => tagged(handler, limit),
    { response: "head" }
  )
}

const tagged = <E, R>(
  handler: Handler<E, R>,
  limit: number
): Handler<E | PreconditionFailed, R | HttpServerRequest.HttpServerRequest> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    if (request.method !== "GET" && request.method !== "HEAD") return handler
    const conditional = hasConditions(request.headers)
    const run = conditional ? Effect.andThen(Exchange.needValue, handler) : handler
    return Effect.flatMap(run, (response): Handler<PreconditionFailed, HttpServerRequest.HttpServerRequest> => {
      if (response.status !== 200) return Effect.succeed(response)
      return Effect.flatMap(Exchange.current, ({ status }) => {
        // The handler has written its response itself; this one is a receipt.
        if (status !== undefined) return Effect.succeed(response)
        const withTag = withEtag(response, limit)
        return conditional ? answer(request, withTag) : Effect.succeed(withTag)
      })
    })
  })

const answer = (
  request: HttpServerRequest.HttpServerRequest,
  response: HttpServerResponse.HttpServerResponse
): Handler<PreconditionFailed> => {
  switch (evaluate(request.headers, validatorsOf(response), true)) {
    case "proceed":
      return Effect.succeed(response)
    case "notModified":
      return Effect.as(release(response), notModified(response))
    case "failed":
      return Effect.andThen(release(response), Effect.fail(new PreconditionFailed({})))
  }
}

const withEtag = (
  response: HttpServerResponse.HttpServerResponse,
  limit: number
): HttpServerResponse.HttpServerResponse => {
  const { body, headers } = response
  if (headers.etag !== undefined || body._tag !== "Uint8Array" || body.body.length > limit) return response
  return limit === 0 ? response : HttpServerResponse.setHeader(response, "etag", etagOf(body.body))
}

/**
 * The strong tag that {@link make} gives a body, for handlers that keep theirs.
 *
 * @example
 * ```ts
 * import { Etag } from "@sluice/middleware"
 *
 * console.log(Etag.etagOf(new TextEncoder().encode("hello"))) // => "LPJNul-wow4m6Dsqxbninh"
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const etagOf = (body: Uint8Array): string => `"${hash("sha256", body, "base64url").slice(0, 22)}"`

/**
 * Checks the conditions of a request that changes something before its handler runs: `If-Match` (compared strongly), else
 * `If-Unmodified-Since`, then `If-None-Match`. A request without conditions goes through.
 *
 * **Details** `current` says what is there now, `undefined` when nothing is: then `If-Match` fails and `If-None-Match: *`
 * holds. It runs only for conditional requests whose method is not GET, HEAD, OPTIONS or TRACE. A tag that it gives in a
 * wrong form is a defect.
 *
 * **Gotchas** Between check and change somebody else may change the resource. Where that matters the handler must compare
 * again in its transaction.
 *
 * @example
 * ```ts
 * import { Etag } from "@sluice/middleware"
 * import { Effect } from "effect"
 *
 * const current = Effect.succeed({ etag: '"v7"' })
 * console.log(Etag.precondition(current).label) // => Etag.precondition
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const precondition = <E = never, R = never>(
  current: Effect.Effect<Validators | undefined, E, R>
): Middleware.Middleware<never, PreconditionFailed | E, R | HttpServerRequest.HttpServerRequest> =>
  Middleware.around<PreconditionFailed | E, R | HttpServerRequest.HttpServerRequest>(
    "Etag.precondition",
    (handler) => Effect.andThen(check(current, Effect.void), handler),
    { response: "none" }
  )

/**
 * Like {@link precondition}, and refuses a change without a condition with {@link PreconditionRequired}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const requirePrecondition = <E = never, R = never>(
  current: Effect.Effect<Validators | undefined, E, R>
): Middleware.Middleware<
  never,
  PreconditionFailed | PreconditionRequired | E,
  R | HttpServerRequest.HttpServerRequest
> =>
  Middleware.around<PreconditionFailed | PreconditionRequired | E, R | HttpServerRequest.HttpServerRequest>(
    "Etag.requirePrecondition",
    (handler) =>
      Effect.andThen(check(current, Effect.suspend(() => Effect.fail(new PreconditionRequired({})))), handler),
    { response: "none" }
  )

const check = <E, R, E2>(
  current: Effect.Effect<Validators | undefined, E, R>,
  unconditional: Effect.Effect<void, E2>
): Effect.Effect<void, PreconditionFailed | E | E2, R | HttpServerRequest.HttpServerRequest> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers, method }): Effect.Effect<
    void,
    PreconditionFailed | E | E2,
    R
  > => {
    if (isSafe(method)) return Effect.void
    // RFC 9110, 13.1.3: `If-Modified-Since` is for GET and HEAD.
    const { "if-modified-since": _, ...conditions } = headers
    if (!hasConditions(conditions)) return unconditional
    return Effect.flatMap(current, (validators) => {
      const { etag, lastModified } = validators ?? {}
      if (etag !== undefined && !isEntityTag(etag)) {
        return Effect.die(new RangeError(`etag must be an entity tag such as "v7" with its quotes, got ${etag}`))
      }
      const known = validators === undefined ? undefined : { etag, lastModified: lastModified?.getTime() }
      return evaluate(conditions, known, false) === "proceed"
        ? Effect.void
        : Effect.fail(new PreconditionFailed({}))
    })
  })
