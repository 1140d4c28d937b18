/**
 * Which of the media types that a route can answer with the client wants.
 *
 * **When to use** Around handlers that have several representations: the choice is a service, so a handler that forgets the
 * middleware does not compile.
 *
 * **Details** The client's weights decide (RFC 9110, 12.5.1), of which the most specific range that a type is in counts; among
 * equals the order of the list does. Without an `Accept` that can be read it is the first. When the client accepts none of
 * them the request fails with {@link NotAcceptable} before the handler runs. Each response says `Vary: Accept`.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as RequestService from "@sluice/core/RequestService"
import type { ResponseHead } from "@sluice/core/ResponseHead"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Schema from "effect/Schema"
import { parseAccept, requireMediaType, weightOf } from "./internal/mediaTypes.ts"
import { provided } from "./internal/provided.ts"
import { addVary } from "./internal/vary.ts"

/**
 * The client accepts none of the media types that there are: 406, with a list of them.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotAcceptable extends Problem.TaggedError<NotAcceptable>()("NotAcceptable", { status: 406 }, {
  available: Schema.Array(Schema.String)
}) {}

/**
 * The media type that was chosen, as it stands in the list of {@link make}.
 *
 * @category services
 * @since 0.1.0
 */
export class MediaType extends RequestService.Service<MediaType, string>()("@sluice/middleware/Accept/MediaType") {}

/**
 * Chooses one of the types and provides it as {@link MediaType}.
 *
 * **Details** Throws a `RangeError` when one of them can't be a media type, or there is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  types: ReadonlyArray<string>
): Middleware.Middleware<MediaType, NotAcceptable, HttpServerRequest> => provide(MediaType, types)

/**
 * {@link make} with a service of your own, whose type says which media types there are.
 *
 * @example
 * ```ts
 * import { Handler, RequestService, Route } from "@sluice/core"
 * import { Accept } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * class Format extends RequestService.Service<Format, "application/json" | "text/html">()("app/Format") {}
 *
 * const Price = Route.get("/price", Accept.provide(Format, ["application/json", "text/html"]), Effect.gen(function*() {
 *   const format = yield* Format
 *   return format === "text/html" ? HttpServerResponse.html("<p>9</p>") : HttpServerResponse.jsonUnsafe({ price: 9 })
 * }))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Price)
 *   const request = new Request("http://localhost/price", { headers: { accept: "text/*, application/json;q=0.5" } })
 *   return yield* Effect.promise(async () => (await fetch(request)).text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => <p>9</p>
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const provide = <I, const S extends string>(
  service: Context.Key<I, S>,
  types: ReadonlyArray<NoInfer<S>>
): Middleware.Middleware<I, NotAcceptable, HttpServerRequest> => {
  if (types.length === 0) throw new RangeError("types must not be empty")
  const offers = types.map((name) => ({ name, type: requireMediaType("types", name) }))
  const choose = (field: string): S | undefined => {
    const accepted = parseAccept(field)
    let best: S | undefined
    let most = 0
    for (const { name, type } of offers) {
      const weight = weightOf(accepted, type)
      if (weight <= most) continue
      best = name
      most = weight
    }
    return best
  }
  return Middleware.make<I, NotAcceptable, HttpServerRequest>(
    `Accept(${types.join(", ")})`,
    <E, R>(handler: Handler<E, R>) =>
      Effect.withFiber((fiber): Handler<E | NotAcceptable, Exclude<R, I>> => {
        const exchange = Exchange.currentUnsafe(fiber)
        Exchange.editHeadUnsafe(exchange, vary)
        const best = choose(Fields.getAll(exchange.requestFields, "accept").join(", "))
        return best === undefined
          ? Effect.fail(new NotAcceptable({ available: types }))
          : provided(handler, service, best)
      }),
    { response: "head" }
  )
}

const vary = (head: ResponseHead): void => addVary(head, "Accept")
