import { NodeServer, Route, Server } from "@sluice/core"
import { Proxy, Upstream } from "@sluice/proxy"
import { Console, Effect, Layer } from "effect"
import { readArguments } from "./arguments.ts"
import { keepYoungGeneration } from "./youngGeneration.ts"

keepYoungGeneration()

class Target extends Upstream.Service<Target>()("reverse-proxy/Target") {}

const { port, to } = readArguments()

const Proxied = Server.layer(Route.all("/*", Proxy.forward(Target)), {
  // The server's own /livez and /readyz would hide the upstream's.
  health: false
})

Layer.effectDiscard(Effect.flatMap(Server.Server, ({ url }) => Console.log(`listening on ${url}`))).pipe(
  Layer.provide(Proxied),
  Layer.provide(Target.layer({ targets: [to] })),
  Layer.provide(NodeServer.layer({ port })),
  Server.run
)
