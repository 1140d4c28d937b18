/** The same app, as far as it has been moved. */
import { Handler, NodeServer, Route, Server } from "@sluice/core"
import { Context, Effect, Layer, type Scope } from "effect"
import express, { type Express } from "express"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { legacy } from "./legacy.ts"
import * as Routes from "./routes.ts"
import type { Shop } from "./shop.ts"

/** `embedded` is the other way round: Express is in front, and some of its routes are ours. */
export const stages = ["0", "1", "2", "3", "embedded"] as const
export type Stage = (typeof stages)[number]

/** Listens until the scope closes, and returns the port. */
export const listen = (
  stage: Stage,
  shop: Shop,
  port: number
): Effect.Effect<number, NodeServer.ListenError, Scope.Scope> => {
  switch (stage) {
    case "0":
      return listenExpress(legacy(shop), port)
    case "1":
      return listenSluice(Server.layer(wholeApp(shop), { edge: Routes.edge }), shop, port)
    case "2":
      // A route with a path of its own goes before `/*`: to take it back is to delete its line.
      return listenSluice(
        Server.layer(Layer.merge(Routes.reading(Routes.sessionFromExpress(shop)), wholeApp(shop)), {
          edge: Routes.edge
        }),
        shop,
        port
      )
    case "3":
      return listenSluice(Server.layer(Routes.all, { edge: Routes.lastEdge }), shop, port)
    case "embedded":
      return Effect.flatMap(embedded(shop), (app) => listenExpress(app, port))
  }
}

/** The whole Express app as one route. */
const wholeApp = (shop: Shop) => Route.all("/*", Handler.fromNodeHandler(legacy(shop)))

/** Our routes in an Express app: a path that they don't have goes on to the next handler. */
const embedded = (shop: Shop): Effect.Effect<Express, never, Scope.Scope> =>
  Effect.gen(function*() {
    const ours = yield* Handler.toNodeHandler(Routes.books(Routes.sessionFromExpress(shop)), { edge: Routes.edge })
    const app = express()
    app.use(ours)
    app.use(legacy(shop))
    return app
  }).pipe(Effect.provide(Routes.services(shop)))

const listenSluice = (
  server: Layer.Layer<
    Server.Server,
    NodeServer.ListenError,
    Routes.Books | Routes.Carts | Layer.Success<ReturnType<typeof NodeServer.layer>>
  >,
  shop: Shop,
  port: number
) =>
  Effect.map(
    Layer.build(Layer.provide(server, Layer.merge(Routes.services(shop), NodeServer.layer({ port })))),
    (context) => Context.get(context, Server.Server).port
  )

const listenExpress = (app: Express, port: number): Effect.Effect<number, NodeServer.ListenError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Http.Server, NodeServer.ListenError>((resume) => {
      const server = Http.createServer(app)
      server.once("error", (cause: NodeJS.ErrnoException) => {
        const { code = "UNKNOWN" } = cause
        resume(Effect.fail(new NodeServer.ListenError({ code, address: `127.0.0.1:${port}`, cause })))
      })
      server.listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
    // Sound: a server that listens on TCP has an address with a port.
  ).pipe(Effect.map((server) => (server.address() as AddressInfo).port))
