/**
 * Middleware as values: what each provides, may fail with, requires and handles is in its type.
 *
 * **When to use** Write one with {@link provide} (a service for the handlers below), {@link handle} (an error becomes a
 * response), {@link head} (fields of whatever response leaves), {@link observe} (what was written) or {@link around}
 * (anything). Put them in order with {@link stack} and mount the stack with `Route` or as the server's edge.
 *
 * **Details** A middleware is a function from handler to handler, so `pipe` works too. Under {@link compose} they form a
 * monoid with {@link identity}. `stack(a, b, c)` sends requests through `a`, then `b`, then `c`, and responses back; the
 * order never depends on how or when a middleware was built.
 *
 * **Gotchas** `stack` refuses a middleware that needs a per-request service which only a later one provides. Two error
 * classes of the same shape can't be told apart by the compiler; give each a tag of its own.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as Layer from "effect/Layer"
import * as Layer_ from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Exchange from "./Exchange.ts"
import type { Handler, NodeHandler } from "./Handler.ts"
import { exchangeOf } from "./internal/attach.ts"
import { routerMiddlewareOf } from "./internal/effectRouter.ts"
import { runNode } from "./internal/nodeHandler.ts"
import type { PerRequest } from "./RequestService.ts"
import type { HeadEdit } from "./ResponseHead.ts"

/**
 * What a middleware may do to the response: nothing, edit its head while it is written, or read and replace its value.
 * A proxied response can stream past only those that don't need the value.
 *
 * @category models
 * @since 0.1.0
 */
export type ResponseAccess = "none" | "head" | "value"

/**
 * Called with each exchange that ends and the services of whoever observes it; returns what is left to be done, if anything is.
 *
 * @category models
 * @since 0.1.0
 */
export type Observer<Q = never> = (
  exchange: Exchange.Ended,
  context: Context.Context<Q>
) => Effect.Effect<void, never, Q> | undefined

/**
 * A middleware that provides `P`, may fail with `X`, requires `Q` and handles `H`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Middleware<out P = never, out X = never, out Q = never, out H = never> {
  <E, R>(handler: Handler<E, R>): Handler<Exclude<E, H> | X, Exclude<R, P> | Q>
  /** How it is called in a printed pipeline; a stack's is `a > b > c`. */
  readonly label: string
  /** The labels of its parts, outermost first. */
  readonly labels: ReadonlyArray<string>
  /** The most that any part of it does to the response. */
  readonly response: ResponseAccess
  /** The observers in it, outermost first, for exchanges that never reach a pipeline. */
  readonly observers: ReadonlyArray<Observer<Q>>
  readonly "~sluice/Middleware": { readonly P: P; readonly X: X; readonly Q: Q; readonly H: H }
}

/**
 * Any middleware.
 *
 * @category models
 * @since 0.1.0
 */
// oxlint-disable-next-line no-explicit-any -- the four parameters are covariant: `any` only says "whatever they are"
export type Any = Middleware<any, any, any, any>

/**
 * What a middleware provides.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Provides<M extends Any> = M["~sluice/Middleware"]["P"]

/**
 * What a middleware may fail with.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Fails<M extends Any> = M["~sluice/Middleware"]["X"]

/**
 * What a middleware requires.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Requires<M extends Any> = M["~sluice/Middleware"]["Q"]

/**
 * What a middleware handles.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Handles<M extends Any> = M["~sluice/Middleware"]["H"]

/**
 * Whether nothing is known of a middleware. The compiler first looks at a call with those arguments left out that are
 * calls themselves, so checks must accept {@link Any} for `Route.get("/", Middleware.head(…), handler)` to be looked at again.
 *
 * @category type-level
 * @since 0.1.0
 */
export type IsAny<M extends Any> = 0 extends 1 & Requires<M> ? true : false

/**
 * Settings of {@link make} and {@link around}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What it may do to the response. Saying less than it does loses its changes on streamed responses. @default "value" */
  readonly response?: ResponseAccess
}

type AnyHandler = Handler<unknown, unknown>
type Run = (handler: AnyHandler) => AnyHandler

