import type * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import * as NodeServer from "@sluice/core/NodeServer"
import * as Reporter from "@sluice/core/Reporter"
import * as Server from "@sluice/core/Server"
import { RawClient } from "@sluice/core/testing"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import type { Socket } from "node:net"

/** Starts a server on a free port, for as long as the scope is open. */
export const start = <E, R>(
  layer: Layer.Layer<Server.Server, E, R>
): Effect.Effect<Server.Server["Service"], E, Scope.Scope | Exclude<R, NodeServer.NodeServer>> =>
  // Sound: the layer that is built needs what `layer` needs, but for what is provided here.
  Effect.map(
    Layer.build(Layer.provide(layer, NodeServer.layer({ port: 0 }))),
    Context.get(Server.Server)
  ) as Effect.Effect<Server.Server["Service"], E, Scope.Scope | Exclude<R, NodeServer.NodeServer>>

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

export const send = (
  server: Server.Server["Service"],
  path = "/",
  init: RequestInit = {}
): Effect.Effect<Reply> =>
  Effect.promise(async () => {
    const response = await fetch(server.url + path, init)
    return { status: response.status, headers: response.headers, body: await response.text() }
  })

/** Lets Node turn its event loop once. */
export const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

export const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.gen(function*() {
    while (!condition()) yield* turn
  })

/** Waits until every exchange has ended and its observers are done. */
export const settled = (server: Server.Server["Service"]): Effect.Effect<void> =>
  Effect.gen(function*() {
    while ((yield* server.active) > 0) yield* turn
  })

/** A socket, and everything that came through it. */
export interface Raw {
  readonly socket: Socket
  readonly text: () => string
  readonly closed: () => boolean
}

export const open = (server: Server.Server["Service"]): Effect.Effect<Raw, never, Scope.Scope> =>
  Effect.map(Effect.orDie(RawClient.connect(server.port)), ({ socket }) => {
    let text = ""
    let closed = false
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1")
    })
    socket.on("close", () => {
      closed = true
    })
    return { socket, text: () => text, closed: () => closed }
  })

/** Sends bytes and reads until the server closes the connection. */
export const raw = (server: Server.Server["Service"], bytes: string): Effect.Effect<string> =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* RawClient.connect(server.port)
    yield* client.send(bytes)
    return (yield* client.ended).unread
  })).pipe(Effect.orDie)

export interface Line {
  readonly level: string
  readonly message: string
  readonly annotations: Readonly<Record<string, unknown>>
}

/** Everything that is logged. */
export const logs = () => {
  const lines: Array<Line> = []
  const logger = Logger.make<unknown, void>(({ fiber, logLevel, message }) => {
    lines.push({
      level: logLevel,
      message: Array.isArray(message) ? String(message[0]) : String(message),
      annotations: fiber.getRef(References.CurrentLogAnnotations)
    })
  })
  return { lines, layer: Logger.layer([logger]) }
}

/** Keeps every exchange that ended. */
export const exchanges = () => {
  const ended: Array<Exchange.Ended> = []
  const observer = Middleware.observe("exchanges", (exchange) => Effect.sync(() => void ended.push(exchange)))
  return { ended, observer }
}

export const reports = Effect.flatMap(Reporter.Memory, (memory) => memory.reports)

export const refused = (f: () => unknown): string => {
  try {
    f()
    return "not refused"
  } catch (error) {
    return String(error)
  }
}
