/**
 * Routes: a method, a path, a stack and a handler, in one line, as a layer.
 *
 * **When to use** Declare routes with {@link get}, {@link post}, …, or with {@link group} for a prefix and a shared stack;
 * merge the layers and give them to `Server.layer`. Effect's own routes and `HttpApi` layers merge with them.
 *
 * **Details** Nothing leaves without a response: a handler whose errors have none, or whose per-request services nobody
 * provides, does not compile. A stack is bound to its route, so a policy in it holds for every spelling of a path that the
 * router accepts (`//admin`, `/%61dmin`). The server answers a known path with a wrong method with 405 and a sorted
 * `Allow` (RFC 9110, 15.5.6), `OPTIONS` with 204, and `HEAD` from `GET`.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import type * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import type { Handler } from "./Handler.ts"
import { exchangeOf } from "./internal/attach.ts"
import type { ExchangeState } from "./internal/exchangeState.ts"
import { markingItself } from "./internal/router.ts"
import * as Middleware from "./Middleware.ts"
import * as Problem from "./Problem.ts"
import type { PerRequest } from "./RequestService.ts"

/**
 * A method a route can be registered for; `*` is any.
 *
 * @category models
 * @since 0.1.0
 */
export type Method = "*" | "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | "QUERY"

/**
 * A path template: `/orders/:id`, `/files/*`.
 *
 * @category models
 * @since 0.1.0
 */
export type Path = HttpRouter.PathInput

/**
 * What every request has, whatever the middleware.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Ambient = HttpRouter.Provided

/**
 * The errors of `E` that have no response.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Unrendered<E> = E extends HttpServerRespondable.Respondable | Schema.SchemaError | Cause.NoSuchElementError
  ? never
  : E

type Unprovided<M extends Middleware.Any, R, Below extends Middleware.Any> = Exclude<
  Extract<Exclude<R, Middleware.Provides<M>> | Middleware.Requires<M>, PerRequest>,
  Ambient | Middleware.Provides<Below>
>

type Errors<M extends Middleware.Any, E> = Exclude<E, Middleware.Handles<M>> | Middleware.Fails<M>
type Needs<M extends Middleware.Any, R> = Exclude<Exclude<R, Middleware.Provides<M>> | Middleware.Requires<M>, Ambient>

/**
 * What a handler must satisfy to be mounted under the stack `M`, itself below `Below`.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Check<M extends Middleware.Any, E, R, Below extends Middleware.Any = Middleware.Middleware> =
  Middleware.IsAny<M> extends true ? unknown : Checked<M, E, R, Below>

type Checked<M extends Middleware.Any, E, R, Below extends Middleware.Any> =
  & ([Unrendered<Exclude<Errors<M, E>, Middleware.Handles<Below>>>] extends [never] ? unknown
    : { readonly "these errors have no response": Unrendered<Exclude<Errors<M, E>, Middleware.Handles<Below>>> })
  & ([Unprovided<M, R, Below>] extends [never] ? unknown
    : { readonly "no middleware provides": Unprovided<M, R, Below> })

/**
 * The layer of a route: what it still needs from the application and the server's edge is in its type.
 *
 * @category models
 * @since 0.1.0
 */
export type Route<M extends Middleware.Any, E, R> = Layer.Layer<
  never,
  never,
  | HttpRouter.HttpRouter
  | HttpRouter.Request.From<"Requires", Needs<M, R>>
  | HttpRouter.Request.From<"Error", Errors<M, E>>
>

/**
 * Registers handlers for one method.
 *
 * @category models
 * @since 0.1.0
 */
export interface Verb<Below extends Middleware.Any, Outer extends Middleware.Any> {
  <E, R>(path: Path, handler: Handler<E, R> & Check<Outer, E, R, Below>): Route<Outer, E, R>
  <M extends Middleware.Any, E, R>(
    path: Path,
    through: M,
    handler: Handler<E, R> & Check<Middleware.Compose<Outer, M>, E, R, Below>
  ): Route<Middleware.Compose<Outer, M>, E, R>
}

/**
 * The verbs of a group.
 *
 * @category models
 * @since 0.1.0
 */
export interface Verbs<Below extends Middleware.Any, Outer extends Middleware.Any> {
  readonly all: Verb<Below, Outer>
  readonly get: Verb<Below, Outer>
  readonly post: Verb<Below, Outer>
  readonly put: Verb<Below, Outer>
  readonly patch: Verb<Below, Outer>
  readonly del: Verb<Below, Outer>
  readonly options: Verb<Below, Outer>
  /** QUERY: a safe request with a body. */
  readonly query: Verb<Below, Outer>
  /** The same verbs under a further prefix and, inside this group's stack, a further one. */
  readonly group: {
    (prefix: Path): Verbs<Below, Outer>
    <M extends Middleware.Any>(prefix: Path, through: M): Verbs<Below, Middleware.Compose<Outer, M>>
  }
}