const construct = <P, X, Q, H>(
  labels: ReadonlyArray<string>,
  response: ResponseAccess,
  observers: ReadonlyArray<Observer<Q>>,
  run: Run
): Middleware<P, X, Q, H> => {
  const middleware = (handler: AnyHandler) => run(handler)
  // Sound: the types say what `run` does, which each constructor's own signature ensures.
  return Object.assign(middleware, { label: labels.join(" > "), labels, response, observers }) as unknown as Middleware<
    P,
    X,
    Q,
    H
  >
}

/**
 * A middleware that changes the handler's types: `make<P, X, Q, H>("name", (handler) => …)`. The other constructors
 * derive the parameters; here they are claimed, so prefer those.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <P = never, X = never, Q = never, H = never>(
  label: string,
  f: <E, R>(handler: Handler<E, R>) => Handler<Exclude<E, H> | X, Exclude<R, P> | Q>,
  options: Options = {}
): Middleware<P, X, Q, H> => {
  const response = options.response ?? "value"
  // Sound: `f` is polymorphic in both.
  const run = f as Run
  return construct([label], response, [], response === "value" ? (handler) => needingValue(run(handler)) : run)
}

/** Tells the handler that its response's value is going to be read. */
const needingValue = (handler: AnyHandler): AnyHandler =>
  Effect.withFiber((fiber) => {
    const request = Context.getOrUndefined(fiber.context, HttpServerRequest.HttpServerRequest)
    if (request !== undefined) exchangeOf(request, fiber).valueNeeded = true
    return handler
  })

/**
 * A middleware around the handler, which it can't take anything away from: it may add failures and requirements.
 *
 * @example
 * ```ts
 * import { Middleware } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * const slow = Middleware.around("slow", (handler) => Effect.delay(handler, "100 millis"), { response: "none" })
 * console.log(slow.label) // => slow
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const around = <X = never, Q = never>(
  label: string,
  f: <E, R>(handler: Handler<E, R>) => Handler<E | X, R | Q>,
  options: Options = {}
): Middleware<never, X, Q, never> => make<never, X, Q, never>(label, f, options)

/**
 * Provides a per-request service that is computed before the handler runs; a failure of it is the middleware's.
 *
 * @category constructors
 * @since 0.1.0
 */
export const provide = <I, S, X, Q>(
  service: Context.Key<I, S>,
  build: Effect.Effect<NoInfer<S>, X, Q>
): Middleware<I, X, Q, never> =>
  construct([`provide(${service.key})`], "none", [], (handler) =>
    // Sound: a request's fiber has the services that the signature asks for. `provideService` would make closures at each call.
    Effect.flatMap(
      build as Effect.Effect<S, X>,
      (value) => Effect.updateContext(handler, (context) => Context.add(context, service, value))
    ))

/**
 * Turns one typed error into a response. The error stays the exchange's cause, so a 5xx made of it is reported with it.
 *
 * @example
 * ```ts
 * import { Middleware } from "@sluice/core"
 * import { Data, Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * class OutOfStock extends Data.TaggedError("OutOfStock")<{ readonly sku: string }> {}
 *
 * const soldOut = Middleware.handle(OutOfStock, (error) =>
 *   Effect.succeed(HttpServerResponse.text(`no ${error.sku} left`, { status: 409 })))
 * console.log(soldOut.label) // => handle(OutOfStock)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const handle = <C extends abstract new(...args: never) => unknown, X = never, Q = never>(
  error: C,
  f: (error: InstanceType<C>) => Handler<X, Q>
): Middleware<never, X, Q | HttpServerRequest.HttpServerRequest, InstanceType<C>> =>
  construct([`handle(${error.name})`], "none", [], (handler) =>
    Effect.catchIf(
      handler,
      (e): e is InstanceType<C> => e instanceof error,
      // Sound: as above, a request's fiber has what `f` asks for.
      (e) => Effect.andThen(noteCause(Cause.fail(e)), f(e) as AnyHandler)
    ))

const noteCause = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const request = Context.getOrUndefined(fiber.context, HttpServerRequest.HttpServerRequest)
    if (request !== undefined) exchangeOf(request, fiber).noteCause(cause)
    return Effect.void
  })

/**
 * Edits the head of the response that leaves, whatever it is: a value, a proxied response, an error. The edit is computed
 * before the handler runs and applied while the head is written. Edits of an inner middleware run before those of an outer one.
 *
 * @example
 * ```ts
 * import { Middleware } from "@sluice/core"
 *
 * const nosniff = Middleware.head("nosniff", (head) => head.set("x-content-type-options", "nosniff"))
 * console.log(nosniff.response) // => head
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const head = <X = never, Q = never>(
  label: string,
  edit: HeadEdit | Effect.Effect<HeadEdit, X, Q>
): Middleware<never, X, Q | HttpServerRequest.HttpServerRequest, never> =>
  construct([label], "head", [], (handler) =>
    Effect.isEffect(edit)
      // Sound: as above.
      ? Effect.flatMap(edit as Effect.Effect<HeadEdit, X>, (edit) => withEdit(handler, edit))
      : withEdit(handler, edit))

const withEdit = (handler: AnyHandler, edit: HeadEdit): AnyHandler =>
  Effect.withFiber((fiber) => {
    exchangeOf(Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest), fiber).addHeadEdit(edit)
    return handler
  })

/**
 * Refuses an observer that needs per-request services: malformed requests have none.
 *
 * @category type-level
 * @since 0.1.0
 */
