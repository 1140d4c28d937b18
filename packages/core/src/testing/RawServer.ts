/**
 * A server that follows a script: an upstream that answers by the byte, stalls, lies about its length or resets.
 *
 * **When to use** To hold a client or a proxy against what peers really do. It listens on a free port of this machine.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Net from "node:net"
import * as Tls from "node:tls"
import * as RawConnection from "./RawConnection.ts"

/**
 * What is done with a connection. When it ends, the connection stays open until the peer closes it or the server's scope
 * closes; when it fails, the connection is destroyed.
 *
 * @category models
 * @since 0.1.0
 */
export type Script<R = never> = (
  connection: RawConnection.RawConnection,
  /** The number of the connection, from 0. */
  index: number
) => Effect.Effect<unknown, unknown, R>

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Serves TLS with these settings. @default plain TCP */
  readonly tls?: Tls.TlsOptions
}

/**
 * A server that is listening.
 *
 * @category models
 * @since 0.1.0
 */
export interface RawServer {
  readonly port: number
  /** `http://127.0.0.1:port`, or `https:`. */
  readonly url: string
  /** Connections that were accepted up to now. */
  readonly accepted: Effect.Effect<number>
  /** Waits for the next connection, in the order in which they came. */
  readonly nextConnection: Effect.Effect<RawConnection.RawConnection>
}

/**
 * Listens and runs the script on each connection.
 *
 * @example
 * ```ts
 * import { RawServer } from "@sluice/core/testing"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const upstream = yield* RawServer.make(Effect.fnUntraced(function*(connection) {
 *     const request = yield* connection.nextRequest
 *     yield* connection.send(`HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n${request.method}!`)
 *   }))
 *   const response = yield* Effect.promise(() => fetch(upstream.url))
 *   return yield* Effect.promise(() => response.text())
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => GET!
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<R>(script: Script<R>, options: Options = {}) {
  const context = yield* Effect.context<R>()
  const scripts = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const connections = yield* Queue.unbounded<RawConnection.RawConnection>()
  let accepted = 0
  const onConnection = (socket: Net.Socket) => {
    const connection = RawConnection.fromSocket(socket)
    Queue.offerUnsafe(connections, connection)
    const run = Effect.onExit(
      Effect.suspend(() => script(connection, accepted++)),
      (exit) => Effect.sync(() => Exit.isFailure(exit) && socket.destroy())
    )
    Effect.runForkWith(context)(Effect.forkIn(run, scripts, { startImmediately: true }))
  }
  const port = yield* listen(options, onConnection)
  const server: RawServer = {
    port,
    url: `${options.tls === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    accepted: Effect.sync(() => accepted),
    nextConnection: Queue.take(connections)
  }
  return server
})

/**
 * The script that answers every request with the same bytes.
 *
 * @category scripts
 * @since 0.1.0
 */
export const answering = (bytes: string | Uint8Array): Script => ({ nextRequest, send }) =>
  Effect.forever(Effect.andThen(nextRequest, send(bytes)))

const listen = (
  { tls }: Options,
  onConnection: (socket: Net.Socket) => void
): Effect.Effect<number, never, Scope.Scope> => {
  const sockets = new Set<Net.Socket>()
  const onSocket = (socket: Net.Socket) => {
    sockets.add(socket)
    // A TLS handshake that fails leaves a socket that nobody else listens to.
    socket.on("error", () => {})
    socket.once("close", () => sockets.delete(socket))
  }
  const start = Effect.callback<Net.Server>((resume) => {
    const server = tls === undefined
      ? Net.createServer({ allowHalfOpen: true, noDelay: true })
      : Tls.createServer({ allowHalfOpen: true, noDelay: true, ...tls })
    server.on("connection", onSocket)
    server.on(tls === undefined ? "connection" : "secureConnection", onConnection)
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  })
  const stop = (server: Net.Server) =>
    Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      for (const socket of sockets) socket.destroy()
    })
  // Sound: a server that listens on TCP has an address with a port.
  return Effect.map(Effect.acquireRelease(start, stop), (server) => (server.address() as Net.AddressInfo).port)
}
