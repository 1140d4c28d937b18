/**
 * A client that sends the bytes it is given: malformed requests, half a request, several at once, none at all.
 *
 * **When to use** To see a server as it is on the wire. For everyday requests `App.fetch` is shorter.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import * as Tls from "node:tls"
import * as RawConnection from "./RawConnection.ts"

/**
 * Where to connect to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly port?: number
  /** @default "127.0.0.1" */
  readonly host?: string
  /** A Unix socket, instead of host and port. */
  readonly path?: string
  /** Speaks TLS with these settings. @default plain TCP */
  readonly tls?: Tls.ConnectionOptions
  /** Keeps this side open after the peer has ended its own. @default false */
  readonly allowHalfOpen?: boolean
}

/**
 * Nothing accepted the connection.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectError extends Data.TaggedError("ConnectError")<{
  /** Node's code, such as `ECONNREFUSED`. */
  readonly code: string | undefined
  readonly cause: unknown
}> {}

/**
 * Connects to a port of this machine, or as the options say. The connection is destroyed when the scope closes.
 *
 * @example
 * ```ts
 * import { Route } from "@sluice/core"
 * import { App, RawClient } from "@sluice/core/testing"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const program = Effect.gen(function*() {
 *   const app = yield* App.listen(Route.get("/", Effect.succeed(HttpServerResponse.text("hello"))))
 *   const client = yield* RawClient.connect(app.port)
 *   const response = yield* client.request("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
 *   return `${response.status} ${response.framing} ${response.text}`
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => 200 Length hello
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const connect = (
  to: number | Options
): Effect.Effect<RawConnection.RawConnection, ConnectError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.flatMap(Effect.sync(() => open(typeof to === "number" ? { port: to } : to)), opened),
    ({ socket }) =>
      Effect.sync(() => {
        socket.destroy()
      })
  )

const open = ({ allowHalfOpen = false, host = "127.0.0.1", path, port = 0, tls }: Options): Net.Socket => {
  const where = { allowHalfOpen, ...(path === undefined ? { host, port } : { path }) }
  return tls === undefined ? Net.connect(where) : Tls.connect({ ...where, ...tls })
}

const opened = (socket: Net.Socket): Effect.Effect<RawConnection.RawConnection, ConnectError> =>
  Effect.callback((resume) => {
    const onError = (cause: NodeJS.ErrnoException) => resume(Effect.fail(new ConnectError({ code: cause.code, cause })))
    socket.once("error", onError)
    socket.once(socket instanceof Tls.TLSSocket ? "secureConnect" : "connect", () => {
      socket.off("error", onError)
      socket.setNoDelay(true)
      resume(Effect.succeed(RawConnection.fromSocket(socket)))
    })
    return Effect.sync(() => socket.destroy())
  })