export type ObserverOnly<Q> = [Extract<Q, PerRequest>] extends [never] ? unknown
  : { readonly "an observer reads the exchange, not the per-request service": Extract<Q, PerRequest> }

/**
 * Calls `f` with every exchange that passes, once, after its last byte was written or its connection was lost. It runs
 * apart from the request: it delays nothing, and a failure in it is logged and changes nothing.
 *
 * **Details** At a server's edge it also sees the requests that never reach a pipeline (malformed, over a limit).
 *
 * @example
 * ```ts
 * import { Middleware } from "@sluice/core"
 * import { Console } from "effect"
 *
 * const log = Middleware.observe("log", ({ method, outcome, path, status }) =>
 *   Console.log(method, path, status, outcome._tag))
 * console.log(log.observers.length) // => 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const observe = <Q = never>(
  label: string,
  f: ((exchange: Exchange.Ended) => Effect.Effect<void, never, Q>) & ObserverOnly<Q>
): Middleware<never, never, Q | HttpServerRequest.HttpServerRequest, never> => {
  const run: (exchange: Exchange.Ended) => Effect.Effect<void, never, Q> = f
  return observing<Q>(label, (exchange) => Effect.suspend(() => run(exchange)))
}

/**
 * {@link observe} as a plain call, for what is done at once: it costs no fiber.
 *
 * **Details** `f` is given the services that it asks for. What it returns, if anything, is run as an effect of its own;
 * what it throws is logged.
 *
 * @example
 * ```ts
 * import { Middleware } from "@sluice/core"
 *
 * const statuses: Array<number | undefined> = []
 * const collect = Middleware.observeUnsafe("collect", ({ status }) => {
 *   statuses.push(status)
 *   return undefined
 * })
 * console.log(collect.label) // => collect
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const observeUnsafe = <Q = never>(
  label: string,
  f: Observer<Q> & ObserverOnly<Q>
): Middleware<never, never, Q | HttpServerRequest.HttpServerRequest, never> => observing<Q>(label, f)

const observing = <Q>(
  label: string,
  observe: Observer<Q>
): Middleware<never, never, Q | HttpServerRequest.HttpServerRequest, never> =>
  construct([label], "none", [observe], (handler) =>
    Effect.withFiber((fiber) => {
      const request = Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
      // Sound: the context registered here has the services that `observe` asks for.
      exchangeOf(request, fiber).addObserver({ observe: observe as Observer, context: fiber.context })
      return handler
    }))

/**
 * The middleware that does nothing: `compose(identity, m)` and `compose(m, identity)` are `m`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const identity: Middleware = construct([], "none", [], (handler) => handler)

/**
 * The type of two middleware, one around the other.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Compose<Outer extends Any, Inner extends Any> = Middleware<
  Provides<Outer> | Provides<Inner>,
  Exclude<Fails<Inner>, Handles<Outer>> | Fails<Outer>,
  Exclude<Requires<Inner>, Provides<Outer>> | Requires<Outer>,
  Handles<Outer> | Handles<Inner>
>

/**
 * The type of a stack, outermost first.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Stack<Ms extends ReadonlyArray<Any>> = Ms extends
  readonly [infer A extends Any, ...infer Rest extends ReadonlyArray<Any>]
  ? Rest extends readonly [] ? A : Compose<A, Stack<Rest>>
  : IsAny<Ms[number]> extends true ? Any
  : Middleware

/**
 * Puts an error at the first middleware that needs a per-request service which nothing above it provides.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Ordered<Ms extends ReadonlyArray<Any>, Above = never> = Ms extends
  readonly [infer A extends Any, ...infer Rest extends ReadonlyArray<Any>]
  ? [Exclude<Extract<Requires<A>, PerRequest>, Above>] extends [never]
    ? readonly [A, ...Ordered<Rest, Above | Provides<A>>]
  : readonly [
    { readonly "needs a middleware ABOVE it that provides": Exclude<Extract<Requires<A>, PerRequest>, Above> },
    ...Rest
  ]
  : IsAny<Ms[number]> extends true ? Ms
  : readonly []

/**
 * One middleware around another, without the check of {@link stack}: what the pair still needs stays in its type, and
 * `Route` checks again.
 *
 * @category combinators
 * @since 0.1.0
 */
