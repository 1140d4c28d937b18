import { NodeServer, Reporter, Route, Server } from "@sluice/core"
import { Console, Effect, Layer } from "effect"
import { HttpServerResponse } from "effect/http"
import * as Routes from "./routes.ts"
import { tries } from "./tries.ts"
import { Upstreams } from "./upstreams.ts"

/** Where the upstreams are, for the routes. */
const Upstream = Layer.unwrap(Effect.map(Upstreams, ({ orders, stock }) =>
  Layer.merge(
    Routes.Orders.layer({ targets: [orders.url] }),
    Routes.Stock.layer({ targets: [stock.url] })
  )))

/** The price list has one article that can't be read. */
const Prices = Layer.succeed(Routes.Prices)({
  of: (sku) => {
    if (sku === "tea") return Effect.succeed(3.5)
    return sku === "cocoa"
      ? Effect.fail(new Routes.PriceListUnreadable({ cause: new Error("line 7 of prices.csv has two commas") }))
      : Effect.fail(new Routes.UnknownSku({ sku }))
  }
})

/** Stops and starts an upstream, to see what that does to the rest. */
const Control = Layer.mergeAll(
  Route.post(
    "/control/stop-stock",
    Effect.gen(function*() {
      const { stock } = yield* Upstreams
      yield* stock.stop
      return HttpServerResponse.text(`nothing listens on ${stock.url} any more\n`)
    })
  ),
  Route.post(
    "/control/start-stock",
    Effect.gen(function*() {
      const { stock } = yield* Upstreams
      yield* stock.start
      return HttpServerResponse.text(`stock listens on ${stock.url}\n`)
    })
  )
)

const Announced = Layer.effectDiscard(Effect.flatMap(Server.Server, ({ url }) => Console.log(tries(url))))

Announced.pipe(
  Layer.provide(Server.layer(Layer.merge(Routes.Routes, Control), { edge: Routes.edge })),
  Layer.provide([Upstream, Prices, Reporter.layerConsole, NodeServer.layerConfig()]),
  Layer.provide(Upstreams.layer),
  Server.run
)
