/**
 * Routes and an edge as one program, before anything serves it.
 *
 * **When to use** `Server.layer`, `Handler.toWebHandler`, `Handler.toNodeHandler` and the test kit take the same two things, a
 * layer of routes and an edge; the types here say what these must satisfy together. {@link build} is for a platform of
 * your own.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Handler } from "./Handler.ts"
import * as Program from "./internal/program.ts"
import * as Router from "./internal/router.ts"
import * as Middleware from "./Middleware.ts"
import type { PerRequest } from "./RequestService.ts"
import * as Route from "./Route.ts"

type Requested<R> = HttpRouter.Request.Only<"Requires", R> | HttpRouter.Request.Only<"GlobalRequires", R>
type Failing<R> = HttpRouter.Request.Only<"Error", R> | HttpRouter.Request.Only<"GlobalError", R>

type Unprovided<Edge extends Middleware.Any, R> = Extract<
  Exclude<Requested<R>, Middleware.Provides<Edge>> | Middleware.Requires<Edge>,
  PerRequest
>

type Unrendered<Edge extends Middleware.Any, R> = Route.Unrendered<
  Exclude<Failing<R>, Middleware.Handles<Edge>> | Middleware.Fails<Edge>
>

/**
 * What routes and edge must satisfy together: every per-request service has a provider, every error a response.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Check<Edge extends Middleware.Any, R> =
  & ([Unprovided<Edge, R>] extends [never] ? unknown : { readonly "no middleware provides": Unprovided<Edge, R> })
  & ([Unrendered<Edge, R>] extends [never] ? unknown
    : { readonly "these errors have no response": Unrendered<Edge, R> })

/**
 * What the two ask of the application.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Needs<Edge extends Middleware.Any, R> =
  | Exclude<HttpRouter.Request.Without<R>, HttpRouter.HttpRouter>
  | Exclude<Requested<R>, Middleware.Provides<Edge> | Route.Ambient>
  | Exclude<Middleware.Requires<Edge>, Route.Ambient>

/**
 * Settings of an app.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Edge extends Middleware.Any> {
  /** The stack around everything: routes, 404s and 405s. @default no middleware */
  readonly edge?: Edge
}

/**
 * Settings that platforms add to an app's.
 *
 * @category models
 * @since 0.1.0
 */
export interface BuildOptions<Edge extends Middleware.Any, R2> extends Options<Edge> {
  /** Handlers by path that are answered outside the edge. @default none */
  readonly direct?: ReadonlyMap<string, Handler<never, R2>>
  /** What answers a path that no route has. @default a 404 problem */
  readonly notFound?: Handler<unknown, HttpServerRequest>
}

/**
 * An app that is built: every request is a run of `program`, which always makes a response.
 *
 * @category models
 * @since 0.1.0
 */
export interface App {
  readonly program: Handler<never, HttpServerRequest | Scope.Scope>
  /** The edge's observers, for requests that never reach the program. */
  readonly observers: ReadonlyArray<Middleware.Observer>
  /** The services that the routes were built with, to run the program in. */
  readonly context: Context.Context<never>
}

/**
 * Builds the routes in the current scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const build = <A, E, R, Edge extends Middleware.Any = Middleware.Middleware, R2 = never>(
  routes: Layer.Layer<A, E, R> & Check<Edge, R>,
  options: BuildOptions<Edge, R2> = {}
): Effect.Effect<App, E, Scope.Scope | R2 | Needs<Edge, R>> => {
  const edge: Middleware.Any = options.edge ?? Middleware.identity
  const built = Effect.gen(function*() {
    // Sound: `Check` and `Needs` say of the whole what Effect's request markers in `R` say of its parts.
    const layer = Layer.provideMerge(
      routes as unknown as Layer.Layer<A, E, HttpRouter.HttpRouter>,
      Layer.fresh(Router.layer)
    )
    const context = yield* Layer.build(layer)
    const program = Program.make({
      router: Context.get(context, HttpRouter.HttpRouter),
      methods: Context.get(context, Router.MethodTable),
      edge,
      direct: options.direct ?? new Map(),
      notFound: options.notFound ?? Effect.fail(new Route.NotFound({}))
    })
    return {
      program,
      observers: edge.observers,
      context: Context.merge(yield* Effect.context<never>(), context)
    }
  })
  // Sound: as above; the context of the caller holds what `Needs` asks for.
  return built as unknown as Effect.Effect<App, E, Scope.Scope | R2 | Needs<Edge, R>>
}