export const compose = <Outer extends Any, Inner extends Any>(outer: Outer, inner: Inner): Compose<Outer, Inner> =>
  composeAll([outer, inner])

/**
 * Middleware in the order in which requests travel: outermost first.
 *
 * @category combinators
 * @since 0.1.0
 */
export const stack = <const Ms extends ReadonlyArray<Any>>(...middleware: Ms & Ordered<Ms>): Stack<Ms> =>
  composeAll(middleware as ReadonlyArray<Any>)

/**
 * The same middleware under a name of its own, for one that is made of others: in a printed pipeline it is one part.
 *
 * @example
 * ```ts
 * import { Middleware } from "@sluice/core"
 *
 * const nosniff = Middleware.head("nosniff", (head) => head.set("x-content-type-options", "nosniff"))
 * const noReferrer = Middleware.head("no-referrer", (head) => head.set("referrer-policy", "no-referrer"))
 * console.log(Middleware.named("safe", Middleware.stack(nosniff, noReferrer)).label) // => safe
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const named = <P, X, Q, H>(label: string, self: Middleware<P, X, Q, H>): Middleware<P, X, Q, H> =>
  construct([label], self.response, self.observers, self as Run)

const rank: { readonly [A in ResponseAccess]: number } = { none: 0, head: 1, value: 2 }

const composeAll = <M>(parts: ReadonlyArray<Any>): M =>
  construct(
    parts.flatMap((part) => part.labels),
    parts.reduce<ResponseAccess>((most, part) => rank[part.response] > rank[most] ? part.response : most, "none"),
    parts.flatMap((part) => part.observers),
    (handler) => parts.reduceRight((inner: AnyHandler, part) => part(inner), handler)
    // Sound: the callers' return types are computed from the same parts.
  ) as unknown as M

/**
 * Applies a middleware to the requests that satisfy the predicate. It must neither provide nor handle anything: on the
 * other requests that would not be true.
 *
 * @category combinators
 * @since 0.1.0
 */
export const when = <X, Q, X2 = never, Q2 = never>(
  predicate: (request: HttpServerRequest.HttpServerRequest) => boolean | Effect.Effect<boolean, X2, Q2>,
  middleware: Middleware<never, X, Q, never>
): Middleware<never, X | X2, Q | Q2 | HttpServerRequest.HttpServerRequest, never> =>
  construct([`when(${middleware.label})`], middleware.response, middleware.observers, (handler) => {
    const through: AnyHandler = middleware(handler)
    return Effect.withFiber((fiber) => {
      const verdict = predicate(Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest))
      if (typeof verdict === "boolean") return verdict ? through : handler
      // Sound: as above.
      return Effect.flatMap(verdict as Effect.Effect<boolean, X2>, (yes) => yes ? through : handler)
    })
  })

