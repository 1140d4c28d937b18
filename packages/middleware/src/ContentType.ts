/**
 * Which media types the body of a request may have.
 *
 * **When to use** Around routes that read a body: what they can't read is refused before they try.
 *
 * **Details** A body of another type, or of none, is answered with 415 ({@link UnsupportedMediaType}), which lists the types:
 * in `Accept-Post` for a POST (W3C Linked Data Platform, 7.1), `Accept-Patch` for a PATCH (RFC 5789, 3.1) and `Accept` for
 * other methods (RFC 9110, 12.5.1). A request without a body passes. Types are compared without regard to case and to
 * parameters that are not asked for.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.5.16
 * @since 0.1.0
 */
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as RequestBody from "@sluice/core/RequestBody"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Schema from "effect/Schema"
import { matches, type MediaType, parameterOf, parseMediaType, requireMediaType } from "./internal/mediaTypes.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The values that a `charset` parameter may have, if there is one. @default any */
  readonly charsets?: ReadonlyArray<string>
}

/**
 * The body has a type that is not accepted: 415.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnsupportedMediaType extends Problem.TaggedError<UnsupportedMediaType>()("UnsupportedMediaType", {
  status: 415,
  headers: ({ accepted, field }): Record<string, string> => ({ [field]: accepted.join(", ") })
}, {
  /** The field that lists them. */
  field: Schema.Literals(["accept", "accept-patch", "accept-post"]),
  accepted: Schema.Array(Schema.String),
  /** The charsets that are accepted, when it was that. */
  charsets: Schema.optionalKey(Schema.Array(Schema.String))
}) {}

/**
 * Fails with {@link UnsupportedMediaType} unless the body is of one of the types, such as `application/json` or `image/*`.
 *
 * **Details** Throws a `RangeError` when one of them can't be a media type, or there is none.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { ContentType } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Orders = Route.post("/orders", ContentType.make(["application/json"]), Effect.succeed(HttpServerResponse.empty()))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Orders)
 *   const request = new Request("http://localhost/orders", { method: "POST", body: "a text" })
 *   const { headers, status } = yield* Effect.promise(() => fetch(request))
 *   return [status, headers.get("accept-post")]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => [415, "application/json"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  types: ReadonlyArray<string>,
  options: Options = {}
): Middleware.Middleware<never, UnsupportedMediaType, HttpServerRequest.HttpServerRequest> => {
  if (types.length === 0) throw new RangeError("types must not be empty")
  const ranges = types.map((type) => requireMediaType("types", type, true))
  const charsets = options.charsets?.map((charset) => charset.toLowerCase())
  const refuse = (method: string, why?: { readonly charsets: ReadonlyArray<string> }) =>
    Effect.fail(new UnsupportedMediaType({ field: fields[method] ?? "accept", accepted: types, ...why }))
  const check = Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers, method }) => {
    const type = parseMediaType(headers["content-type"] ?? "")
    if (type === undefined || !ranges.some((range) => matches(range, type))) return refuse(method)
    return charsets === undefined || hasCharset(type, charsets) ? Effect.void : refuse(method, { charsets })
  })
  return Middleware.around<UnsupportedMediaType, HttpServerRequest.HttpServerRequest>(
    `ContentType(${types.join(", ")})`,
    (handler) => {
      const checked = Effect.andThen(check, handler)
      return Effect.flatMap(RequestBody.current, (body) => body === undefined ? handler : checked)
    },
    { response: "none" }
  )
}

const fields: Readonly<Record<string, UnsupportedMediaType["field"]>> = { POST: "accept-post", PATCH: "accept-patch" }

const hasCharset = (type: MediaType, charsets: ReadonlyArray<string>): boolean => {
  const charset = parameterOf(type, "charset")
  return charset === undefined || charsets.includes(charset)
}
