/**
 * An id for every request: a typed service for handlers, a header field of the response, a field of every call made for
 * the request, and an annotation of its logs, its span, its access log line and its reports.
 *
 * **When to use** Near the edge, so that whatever happens below carries the id. Logs and reports of middleware above it
 * have it too: it is left with the exchange.
 *
 * **Details** An id that the client sends is kept only when the peer is trusted and the id matches `^[\w.\-=]{1,128}$`;
 * otherwise a UUID of version 7 is made, whose order is the order of arrival. The response field is a head edit, so
 * errors, 404s and proxied responses have it, and an upstream's own is replaced. Where a second `RequestId` stands further
 * in, it takes the id of the first.
 *
 * **Gotchas** With trust in nobody, which is the default, an id that a gateway of yours has made is replaced: name the
 * gateway with `TrustedPeers.layer`. A request that is refused before it reaches a pipeline (malformed, over a limit) has
 * no id.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9562#section-5.7
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import * as RequestService from "@sluice/core/RequestService"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as References from "effect/References"
import { requestIdKey, requestIdOf } from "./internal/attributes.ts"
import { requireFieldName } from "./internal/options.ts"
import { uuid7 } from "./internal/uuid7.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<R = never> {
  /** The field, of requests, responses and outgoing calls. @default "x-request-id" */
  readonly header?: string
  /** Whose ids are kept. @default the application's `TrustedPeers`, which is nobody unless a layer says otherwise */
  readonly trust?: TrustedPeers.TrustedPeers | ((exchange: Exchange.Exchange) => boolean)
  /** Makes an id; one that does not match `^[\w.\-=]{1,128}$` is a defect. @default a UUID of version 7, on Effect's clock */
  readonly generate?: Effect.Effect<string, never, R>
}

/**
 * The id of the request that is being handled.
 *
 * @category services
 * @since 0.1.0
 */
export class RequestId extends RequestService.Service<RequestId, string>()("@sluice/middleware/RequestId") {}

/**
 * Provides {@link RequestId}.
 *
 * **Details** Throws a `RangeError` when `header` is not the name of a field.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { RequestId } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Hello = Route.get("/", RequestId.make(), Effect.map(RequestId.RequestId, (id) => HttpServerResponse.text(id)))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello)
 *   const response = yield* Effect.promise(() => fetch(new Request("http://localhost/")))
 *   return response.headers.get("x-request-id") === (yield* Effect.promise(() => response.text()))
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R = never>(
  options: Options<R> = {}
): Middleware.Middleware<RequestId, never, R | HttpServerRequest> => {
  const header = requireFieldName("header", options.header ?? "x-request-id")
  const identify = identifier(header, options)
  return Middleware.make<RequestId, never, R | HttpServerRequest>(
    "RequestId",
    (handler) =>
      Effect.withFiber((fiber) => {
        const id = identify(Exchange.currentUnsafe(fiber), fiber.context)
        return typeof id === "string"
          ? withId(handler, fiber, header, id)
          : Effect.flatMap(id, (id) => withId(handler, fiber, header, id))
      }),
    { response: "head" }
  )
}

const grammar = /^[\w.\-=]{1,128}$/

/** The id, or what makes it. */
const identifier = <R>(header: string, options: Options<R>) => {
  const trusts = trustOf(options.trust)
  const generate = options.generate === undefined ? undefined : Effect.flatMap(options.generate, checked)
  return (exchange: Exchange.Exchange, context: Context.Context<never>): string | Effect.Effect<string, never, R> => {
    const known = requestIdOf(exchange)
    if (known !== undefined) return known
    const sent = sentBy(exchange, header)
    if (sent !== undefined && trusts(exchange, context)) return sent
    return generate ?? uuid7(Context.get(context, Clock.Clock).currentTimeMillisUnsafe())
  }
}

/** The id in the request: one line, well formed. */
const sentBy = (exchange: Exchange.Exchange, header: string): string | undefined => {
  const lines = Fields.getAll(exchange.requestFields, header)
  return lines.length === 1 && grammar.test(lines[0]) ? lines[0] : undefined
}

const trustOf =
  (trust: Options["trust"]) => (exchange: Exchange.Exchange, context: Context.Context<never>): boolean => {
    if (typeof trust === "function") return trust(exchange)
    return (trust ?? Context.get(context, TrustedPeers.TrustedPeers)).peer(exchange.peerAddress).trusted
  }

const checked = (id: string): Effect.Effect<string> =>
  grammar.test(id)
    ? Effect.succeed(id)
    : Effect.die(new RangeError(`generate must make an id that matches ${grammar.source}, got ${JSON.stringify(id)}`))

const withId = <E, R>(
  handler: Handler<E, R>,
  fiber: Fiber.Fiber<unknown, unknown>,
  header: string,
  id: string
): Handler<E, Exclude<R, RequestId> | HttpServerRequest> => {
  const exchange = Exchange.currentUnsafe(fiber)
  Exchange.annotateUnsafe(exchange, requestIdKey, id)
  Exchange.editHeadUnsafe(exchange, (head) => head.set(header, id))
  // One step for the three, since each would be a frame of the fiber's stack.
  const identified = Effect.updateContext(
    handler,
    (context: Context.Context<Exclude<R, RequestId>>) =>
      // Sound: it has the one service that it did not have.
      withServices(context, header, id) as Context.Context<R>
  )
  return fiber.cache.span === undefined
    ? identified
    : Effect.andThen(Effect.annotateCurrentSpan(requestIdKey, id), identified)
}

const withServices = <R>(context: Context.Context<R>, header: string, id: string): Context.Context<R | RequestId> => {
  const annotations = { ...Context.get(context, References.CurrentLogAnnotations), [requestIdKey]: id }
  const outgoing = Fields.set(Context.get(context, OutgoingFields.Current), header, id)
  return context.pipe(
    Context.add(RequestId, id),
    Context.add(References.CurrentLogAnnotations, annotations),
    Context.add(OutgoingFields.Current, outgoing)
  )
}