/**
 * The type of a choice among middleware: it provides and handles what every one of them does, and may fail with and
 * require what any of them does.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Choice<Ms extends ReadonlyArray<Any>> = Ms extends
  readonly [infer A extends Any, ...infer Rest extends ReadonlyArray<Any>] ? Rest extends readonly [] ? A
  : Middleware<
    Extract<Provides<A>, Provides<Choice<Rest>>>,
    Fails<A> | Fails<Choice<Rest>>,
    Requires<A> | Requires<Choice<Rest>>,
    Extract<Handles<A>, Handles<Choice<Rest>>>
  >
  : IsAny<Ms[number]> extends true ? Any
  : Middleware

/**
 * Tries middleware in order until one lets the request through to the handler, or answers it: a request may come in with
 * a token or with an API key.
 *
 * **Details** One that fails before the handler has run gives way to the next; the failure of the last is the choice's. What
 * the handler itself fails with is never taken for a refusal of the middleware around it. The choice provides a service
 * only when each of its middleware does. Defects and interruptions are not failures and end it.
 *
 * **Gotchas** What a middleware did before it failed stays done: an edit of the response head, for instance.
 *
 * @example
 * ```ts
 * import { Handler, Middleware, Problem, RequestService, Route } from "@sluice/core"
 * import { Effect } from "effect"
 * import { HttpServerRequest, HttpServerResponse } from "effect/http"
 *
 * class User extends RequestService.Service<User, string>()("app/User") {}
 * class Unauthorized extends Problem.TaggedError<Unauthorized>()("Unauthorized", { status: 401 }) {}
 *
 * const by = (field: string) =>
 *   Middleware.provide(User, Effect.gen(function*() {
 *     const { headers } = yield* HttpServerRequest.HttpServerRequest
 *     return headers[field] ?? (yield* new Unauthorized())
 *   }))
 *
 * const Hello = Route.get("/", Middleware.some(by("x-user"), by("x-key")), Effect.map(User, HttpServerResponse.text))
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello)
 *   const reply = yield* Effect.promise(() => fetch(new Request("http://localhost/", { headers: { "x-key": "ann" } })))
 *   return yield* Effect.promise(() => reply.text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => ann
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const some = <const Ms extends readonly [Any, ...ReadonlyArray<Any>]>(...middleware: Ms): Choice<Ms> =>
  chosen("some", middleware, (handler) => firstThatLetsThrough(middleware, handler))

/**
 * The first of two, or the second where the first refuses: {@link some} of two.
 *
 * @category combinators
 * @since 0.1.0
 */
export const orElse = <First extends Any, Second extends Any>(
  first: First,
  second: Second
): Choice<readonly [First, Second]> => some(first, second)

/**
 * All of them, outermost first: {@link stack}, by the name that goes with {@link some}.
 *
 * @category combinators
 * @since 0.1.0
 */
export const every: typeof stack = stack

const firstThatLetsThrough = (middleware: ReadonlyArray<Any>, handler: AnyHandler): AnyHandler =>
  Effect.suspend(() => {
    let reached = false
    const marked = Effect.suspend(() => {
      reached = true
      return handler
    })
    const attempt = ([first, ...rest]: ReadonlyArray<Any>): AnyHandler =>
      rest.length === 0
        ? first(handler)
        : Effect.catchIf(first(marked), () => !reached, () => attempt(rest))
    return attempt(middleware)
  })

