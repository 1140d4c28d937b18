import { NodeRuntime } from "@effect/platform-node"
import { NodeServer, Report, Reporter, Route, Server } from "@sluice/core"
import { Console, Context, Effect, Layer, Schema } from "effect"
import { FetchHttpClient, HttpServerRequest, HttpServerResponse } from "effect/http"
import { parseArgs } from "node:util"
import { paths, Routes } from "./routes.ts"

/** Asks the service for everything it has. The reporter is whatever Layer is provided. */
const program = Effect.gen(function*() {
  const { url } = yield* Server.Server
  for (const path of paths) {
    const { status } = yield* Effect.promise(() => fetch(url + path))
    yield* Console.log(`GET ${path} ${status}`)
  }
}).pipe(Effect.provide(Layer.provide(Server.layer(Routes), NodeServer.layer({ port: 0 }))))

/** What is posted, as far as it is read here; it is a `Report.Json` each. */
const Posted = Schema.Struct({
  reports: Schema.Array(Schema.Struct({
    status: Schema.Number,
    route: Schema.String,
    errors: Schema.Array(Schema.Struct({ name: Schema.String, message: Schema.String }))
  }))
})

/** Stands for a service that collects errors: prints what is posted to it. */
const Collector = Server.layer(Route.post(
  "/",
  Effect.gen(function*() {
    const { reports } = yield* HttpServerRequest.schemaBodyJson(Posted)
    for (const { errors: [error], route, status } of reports) {
      yield* Console.log(`posted: ${status} ${route} ${error.name}: ${error.message}`)
    }
    return HttpServerResponse.empty()
  })
))

const reporters = {
  console: Reporter.layerConsole,

  webhook: Layer.unwrap(
    Effect.map(
      Layer.build(Collector),
      (context) => Reporter.layerHttp({ url: Context.get(context, Server.Server).url })
    )
  ).pipe(
    Layer.provide([FetchHttpClient.layer, NodeServer.layer({ port: 0 })])
  ),

  memory: Layer.tap(Reporter.layerMemory, (context) =>
    Effect.addFinalizer(() =>
      Effect.gen(function*() {
        for (const report of yield* Context.get(context, Reporter.Memory).reports) {
          yield* Console.log(`kept: ${report.status} ${report.route} ${Report.name(report.error)}`)
        }
      })
    ))
}

const { reporter = "console" } = parseArgs({ options: { reporter: { type: "string" } } }).values
if (reporter in reporters) {
  // Sound: it is one of them.
  NodeRuntime.runMain(Effect.provide(program, reporters[reporter as keyof typeof reporters]))
} else {
  console.error(`error: --reporter is ${Object.keys(reporters).join(", ")}; got ${reporter}`)
  process.exitCode = 2
}
