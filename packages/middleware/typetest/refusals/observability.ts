import * as Middleware from "@sluice/core/Middleware"
import * as NodeServer from "@sluice/core/NodeServer"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as ServerTiming from "../../src/ServerTiming.ts"
import * as Tracing from "../../src/Tracing.ts"

const traced = Effect.map(Tracing.TraceContext, ({ traceId }) => HttpServerResponse.text(traceId))
const timed = Effect.as(
  Effect.flatMap(ServerTiming.ServerTiming, (timing) => timing.mark("cache")),
  HttpServerResponse.empty()
)
const stamp = Middleware.head(
  "stamp",
  Effect.map(Tracing.TraceContext, ({ traceId }) => (head) => head.set("x-trace", traceId))
)

// the services are there below their middleware only
Route.get("/", Tracing.make(), traced)
Route.get("/", ServerTiming.make(), traced) // error: "no middleware provides": TraceContext
Route.get("/", ServerTiming.make(), timed)
Route.get("/", Tracing.make(), timed) // error: "no middleware provides": ServerTiming
// and so for middleware
Middleware.stack(Tracing.make(), stamp)
Middleware.stack(stamp, Tracing.make()) // error: "needs a middleware ABOVE it that provides": TraceContext
// a server whose spans Effect would make as well is not started
const server = Layer.provide(
  Server.layer(Route.get("/", Tracing.make(), traced)),
  NodeServer.layer({ port: 0 })
)
export const started: Layer.Layer<Server.Server, unknown> = Layer.provide(server, Tracing.layer)
export const doubled: Layer.Layer<Server.Server, unknown> = server // error: ServerSpans
