import * as Problem from "@sluice/core/Problem"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import * as Proxy from "../../src/Proxy.ts"
import * as ProxyError from "../../src/ProxyError.ts"
import * as Upstream from "../../src/Upstream.ts"

class Orders extends Upstream.Service<Orders>()("typetest/Orders") {}
class Stock extends Upstream.Service<Stock>()("typetest/Stock") {}
class Rendered extends Problem.TaggedError<Rendered>()("Rendered", { status: 423 }) {}
class Unrendered extends Data.TaggedError("Unrendered")<{}> {}

declare const committed: ProxyError.Committed
declare const uncommitted: ProxyError.Uncommitted
declare const response: HttpServerResponse.HttpServerResponse

// an error of a committed exchange has no response, and can't be given one
const respondable = (error: HttpServerRespondable.Respondable): unknown => error
respondable(uncommitted)
respondable(committed) // error: is missing in type 'DownstreamWriteError' but required in type 'Respondable'
Route.get("/", Effect.fail(uncommitted))
Route.get("/", Effect.fail(committed)) // error: "these errors have no response": Committed
Orders.layerMock(() => Effect.fail(uncommitted))
Orders.layerMock(() => Effect.fail(committed)) // error: is not assignable to type 'Uncommitted'

// what a director or a response mapper fails with must have a response
Route.all("/*", Proxy.forward(Orders))
Route.all("/*", Proxy.forward(Orders, { direct: () => Effect.fail(new Rendered({})) }))
Route.all("/*", Proxy.forward(Orders, { direct: () => Effect.fail(new Unrendered()) })) // error: "these errors have no response": Unrendered
Route.all("/*", Proxy.forward(Orders, { mapResponse: () => Effect.fail(new Unrendered()) })) // error: "these errors have no response": Unrendered

// a director forwards or responds; it returns no response by itself
Proxy.forward(Orders, { direct: () => Effect.succeed(Proxy.respond(response)) })
Proxy.forward(Orders, { direct: () => Effect.succeed(response) }) // error: is not assignable to type 'Forward | Respond'
Proxy.forward(Orders, { mapResponse: () => Effect.succeed(Proxy.proceed()) }) // error: is not assignable to type 'Relay | Respond'

// an upstream whose layer was forgotten stays in the type of the server
const server = Server.layer(Route.all("/*", Proxy.forward(Orders)))
const needs = <R>(_: Layer.Layer<Server.Server, unknown, R>): R => _ as never
const orders: Orders | import("@sluice/core/NodeServer").NodeServer = needs(server)
const stock: Stock = needs(server) // error: is not assignable to type 'Stock'
