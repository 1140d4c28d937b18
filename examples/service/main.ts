import { NodeServer, Reporter, Server } from "@sluice/core"
import { IdempotencyKey, RateLimitStore } from "@sluice/middleware"
import { Console, Effect, Layer, Redacted } from "effect"
import { readArguments } from "./arguments.ts"
import * as DevTokens from "./auth/devTokens.ts"
import * as Sessions from "./auth/Sessions.ts"
import * as Database from "./database/Database.ts"
import { Orders } from "./orders/Orders.ts"
import * as SqliteOrders from "./orders/sqliteOrders.ts"
import { makeEdge, makeRoutes } from "./service.ts"
import { tries } from "./tries.ts"

const { database, origins, port } = readArguments()

/** Ready is who can read the database. */
const checks = { database: Effect.flatMap(Orders, (orders) => orders.newestEvent) }

const Service = Layer.unwrap(Effect.gen(function*() {
  const { issue, trust } = yield* DevTokens.make
  const settings = { trust, origins }
  const ann = Redacted.value(yield* issue({ sub: "ann", scope: "orders:read orders:write" }))
  const ben = Redacted.value(yield* issue({ sub: "ben", scope: "orders:read" }))
  return Layer.effectDiscard(Effect.flatMap(Server.Server, ({ url }) => Console.log(tries(url, { ann, ben })))).pipe(
    Layer.provide(Server.layer(makeRoutes(settings), { edge: makeEdge(settings), health: { checks } }))
  )
}))

Service.pipe(
  Layer.provide([
    SqliteOrders.layer.pipe(Layer.provide(Database.layer(database))),
    Sessions.layer,
    RateLimitStore.layerMemory(),
    IdempotencyKey.layerMemory(),
    Reporter.layerConsole,
    NodeServer.layer({ port })
  ]),
  Server.run
)
