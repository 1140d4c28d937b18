import { NodeServer, Route, Server } from "@sluice/core"
import { Console, Effect, Layer } from "effect"
import { HttpServerResponse } from "effect/http"

const Hello = Route.get("/", Effect.succeed(HttpServerResponse.text("hello\n")))

const Announced = Layer.effectDiscard(
  Effect.flatMap(Server.Server, ({ url }) => Console.log(`listening on ${url}`))
)

Announced.pipe(
  Layer.provide(Server.layer(Hello)),
  Layer.provide(NodeServer.layerConfig()),
  Server.run
)
