/** Serves one of our servers with the settings that a user gets. */
import { NodeServer, Server } from "@sluice/core"
import { Context, Effect, Layer, Scope } from "effect"

/** Starts it on a free port, which is returned, for as long as the process runs. */
export const serve = <E>(server: Layer.Layer<Server.Server, E, NodeServer.NodeServer>): Promise<number> =>
  Effect.runPromise(Effect.gen(function*() {
    const scope = yield* Scope.make()
    const built = yield* Layer.buildWithScope(Layer.provide(server, NodeServer.layer({ port: 0 })), scope)
    return Context.get(built, Server.Server).port
  }))
