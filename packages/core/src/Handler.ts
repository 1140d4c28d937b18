/**
 * A handler is an Effect program that makes a response: what it needs is in `R`, what can go wrong is in `E`.
 *
 * **When to use** Write handlers as plain effects. The adapters here take in handlers that were written for something
 * else (an Express app, a `fetch` handler) and hand our app to it.
 *
 * **Gotchas** A Node handler writes to the connection itself. Head edits and observers work on what it writes; a middleware
 * that needs the response's value does not see it.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import type * as Effect from "effect/Effect"
import * as Effect_ from "effect/Effect"
import * as HttpEffect from "effect/http/HttpEffect"
import type { HttpServerError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { IncomingMessage, ServerResponse } from "node:http"
import * as App from "./App.ts"
import { nextKey, runNode } from "./internal/nodeHandler.ts"
import type * as Middleware from "./Middleware.ts"
import * as Route from "./Route.ts"

/**
 * An effect that makes a response.
 *
 * @category models
 * @since 0.1.0
 */
export type Handler<E = never, R = never> = Effect.Effect<HttpServerResponse, E, R>

/**
 * A handler in the style of Node, connect and Express. An Express app is one.
 *
 * @category models
 * @since 0.1.0
 */
export type NodeHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  next: (error?: unknown) => void
) => unknown

/**
 * Mounts a Node handler or an Express app. `next()` is a {@link Route.NotFound}; `next(error)`, a throw or a rejection is
 * answered with the error's `status` when that is a 4xx, and is a defect otherwise.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 *
 * const Legacy = Route.all("/legacy/*", Handler.fromNodeHandler((request, response) => {
 *   response.end(`still here: ${request.url}`)
 * }))
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromNodeHandler = (handler: NodeHandler): Handler<Route.NotFound, HttpServerRequest> =>
  Effect_.flatMap(
    runNode(handler),
    (response) => response === undefined ? Effect_.fail(new Route.NotFound({})) : Effect_.succeed(response)
  )

/**
 * Mounts a `fetch` handler. Its `Request` has the abort signal of the client's connection.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromWebHandler: (
  handler: (request: Request) => Promise<Response>
) => Handler<HttpServerError, HttpServerRequest> = HttpEffect.fromWebHandler

/**
 * Our app as a `fetch` handler, for as long as the scope is open.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Hello = Route.get("/", Effect.succeed(HttpServerResponse.text("hello")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello)
 *   const response = yield* Effect.promise(() => fetch(new Request("http://localhost/")))
 *   return yield* Effect.promise(() => response.text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => hello
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const toWebHandler = <A, E, R, Edge extends Middleware.Any = Middleware.Middleware>(
  routes: Layer.Layer<A, E, R> & App.Check<Edge, R>,
  options: App.Options<Edge> = {}
): Effect.Effect<(request: Request) => Promise<Response>, E, Scope.Scope | App.Needs<Edge, R>> =>
  Effect_.map(
    App.build(routes, options),
    ({ context, program }) => HttpEffect.toWebHandlerWith<never, HttpServerRequest | Scope.Scope>(context)(program)
  )

/**
 * Our app as a Node handler, to mount in Express, connect or a server of your own, for as long as the scope is open. A
 * path that no route has goes to `next` when there is one; the edge is around that, too.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toNodeHandler = <A, E, R, Edge extends Middleware.Any = Middleware.Middleware>(
  routes: Layer.Layer<A, E, R> & App.Check<Edge, R>,
  options: App.Options<Edge> = {}
): Effect.Effect<
  (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void) => void,
  E,
  Scope.Scope | App.Needs<Edge, R>
> =>
  Effect_.gen(function*() {
    const scope = yield* Effect_.scope
    const { context, program } = yield* App.build(routes, { ...options, notFound: handOver })
    // Sound: the handler itself provides the request and its scope.
    const make = NodeHttpServer.makeHandler(program, { scope }) as Effect.Effect<
      (request: IncomingMessage, response: ServerResponse) => void
    >
    const handler = yield* Effect_.provideContext(make, context)
    return (request: IncomingMessage & { [nextKey]?: (error?: unknown) => void }, response, next) => {
      if (next !== undefined) request[nextKey] = next
      handler(request, response)
    }
  })

/** Lets the host's next handler answer, and waits for it. */
const handOver: Handler<Route.NotFound, HttpServerRequest> = fromNodeHandler(
  (request: IncomingMessage & { [nextKey]?: (error?: unknown) => void }, _, notFound) =>
    (request[nextKey] ?? notFound)()
)
