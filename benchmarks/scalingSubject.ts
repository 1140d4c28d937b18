/** What `scaling.ts` puts load on: `node benchmarks/scalingSubject.ts routes|middleware|targets N [--to URL]`. */
import { Exchange, Middleware, Route, Server } from "@sluice/core"
import { Proxy, Upstream } from "@sluice/proxy"
import { Effect, Layer } from "effect"
import { type HttpServerRequest, HttpServerResponse } from "effect/http"
import { parseArgs } from "node:util"
import { serve } from "./serve.ts"

const Hello = Effect.succeed(HttpServerResponse.text("hello\n"))

/** Plain paths and such with a parameter, in turns. */
const routes = (count: number) => {
  const all = Array.from(
    { length: count },
    (_, i) => i % 2 === 0 ? Route.get(`/api/things${i}`, Hello) : Route.get(`/api/things${i}/:id`, Hello)
  )
  return serve(Server.layer(Layer.mergeAll(Layer.empty, ...all)))
}

const edit = (i: number) => Middleware.head(`edit ${i}`, (head) => head.set(`x-edit-${i}`, "yes"))

const around = (i: number) =>
  Middleware.around<never, HttpServerRequest.HttpServerRequest>(
    `around ${i}`,
    (handler) => Effect.andThen(Exchange.annotate(`around ${i}`, i), handler),
    { response: "none" }
  )

/** Editors of the head and steps before the handler, in turns. */
const middleware = (count: number) => {
  let stack: Middleware.Middleware<never, never, HttpServerRequest.HttpServerRequest> = Middleware.identity
  for (let i = 0; i < count; i++) stack = Middleware.compose(stack, i % 2 === 0 ? edit(i) : around(i))
  return serve(Server.layer(Route.get("/", stack, Hello)))
}

class Target extends Upstream.Service<Target>()("benchmarks/Target") {}

/** As many addresses of the loopback network, which are one upstream for the system and as many for us. */
const targets = (count: number, to: string) => {
  const { port } = new URL(to)
  const all = Array.from({ length: count }, (_, i) => `http://127.1.${i >> 8}.${i & 255}:${port}`)
  return serve(
    Server.layer(Route.all("/*", Proxy.forward(Target)), { health: false }).pipe(
      Layer.provide(Target.layer({ targets: all }))
    )
  )
}

const { positionals: [what = "", count = ""], values: { to = "" } } = parseArgs({
  allowPositionals: true,
  options: { to: { type: "string" } }
})
const subjects: Readonly<Record<string, (count: number, to: string) => Promise<number>>> = {
  routes,
  middleware,
  targets
}
console.log(`listening on http://127.0.0.1:${await subjects[what](Number(count), to)}`)