const makeVerbs = (prefix: string, outer: Middleware.Any): Verbs<Middleware.Middleware, Middleware.Middleware> => {
  const verb = (method: Method) =>
    // Sound: `Check` saw the real types of what is mounted here.
    ((path: Path, ...rest: [AnyHandler] | [Middleware.Any, AnyHandler]) => {
      const [through, handler] = rest.length === 1 ? [outer, rest[0]] : [Middleware.compose(outer, rest[0]), rest[1]]
      return mount(method, (prefix === "" ? path : HttpRouter.prefixPath(path, prefix)) as Path, through, handler)
    }) as Verb<Middleware.Middleware, Middleware.Middleware>
  return {
    all: verb("*"),
    get: verb("GET"),
    post: verb("POST"),
    put: verb("PUT"),
    patch: verb("PATCH"),
    del: verb("DELETE"),
    options: verb("OPTIONS"),
    query: verb("QUERY"),
    // Sound: as for the verbs.
    group:
      ((inner: Path, through: Middleware.Any = Middleware.identity) =>
        makeVerbs(HttpRouter.prefixPath(inner, prefix), Middleware.compose(outer, through))) as never
  }
}

type AnyHandler = Handler<unknown, unknown>

const mount = (method: Method, path: Path, through: Middleware.Any, handler: AnyHandler) => {
  const bare = through === Middleware.identity
  const pipeline: AnyHandler = bare ? handler : through(admitted(handler))
  return HttpRouter.add(
    method,
    path,
    markingItself(Effect.withFiber((fiber) => {
      const exchange = exchangeOf(Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest), fiber)
      exchange.route = path
      return bare ? admit(exchange, pipeline) : pipeline
    }))
  )
}

/** A body that is refused by what it declares is refused here, where the innermost middleware has had its say. */
const admitted = (handler: AnyHandler): AnyHandler =>
  Effect.withFiber((fiber) =>
    admit(exchangeOf(Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest), fiber), handler)
  )

const admit = ({ requestBody }: ExchangeState, handler: AnyHandler): AnyHandler => {
  const refusal = requestBody?.admit()
  return refusal === undefined ? handler : Effect.fail(refusal)
}

const verbs = makeVerbs("", Middleware.identity)

/**
 * A route for every method.
 *
 * @category constructors
 * @since 0.1.0
 */
export const all = verbs.all

/**
 * A route for GET and, unless there is a route of its own for it, HEAD.
 *
 * @example
 * ```ts
 * import { Route } from "@sluice/core"
 * import { Effect, Layer } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Hello = Route.get("/hello", Effect.succeed(HttpServerResponse.text("hello")))
 * console.log(Layer.isLayer(Hello)) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const get = verbs.get

/**
 * @category constructors
 * @since 0.1.0
 */
export const post = verbs.post

/**
 * @category constructors
 * @since 0.1.0
 */
export const put = verbs.put

/**
 * @category constructors
 * @since 0.1.0
 */
export const patch = verbs.patch

/**
 * A route for DELETE.
 *
 * @category constructors
 * @since 0.1.0
 */
export const del = verbs.del

/**
 * A route for OPTIONS, in place of the automatic answer.
 *
 * @category constructors
 * @since 0.1.0
 */
export const options = verbs.options

/**
 * A route for QUERY: a safe request with a body.
 *
 * @category constructors
 * @since 0.1.0
 */
export const query = verbs.query

/**
 * The verbs under a prefix and a shared stack.
 *
 * @category constructors
 * @since 0.1.0
 */
export const group = verbs.group

/**
 * The verbs for routes that count on what a server's edge provides and handles. `Server.layer` refuses such routes unless its
 * edge does provide it.
 *
 * @example
 * ```ts
 * import { Incident, Middleware, Route } from "@sluice/core"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const edge = Middleware.provide(Incident.Incident, Effect.sync(() => Incident.make().incident))
 * const route = Route.below(edge)
 *
 * const Flaky = route.get("/flaky", Effect.gen(function*() {
 *   const incident = yield* Incident.Incident
 *   yield* incident.note({ sku: "a-1" })
 *   return HttpServerResponse.empty({ status: 502 })
 * }))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const below = <Edge extends Middleware.Any>(_edge: Edge): Verbs<Edge, Middleware.Middleware> =>
  // Sound: `Below` only widens what `Check` accepts; the server's own check holds the caller to it.
  verbs as unknown as Verbs<Edge, Middleware.Middleware>

/**
 * No route has this path.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotFound extends Problem.TaggedError<NotFound>()("NotFound", { status: 404 }) {}

/**
 * A route has this path, but none with this method. The response lists those that exist in `Allow`.
 *
 * @category errors
 * @since 0.1.0
 */
export class MethodNotAllowed extends Problem.Opaque<{ readonly allow: ReadonlyArray<string> }>()("MethodNotAllowed", {
  status: 405,
  headers: ({ allow }) => ({ allow: allow.join(", ") })
}) {}
