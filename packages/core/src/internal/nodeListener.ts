import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeWS from "@effect/platform-node/NodeWS"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Https from "node:https"
import type { AddressInfo, Socket } from "node:net"
import type { Duplex } from "node:stream"
import type { App } from "../App.ts"
import * as BatchedWrites from "../BatchedWrites.ts"
import { ListenError, type Resolved } from "../NodeServer.ts"
import { ActiveExchanges } from "./activeExchanges.ts"
import { messageClasses, type MessageOptions, type SluiceRequest } from "./nodeMessages.ts"
import { ServerEvents } from "./serverEvents.ts"
import { silentConnections } from "./silentConnections.ts"
import { monotonicMillis } from "./time.ts"
import { WaitingConnections } from "./waitingConnections.ts"

/** A Node server that answers requests with an app, and what draining it takes. */
export interface Listener {
  readonly address: AddressInfo | string
  readonly active: ActiveExchanges
  /** Serves a stream as if it had come in as a connection, until it closes. */
  readonly serveConnection: (stream: Duplex) => Effect.Effect<void>
  /** From now on every response says `Connection: close`. */
  readonly closeAfterResponse: () => void
  /** Refuses new connections and closes idle ones. */
  readonly stopAccepting: () => void
  /** Waits for every request's fiber, interrupting those that are left. */
  readonly finish: Effect.Effect<void>
  /** Destroys what is left of connections. */
  readonly destroy: () => void
}

/** Listens, with the services of the calling fiber for its requests. */
export const listen = (
  settings: Resolved,
  { observers, program }: App
): Effect.Effect<Listener, ListenError, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<Scope.Scope>()
    const clock = yield* Clock.Clock
    const active = new ActiveExchanges()
    let closing = false
    const timing: MessageOptions = {
      now: () => monotonicMillis(clock),
      wallNow: () => clock.currentTimeMillisUnsafe(),
      closing: () => closing
    }
    const upgrades = Scope.makeUnsafe()
    const server = makeServer(settings, timing)
    server.prependListener(settings.tls === undefined ? "connection" : "secureConnection", BatchedWrites.enable)
    const silent = silentConnections(server, settings.tls !== undefined)
    const waiting = new WaitingConnections(server, settings.tls !== undefined)
    const observing = observers.map((observe) => ({ observe, context }))
    const events = new ServerEvents(settings.limits, active, timing, observing, waiting)
    events.connect(server, yield* NodeHttpServer.makeHandler(program, { scope: active.scope }))
    yield* connectUpgrades(server, events, program, upgrades)
    const address = yield* bind(server, settings)
    return {
      address,
      active,
      serveConnection: (stream) =>
        Effect.callback((resume) => {
          const onClose = () => resume(Effect.void)
          stream.once("close", onClose)
          server.emit(settings.tls === undefined ? "connection" : "secureConnection", stream)
          return Effect.sync(() => stream.off("close", onClose).destroy())
        }),
      closeAfterResponse: () => {
        closing = true
        active.closeAfterResponse()
      },
      stopAccepting: () => {
        server.close()
        server.closeIdleConnections()
        silent.close()
        waiting.close()
      },
      finish: Effect.andThen(active.finish, Scope.close(upgrades, Exit.void)),
      destroy: () => {
        server.close()
        server.closeAllConnections()
        events.destroyUpgrades()
      }
    }
  })

/** Node takes whole milliseconds, and 0 for no limit. */
const timeout = (millis: number): number => Number.isFinite(millis) ? Math.min(Math.ceil(millis), longestInterval) : 0

/** What is longer overflows Node's timers, which would fire at once. */
const longestInterval = 2 ** 31 - 1

const makeServer = ({ clocks, limits, tls }: Resolved, timing: MessageOptions): Http.Server => {
  const options: Http.ServerOptions = {
    // Sound: the response class asks for the request class that stands beside it.
    ...(messageClasses(timing) as unknown as Pick<Http.ServerOptions, "IncomingMessage" | "ServerResponse">),
    maxHeaderSize: limits.headBytes,
    // Node refuses one for the head that is longer than that for the whole.
    headersTimeout: timeout(Math.min(clocks.requestHead, clocks.request)),
    requestTimeout: timeout(clocks.request),
    keepAliveTimeout: timeout(clocks.keepAlive),
    connectionsCheckingInterval: timeout(clocks.checkInterval) || longestInterval,
    // The listener checks it, so that the answer is a problem and the exchange is seen.
    requireHostHeader: false,
    insecureHTTPParser: false
  }
  const server = tls === undefined ? Http.createServer(options) : Https.createServer({ ...tls, ...options })
  server.maxHeadersCount = 0
  server.maxRequestsPerSocket = limits.requestsPerConnection
  return server
}

const connectUpgrades = Effect.fnUntraced(function*(
  server: Http.Server,
  events: ServerEvents,
  program: App["program"],
  upgrades: Scope.Scope
) {
  // Acquired here and not with the first upgrade: it is released after the server has drained, not before.
  const webSockets = yield* Effect.acquireRelease(
    Effect.sync(() => new NodeWS.WebSocketServer({ noServer: true })),
    (webSockets) => Effect.callback<void>((resume) => webSockets.close(() => resume(Effect.void)))
  )
  const handler = yield* NodeHttpServer.makeUpgradeHandler(Effect.succeed(webSockets), program, { scope: upgrades })
  server.on("upgrade", (request, socket, head) => {
    // Sound: the server makes its requests of this class, and their connections are sockets.
    events.upgrade(request as SluiceRequest, socket as Socket, head, () => handler(request, socket, head))
  })
})

const bind = (server: Http.Server, { listen }: Resolved): Effect.Effect<AddressInfo | string, ListenError> =>
  Effect.callback((resume) => {
    const onError = (cause: NodeJS.ErrnoException) => {
      const address = "path" in listen ? listen.path : `${listen.host}:${listen.port}`
      resume(Effect.fail(new ListenError({ code: cause.code ?? "UNKNOWN", address, cause })))
    }
    server.once("error", onError)
    server.listen(listen, () => {
      server.off("error", onError)
      // Sound: a server that listens has an address.
      resume(Effect.succeed(server.address() as AddressInfo | string))
    })
  })
