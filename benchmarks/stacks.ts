/** What `middleware.ts` compares: the same handler through one stack or another. A line is a server. */
import { NodeHttpServer } from "@effect/platform-node"
import { Middleware, Reporter, Route, Server } from "@sluice/core"
import { AccessLog, Recover, Reporting, RequestId, SecureHeaders, Timeout } from "@sluice/middleware"
import { Effect, Layer, Logger, type Scope } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { listen } from "./subjects.ts"

const Hello = Effect.succeed(HttpServerResponse.text("hello\n"))

/** What the others are compared with. */
export const empty = "nothing"

const six = Middleware.stack(
  AccessLog.make(),
  Reporting.make(),
  RequestId.make(),
  SecureHeaders.make(),
  Recover.make(),
  Timeout.make("5 seconds")
)

/** Other middleware than these is a line here. */
const ours = {
  [empty]: Server.layer(Route.get("/", Hello)),
  // How far two numbers may lie apart and mean nothing.
  "nothing, again": Server.layer(Route.get("/", Hello)),
  RequestId: Server.layer(Route.get("/", RequestId.make(), Hello)),
  AccessLog: Server.layer(Route.get("/", AccessLog.make(), Hello)),
  "AccessLog combined": Server.layer(Route.get("/", AccessLog.make({ format: "combined" }), Hello)),
  Reporting: Server.layer(Route.get("/", Reporting.make(), Hello)),
  Recover: Server.layer(Route.get("/", Recover.make(), Hello)),
  SecureHeaders: Server.layer(Route.get("/", SecureHeaders.make(), Hello)),
  Timeout: Server.layer(Route.get("/", Timeout.make("5 seconds"), Hello)),
  "the six of them": Server.layer(Route.get("/", six, Hello))
}

/** What middleware asks of the application: reports are dropped, and log entries go nowhere. */
const Nowhere = Layer.mergeAll(Reporter.layerNoop, Logger.layer([Logger.make(() => {})]))

type Listening = Effect.Effect<number, unknown, Scope.Scope>

const addressOf = (server: Http.Server): number =>
  // Sound: a server that listens on TCP has an address with a port.
  (server.address() as AddressInfo).port

/** The same route in servers that are not ours. */
const others: Readonly<Record<string, Listening>> = {
  "Effect's router and server": Effect.suspend(() => {
    const server = Http.createServer({ keepAliveTimeout: 600_000 })
    return Layer.build(
      HttpRouter.serve(HttpRouter.add("GET", "/", Hello), { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provideMerge(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" }))
      )
    ).pipe(Effect.map(() => addressOf(server)))
  }),
  "Node's server": Effect.callback((resume) => {
    const server = Http.createServer({ keepAliveTimeout: 600_000 }, (_, response) => {
      response.writeHead(200, { "content-type": "text/plain", "content-length": "6" })
      response.end("hello\n")
    })
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(addressOf(server))))
  })
}

/** Every server, by its name. */
export const stacks: ReadonlyMap<string, Listening> = new Map([
  ...Object.entries(ours).map(([name, server]): [string, Listening] => [
    name,
    Effect.map(listen(Layer.provide(server, Nowhere)), ({ port }) => port)
  ]),
  ...Object.entries(others)
])
