import { NodeServer, Route, Server } from "@sluice/core"
import { Proxy, Upstream } from "@sluice/proxy"
import { Console, Effect, Layer } from "effect"
import { setFlagsFromString } from "node:v8"
import { readArguments } from "./arguments.ts"

// What a proxy allocates dies young. V8 would still answer gigabytes of bodies with a young generation of 20 MB more.
setFlagsFromString("--semi-space-growth-factor=1")

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
