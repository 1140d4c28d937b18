/**
 * The layers of the example `reverse-proxy`, for what it has no arguments for: TLS (`--certificate FOLDER`), and
 * connections that stay open while nobody uses them.
 */
import { NodeServer, Route, Server } from "@sluice/core"
import { Proxy, Upstream } from "@sluice/proxy"
import { Console, Effect, Layer } from "effect"
import { parseArgs } from "node:util"
import { read } from "./certificate.ts"

class Target extends Upstream.Service<Target>()("benchmarks/ownProxy/Target") {}

const { values: { certificate, to = "" } } = parseArgs({
  options: { to: { type: "string" }, certificate: { type: "string" } }
})

Layer.effectDiscard(Effect.flatMap(Server.Server, ({ url }) => Console.log(`listening on ${url}`))).pipe(
  Layer.provide(Server.layer(Route.all("/*", Proxy.forward(Target)), { health: false })),
  Layer.provide(Target.layer({ targets: [to] })),
  Layer.provide(NodeServer.layer({
    port: 0,
    clocks: { keepAlive: "10 minutes" },
    ...certificate === undefined ? {} : { tls: read(certificate) }
  })),
  Server.run
)
