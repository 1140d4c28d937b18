/**
 * A site on another port: `127.0.0.1` is another origin of the same site, `localhost` another site. Its pages are empty; what
 * they do is up to the case.
 */
import { NodeServer, Route, Server } from "@sluice/core"
import { Context, Effect, Layer } from "effect"
import { HttpServerResponse } from "effect/http"

const page = "<!doctype html><html lang=\"en\"><title>elsewhere</title><body></body></html>"

export const startOtherOrigin = Effect.gen(function*() {
  const routes = Route.get("/", Effect.succeed(HttpServerResponse.text(page, { contentType: "text/html" })))
  const context = yield* Layer.build(Server.layer(routes).pipe(Layer.provide(NodeServer.layer({ port: 0 }))))
  const { port } = Context.get(context, Server.Server)
  return { sameSite: `http://127.0.0.1:${port}`, crossSite: `http://localhost:${port}` }
})