/**
 * Takes one middleware or another by a key of the request, such as its version or its tenant's plan.
 *
 * **Details** `otherwise` is for keys that have none. The branch provides a service only when each of its middleware does;
 * so with {@link identity} as `otherwise` it provides nothing.
 *
 * @example
 * ```ts
 * import { Middleware } from "@sluice/core"
 *
 * const beta = Middleware.head("beta", (head) => head.set("x-release", "beta"))
 * const release = Middleware.branch("release", (request) => request.headers["x-release"], { beta }, Middleware.identity)
 * console.log(release.label) // => release(beta)
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const branch = <Cases extends Readonly<Record<string, Any>>, Otherwise extends Any, X = never, Q = never>(
  label: string,
  select: (
    request: HttpServerRequest.HttpServerRequest
  ) => string | undefined | Effect.Effect<string | undefined, X, Q>,
  cases: Cases,
  otherwise: Otherwise
): Branch<Cases[keyof Cases] | Otherwise, X, Q> => {
  const byKey = new Map(Object.entries<Any>(cases))
  return chosen(label, [...byKey.values(), otherwise], (handler) => {
    const runs = new Map([...byKey].map(([key, middleware]): [string, AnyHandler] => [key, middleware(handler)]))
    const rest: AnyHandler = otherwise(handler)
    const run = (key: string | undefined): AnyHandler => (key === undefined ? undefined : runs.get(key)) ?? rest
    return Effect.withFiber((fiber) => {
      const key = select(Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest))
      // Sound: as above.
      return Effect.isEffect(key) ? Effect.flatMap(key as Effect.Effect<string | undefined, X>, run) : run(key)
    })
  })
}

/**
 * The type of a branch: `M` is the union of its middleware.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Branch<M extends Any, X, Q> = Middleware<
  InEach<M, Provides<M>, "P">,
  Fails<M> | X,
  Requires<M> | Q | HttpServerRequest.HttpServerRequest,
  InEach<M, Handles<M>, "H">
>

/** The members of `All` that each member of the union `M` has. */
type InEach<M extends Any, All, Part extends "P" | "H"> = All extends unknown
  ? [M extends unknown ? All extends M["~sluice/Middleware"][Part] ? never : M : never] extends [never] ? All : never
  : never

/** A middleware that is one of several; its observers see every exchange, because nobody knows beforehand which one it is. */
const chosen = <M>(label: string, parts: ReadonlyArray<Any>, run: Run): M => {
  const whole = composeAll<Any>(parts)
  const names = parts.filter((part) => part.label !== "").map((part) => part.label)
  // Sound: the callers' return types say what every part and what any part does.
  return construct([`${label}(${names.join(" | ")})`], whole.response, whole.observers, run) as unknown as M
}

/**
 * Effect's `HttpRouter.middleware` value for one of ours, to put on layers of routes that are not ours. The services
 * that it needs from the application are taken when the layer is built.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toRouterMiddleware = <P, X, Q, H>(
  self: Middleware<P, X, Q, H>
): HttpRouter.Middleware<{
  provides: P
  handles: H
  error: X
  requires: Extract<Q, PerRequest>
  layerError: never
  layerRequires: Exclude<Q, PerRequest | HttpRouter.Provided>
}> =>
  // Sound: the function provides, handles and fails as the middleware's own type says.
  HttpRouter.middleware(
    Effect.map(
      Effect.context<never>(),
      (services) => (handler: Handler) =>
        Effect.updateContext(self(handler) as Handler, (request: Context.Context<never>) =>
          Context.merge(services, request))
    ) as never
  ) as never

/**
 * Our form of an Effect `HttpRouter.middleware` value. It is built once, in the scope.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromRouterMiddleware = <
  Config extends {
    provides: unknown
    handles: unknown
    error: unknown
    requires: unknown
    layerError: unknown
    layerRequires: unknown
  }
>(
  label: string,
  self: HttpRouter.Middleware<Config>
): Effect.Effect<
  Middleware<Config["provides"], Config["error"], Config["requires"], Config["handles"]>,
  Config["layerError"],
  Config["layerRequires"] | Scope.Scope
> =>
  Effect.map(
    // Sound: a middleware whose requirements are unmet has a layer all the same; only its type is withheld.
    Layer_.build(self.layer as Layer.Layer<never, Config["layerError"], Config["layerRequires"]>),
    (context) => {
      const run = routerMiddlewareOf(context)
      return construct([label], "value", [], (handler) => needingValue(run(handler)))
    }
  )

/**
 * A connect or Express middleware. `next()` goes on to the handler, with whatever fields it has set on the response; if it
 * answers instead, the handler does not run.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromNodeMiddleware = (
  label: string,
  middleware: NodeHandler
): Middleware<never, never, HttpServerRequest.HttpServerRequest, never> =>
  construct(
    [label],
    "head",
    [],
    (handler) =>
      Effect.flatMap(runNode(middleware), (response) => response === undefined ? handler : Effect.succeed(response))
  )
