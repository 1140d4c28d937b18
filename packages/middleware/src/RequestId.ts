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
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
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
      Effect.flatMap(
        Exchange.current,
        (exchange) => Effect.flatMap(identify(exchange), (id) => withId(handler, header, id))
      ),
    { response: "head" }
  )
}

const grammar = /^[\w.\-=]{1,128}$/

const identifier = <R>(header: string, options: Options<R>) => {
  const trusts = trustOf(options.trust)
  const generate: Effect.Effect<string, never, R> = options.generate === undefined
    ? generated
    : Effect.flatMap(options.generate, checked)
  return (exchange: Exchange.Exchange): Effect.Effect<string, never, R> => {
    const known = requestIdOf(exchange)
    if (known !== undefined) return Effect.succeed(known)
    const sent = sentBy(exchange, header)
    if (sent === undefined) return generate
    return Effect.flatMap(trusts(exchange), (trusted) => trusted ? Effect.succeed(sent) : generate)
  }
}

/** The id in the request: one line, well formed. */
const sentBy = (exchange: Exchange.Exchange, header: string): string | undefined => {
  const lines = Fields.getAll(exchange.requestFields, header)
  return lines.length === 1 && grammar.test(lines[0]) ? lines[0] : undefined
}

const trustOf = (trust: Options["trust"]): (exchange: Exchange.Exchange) => Effect.Effect<boolean> => {
  if (typeof trust === "function") return (exchange) => Effect.sync(() => trust(exchange))
  const peers = trust === undefined ? TrustedPeers.TrustedPeers : Effect.succeed(trust)
  return (exchange) => Effect.map(peers, (peers) => peers.peer(exchange.peerAddress).trusted)
}

const generated: Effect.Effect<string> = Effect.map(Clock.currentTimeMillis, uuid7)

const checked = (id: string): Effect.Effect<string> =>
  grammar.test(id)
    ? Effect.succeed(id)
    : Effect.die(new RangeError(`generate must make an id that matches ${grammar.source}, got ${JSON.stringify(id)}`))

const withId = <E, R>(
  handler: Handler<E, R>,
  header: string,
  id: string
): Handler<E, Exclude<R, RequestId> | HttpServerRequest> =>
  Effect.gen(function*() {
    yield* Exchange.annotate(requestIdKey, id)
    yield* Exchange.editHead((head) => head.set(header, id))
    yield* Effect.annotateCurrentSpan(requestIdKey, id)
    const identified = Effect.annotateLogs(Effect.provideService(handler, RequestId, id), requestIdKey, id)
    return yield* OutgoingFields.add(identified, header, id)
  })
