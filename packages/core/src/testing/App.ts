/**
 * Runs routes and an edge for a test: in process without a port, or on a free port of this machine.
 *
 * **When to use** {@link make} is for everything that a response's value shows; it is fast and needs no network. {@link listen}
 * is for what only a socket shows: aborts, limits, framing, draining.
 *
 * **Details** The app runs with the services of the test, so `TestClock` is its clock and a layer that the test provides is
 * its service. Both end with the test's scope.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as CoreApp from "../App.ts"
import type * as Exchange from "../Exchange.ts"
import * as Handler from "../Handler.ts"
import * as PlatformServices from "../internal/platform.ts"
import * as Middleware from "../Middleware.ts"
import * as NodeServer from "../NodeServer.ts"
import * as Server from "../Server.ts"

/**
 * An app under test.
 *
 * @category models
 * @since 0.1.0
 */
export interface App {
  /**
   * Sends a request; a path is taken as it stands, after scheme and host. Interrupting the effect is a client that leaves.
   *
   * **Gotchas** `Request` normalises its URL (`/a/../b` becomes `/b`). `RawClient` doesn't.
   */
  readonly fetch: (request: string | Request, init?: RequestInit) => Effect.Effect<Response, FetchError>
  /** {@link App.fetch}, and the body as text. */
  readonly text: (request: string | Request, init?: RequestInit) => Effect.Effect<string, FetchError>
  /** The exchanges that have ended, oldest first. */
  readonly exchanges: Effect.Effect<ReadonlyArray<Exchange.Ended>>
  /** The exchange that ended as number `index`, from 0; waits for it. */
  readonly exchange: (index: number) => Effect.Effect<Exchange.Ended>
}

/**
 * An app under test that listens.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listening extends App {
  readonly port: number
  /** `http://127.0.0.1:port`. */
  readonly url: string
  /** Requests that are being answered now. */
  readonly active: Effect.Effect<number>
}

/**
 * The request got no response.
 *
 * @category errors
 * @since 0.1.0
 */
export class FetchError extends Data.TaggedError("FetchError")<{ readonly cause: unknown }> {}

/**
 * The platform's services, which Effect's own routes, `HttpApi` layers and files need.
 *
 * @category models
 * @since 0.1.0
 */
export type Platform = PlatformServices.Platform

/**
 * Settings of {@link listen}: those of the server, and of Node under it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ListenOptions<Edge extends Middleware.Any, HR> extends Server.Options<Edge, HR> {
  /** @default a free port of this machine, and the server's own defaults */
  readonly node?: NodeServer.Options
}

/**
 * An app in process, with no port: every request is a call.
 *
 * @example
 * ```ts
 * import { Route } from "@sluice/core"
 * import { App } from "@sluice/core/testing"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const program = Effect.gen(function*() {
 *   const app = yield* App.make(Route.get("/orders/:id", Effect.succeed(HttpServerResponse.text("one order"))))
 *   const body = yield* app.text("/orders/7")
 *   const { route, status } = yield* app.exchange(0)
 *   return `${body}: ${route} ${status}`
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => one order: /orders/:id 200
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E, R, Edge extends Middleware.Any = Middleware.Middleware>(
  routes: Layer.Layer<A, E, R> & CoreApp.Check<Edge, R>,
  options: CoreApp.Options<Edge> = {}
): Effect.Effect<App, E, Scope.Scope | Exclude<CoreApp.Needs<Edge, R>, Platform>> =>
  withPlatform(Effect.suspend(() => {
    const recorder = record()
    return Effect.map(
      Handler.toWebHandler(routes, { ...options, edge: recorder.around(options.edge) }),
      (handle): App => ({
        ...recorder.read,
        ...requests("http://localhost", (request) => handle(request))
      })
    )
  }))

/**
 * An app on a free port, served as in production.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listen = <A, E, R, Edge extends Middleware.Any = Middleware.Middleware, HR = never>(
  routes: Layer.Layer<A, E, R> & CoreApp.Check<Edge, R>,
  options: ListenOptions<Edge, HR> = {}
): Effect.Effect<
  Listening,
  E | NodeServer.ListenError,
  Scope.Scope | Exclude<Exclude<HR | CoreApp.Needs<Edge, R>, NodeServer.NodeServer>, Platform>
> => {
  const settings = NodeServer.resolve({ port: 0, ...options.node })
  return withPlatform(Effect.suspend(() => {
    const recorder = record()
    const server = Layer.build(Server.layer(routes, { ...options, edge: recorder.around(options.edge) }))
    const listening = Effect.map(server, (context): Listening => {
      const { active, port, url } = Context.get(context, Server.Server)
      return { ...recorder.read, ...requests(url, (request) => fetch(request)), port, url, active }
    })
    return Effect.provideService(listening, NodeServer.NodeServer, settings)
  }))
}

const withPlatform = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Scope.Scope | Exclude<R, Platform>> =>
  Effect.flatMap(Layer.build(PlatformServices.layer), (platform) => Effect.provideContext(self, platform))

const requests = (
  origin: string,
  send: (request: Request) => Promise<Response>
): Pick<App, "fetch" | "text"> => {
  const run: App["fetch"] = (request, init) =>
    Effect.tryPromise({
      try: (aborted) => {
        const signal = init?.signal ? AbortSignal.any([init.signal, aborted]) : aborted
        return send(new Request(typeof request === "string" ? origin + request : request, { ...init, signal }))
      },
      catch: (cause) => new FetchError({ cause })
    })
  const text: App["text"] = (request, init) =>
    Effect.flatMap(
      run(request, init),
      (response) => Effect.tryPromise({ try: () => response.text(), catch: (cause) => new FetchError({ cause }) })
    )
  return { fetch: run, text }
}

/** An observer around the edge that keeps what ends. */
const record = () => {
  const ended: Array<Exchange.Ended> = []
  const waiting = new Set<() => void>()
  const observer = Middleware.observe("test", (exchange) =>
    Effect.sync(() => {
      ended.push(exchange)
      for (const look of waiting) look()
    }))
  const exchange = (index: number): Effect.Effect<Exchange.Ended> =>
    Effect.callback((resume) => {
      const look = () => {
        if (ended[index] === undefined) return
        waiting.delete(look)
        resume(Effect.succeed(ended[index]))
      }
      waiting.add(look)
      look()
      return Effect.sync(() => waiting.delete(look))
    })
  return {
    read: { exchange, exchanges: Effect.sync(() => [...ended]) },
    // Sound: the observer adds nothing to the edge's types but the request, which is always there.
    around: <Edge extends Middleware.Any>(edge: Edge | undefined): Edge =>
      Middleware.compose(observer, edge ?? Middleware.identity) as unknown as Edge
  }
}
