import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FindMyWay from "effect/http/FindMyWay"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import { exchangeOf } from "./attach.ts"
import { hasRouterMiddleware } from "./effectRouter.ts"

/** Which methods a path has: what Effect's router knows and doesn't tell. */
export class MethodTable extends Context.Service<MethodTable, {
  /** Sorted, with HEAD and OPTIONS where the server answers them; empty for an unknown path. */
  readonly methodsOf: (url: string) => ReadonlyArray<string>
  /** Every method that any route has. */
  readonly all: () => ReadonlyArray<string>
}>()("@sluice/core/internal/MethodTable") {}

type Router = HttpRouter.HttpRouter

/** Effect's router, recording what is added: the methods of each path, and the route of each exchange. */
export const layer: Layer.Layer<HttpRouter.HttpRouter | MethodTable> = Layer.effectContext(
  Effect.gen(function*() {
    const config = yield* HttpRouter.RouterConfig
    const router = yield* HttpRouter.make
    const paths = pathTable(config)
    const methods = new Set<string>()
    const record = (method: string, path: HttpRouter.PathInput) => {
      // A wildcard route answers every method, so its paths never get a 405.
      if (method === "*") return
      methods.add(method)
      paths.add(method, path)
      if (path.endsWith("/*")) paths.add(method, path.slice(0, -2) as HttpRouter.PathInput)
    }
    const methodsOf = (url: string) => withAutomatic([...methods].filter((method) => paths.has(method, url)))
    return Context.make(HttpRouter.HttpRouter, decorate(router, record)).pipe(
      Context.add(MethodTable, { methodsOf, all: () => withAutomatic([...methods]) })
    )
  })
)

/** As many as share a router: each new one is compared with all that are there, which ten thousand feel for a second. */
const pathsPerRouter = 256

/** The paths of each method, with all the spellings that the router takes. */
const pathTable = (config: Partial<FindMyWay.RouterConfig>) => {
  const routers: Array<FindMyWay.Router<true>> = []
  let added = 0
  return {
    add: (method: string, path: HttpRouter.PathInput): void => {
      if (added++ % pathsPerRouter === 0) routers.push(FindMyWay.make(config))
      routers[routers.length - 1].on(method, path, true)
    },
    has: (method: string, url: string): boolean => routers.some((router) => router.find(method, url) !== undefined)
  }
}

const withAutomatic = (methods: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (methods.length === 0) return methods
  const all = new Set([...methods, "OPTIONS"])
  if (all.has("GET")) all.add("HEAD")
  return [...all].toSorted()
}

const decorate = (
  router: Router,
  record: (method: string, path: HttpRouter.PathInput) => void,
  prefix = ""
): Router => {
  const add = ((method, path, handler, options) => {
    const full = (prefix === "" ? path : HttpRouter.prefixPath(path, prefix)) as HttpRouter.PathInput
    record(method, full)
    return onRoute((mark) => router.add(method, path, mark(toEffect(handler)), options))
  }) as Router["add"]
  const addAll = ((routes) => {
    for (const route of routes) {
      record(
        route.method,
        (prefix === "" ? route.path : HttpRouter.prefixPath(route.path, prefix)) as HttpRouter.PathInput
      )
    }
    return onRoute((mark) => router.addAll(routes.map((route) => ({ ...route, handler: mark(route.handler) }))))
  }) as Router["addAll"]
  return HttpRouter.HttpRouter.of({
    ...router,
    add,
    addAll,
    prefixed: (more) => decorate(router.prefixed(more), record, HttpRouter.prefixPath(more, prefix)),
    // Sound: the wrapper has the type of what it wraps.
    addGlobalMiddleware: ((middleware: (handler: AnyHandler) => AnyHandler) =>
      router.addGlobalMiddleware(
        (handler: AnyHandler) => needingValue(middleware(handler))
      )) as never
  })
}

type AnyHandler = Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, unknown>

const marked = new WeakSet<object>()

/** Says of a route handler that it tells the exchange its route itself. */
export const markingItself = (handler: AnyHandler): AnyHandler => {
  marked.add(handler)
  return handler
}

/** Wraps route handlers so that the exchange learns its route, and whether foreign middleware reads the response. */
const onRoute = <A, E, R>(
  f: (mark: (handler: AnyHandler) => AnyHandler) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const foreign = hasRouterMiddleware(context)
    return f((handler) => !foreign && marked.has(handler) ? handler : markRoute(handler, foreign))
  })

const markRoute = (handler: AnyHandler, foreign: boolean): AnyHandler =>
  Effect.withFiber((fiber) => {
    const exchange = exchangeOf(Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest), fiber)
    exchange.route = Context.getOrUndefined(fiber.context, HttpRouter.RouteContext)?.route.path ?? exchange.route
    if (foreign) exchange.valueNeeded = true
    return handler
  })

const needingValue = (handler: AnyHandler): AnyHandler =>
  Effect.withFiber((fiber) => {
    exchangeOf(Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest), fiber).valueNeeded = true
    return handler
  })

const toEffect = (
  handler:
    | HttpServerResponse.HttpServerResponse
    | AnyHandler
    | ((request: HttpServerRequest.HttpServerRequest) => AnyHandler)
): AnyHandler =>
  Effect.isEffect(handler)
    ? handler
    : HttpServerResponse.isHttpServerResponse(handler)
    ? Effect.succeed(handler)
    : Effect.flatMap(HttpServerRequest.HttpServerRequest, handler)
