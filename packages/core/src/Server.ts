/**
 * Routes and an edge, served by Node, and drained in order.
 *
 * **When to use** {@link layer} is the end of a program: give it the merged layers of routes and the edge stack, provide
 * `NodeServer.layer` and the services of the handlers, and run it with {@link run}.
 *
 * **Details** When the layer's scope closes (Ctrl-C, SIGTERM, a test that ends) the server drains: readiness turns 503 and
 * responses say `Connection: close`; after `drain.delay` no connection is accepted any more and event streams and tunnels
 * are told to end; requests in flight finish; at `drain.deadline` those that are left are interrupted with
 * `Cancellation.draining` (503 when nothing was written, an abort otherwise) and their finalizers run; only then do the
 * layers below close, reporters among them.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import * as App from "./App.ts"
import type { Handler } from "./Handler.ts"
import * as Health from "./Health.ts"
import { listen, type Listener } from "./internal/nodeListener.ts"
import { requireDelay, requireDuration } from "./internal/options.ts"
import type * as Middleware from "./Middleware.ts"
import { ListenError, NodeServer } from "./NodeServer.ts"

/**
 * A server that is listening.
 *
 * @category services
 * @since 0.1.0
 */
export class Server extends Context.Service<Server, {
  /** `http://127.0.0.1:3000`, or the path of a Unix socket. */
  readonly url: string
  /** The port; 0 on a Unix socket. */
  readonly port: number
  /** Requests that are being answered now. */
  readonly active: Effect.Effect<number>
  /**
   * Serves the app on a stream that did not come through the port: an in-memory pair, a tunnel, a socket that somebody else
   * has accepted. Done when the stream has closed; interrupting it destroys the stream. With TLS settings the stream is
   * taken to be decrypted already.
   */
  readonly serveConnection: (stream: Duplex) => Effect.Effect<void>
}>()("@sluice/core/Server") {}

/**
 * How a server stops.
 *
 * @category models
 * @since 0.1.0
 */
export interface DrainOptions {
  /**
   * How long requests are still accepted after readiness has turned, so that load balancers notice: at least the period
   * of their probes. @default "0 seconds"
   */
  readonly delay?: Duration.Input
  /** How long requests in flight may take after that. @default "20 seconds" */
  readonly deadline?: Duration.Input
}

/**
 * Settings of {@link layer}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Edge extends Middleware.Any, HR> extends App.Options<Edge> {
  /** The health routes; `false` for none. @default `/livez` and `/readyz` without checks */
  readonly health?: Health.Options<HR> | false
  readonly drain?: DrainOptions
}

/**
 * Serves the routes.
 *
 * @example
 * ```ts
 * import { NodeServer, Route, Server } from "@sluice/core"
 * import { Effect, Layer } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const Hello = Route.get("/", Effect.succeed(HttpServerResponse.text("hello")))
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.Server
 *   const response = yield* Effect.promise(() => fetch(server.url))
 *   return yield* Effect.promise(() => response.text())
 * }).pipe(Effect.provide(Server.layer(Hello).pipe(Layer.provide(NodeServer.layer({ port: 0 })))))
 *
 * console.log(await Effect.runPromise(program)) // => hello
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <A, E, R, Edge extends Middleware.Any = Middleware.Middleware, HR = never>(
  routes: Layer.Layer<A, E, R> & App.Check<Edge, R>,
  options: Options<Edge, HR> = {}
): Layer.Layer<Server, E | ListenError, NodeServer | HR | App.Needs<Edge, R>> => {
  const drain = {
    delay: requireDelay("drain.delay", options.drain?.delay ?? 0),
    deadline: requireDuration("drain.deadline", options.drain?.deadline ?? "20 seconds")
  }
  return Layer.effect(Server)(Effect.gen(function*() {
    const settings = yield* NodeServer
    let draining = false
    const direct = options.health === false
      ? new Map<string, Handler<never, HR>>()
      : Health.make(options.health ?? {}, () => draining)
    const app = yield* App.build(routes, { ...options, direct })
    const listener = yield* Effect.updateContext(
      listen(settings, app),
      (context: Context.Context<Scope.Scope>) => roomy(Context.merge(context, app.context))
    )
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        draining = true
        return stop(listener, drain)
      })
    )
    return describe(listener, settings.tls !== undefined)
  }))
}

/**
 * Requests add their services to those of the application, which Effect copies when there are more than eight. A stack adds
 * more than that; to go through a few more costs less than a copy for each request.
 */
const roomy = <R>(context: Context.Context<R>): Context.Context<R> =>
  Context.makeUnsafe(context.mapUnsafe, { maxDepth: 24 })

const describe = (listener: Listener, secure: boolean): Server["Service"] => {
  const { active, address, serveConnection } = listener
  const common = { active: Effect.sync(() => active.size), serveConnection }
  if (typeof address === "string") return { ...common, url: address, port: 0 }
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address
  return { ...common, url: `${secure ? "https" : "http"}://${host}:${address.port}`, port: address.port }
}

/** How long a response that an interruption ended may take to reach its client before the connection is destroyed. */
const lingerMillis = 1000

const stop = (
  listener: Listener,
  { deadline, delay }: { readonly delay: number; readonly deadline: number }
): Effect.Effect<void> =>
  Effect.gen(function*() {
    listener.closeAfterResponse()
    if (delay > 0) yield* Effect.sleep(delay)
    listener.stopAccepting()
    listener.active.notifyDrain()
    yield* Effect.timeoutOption(listener.active.empty, deadline)
    listener.active.interruptAll()
    yield* listener.finish
    yield* Effect.timeoutOption(listener.active.empty, lingerMillis)
    listener.destroy()
  })

/**
 * Runs a layer as the program: SIGINT or SIGTERM drains it and ends the process with 0, a second one ends it at once. When it
 * can't start, the exit code is 1: a port that is taken or a setting that is missing is said in one line on stderr, and
 * anything else is logged with its cause.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <A, E>(layer: Layer.Layer<A, E>): void =>
  runMain(Effect.tapCause(Layer.launch(layer), sayWhy), { disableErrorReporting: true })

const sayWhy = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.void
  const error = Cause.squash(cause)
  const isMisconfigured = error instanceof ListenError || error instanceof Config.ConfigError
  return isMisconfigured
    ? Console.error(`error: ${error.message.replaceAll(/\s+/g, " ")}`)
    : Effect.logError(cause)
}

const runMain = Runtime.makeRunMain(({ fiber, teardown }) => {
  let received: NodeJS.Signals | undefined
  const onSignal = (signal: NodeJS.Signals) => {
    if (received !== undefined) process.exit(signal === "SIGINT" ? 130 : 143)
    received = signal
    fiber.interruptUnsafe(fiber.id)
  }
  fiber.addObserver((exit) => {
    process.off("SIGINT", onSignal)
    process.off("SIGTERM", onSignal)
    teardown(exit, (code) => {
      if (received !== undefined) process.exit(0)
      if (code !== 0) process.exit(code)
    })
  })
  process.on("SIGINT", onSignal)
  process.on("SIGTERM", onSignal)
})
