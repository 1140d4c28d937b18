import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Middleware from "../../src/Middleware.ts"
import * as RequestService from "../../src/RequestService.ts"
import * as Route from "../../src/Route.ts"
import * as Server from "../../src/Server.ts"
import { App } from "../../src/testing/index.ts"

class User extends RequestService.Service<User, string>()("typetest/User") {}
class OutOfStock extends Data.TaggedError("OutOfStock")<{ readonly sku: string }> {}

const user = Middleware.provide(User, Effect.succeed("ann"))
const soldOut = Middleware.handle(OutOfStock, () => Effect.succeed(HttpServerResponse.empty()))
const stamp = Middleware.head("stamp", Effect.map(User, (name) => (head) => head.set("x-user", name)))
const failing = Middleware.around<OutOfStock>(
  "failing",
  (handler) => Effect.andThen(Effect.fail(new OutOfStock({ sku: "a" })), handler)
)

declare const me: Effect.Effect<HttpServerResponse.HttpServerResponse, never, User>
declare const buy: Effect.Effect<HttpServerResponse.HttpServerResponse, OutOfStock>
const ok = Route.get("/", Effect.succeed(HttpServerResponse.text("ok")))
const mine = Route.below(user).get("/me", me)
const buying = Route.below(soldOut).get("/buy", buy)

// an edge that does not keep what `below` was promised
Server.layer(mine, { edge: user })
Server.layer(mine) // error: "no middleware provides": User
Server.layer(mine, { edge: soldOut }) // error: "no middleware provides": User
Server.layer(buying, { edge: soldOut })
Server.layer(buying, { edge: user }) // error: "these errors have no response": OutOfStock
Server.layer(Layer.mergeAll(ok, mine, buying), { edge: Middleware.stack(user, soldOut) })
Server.layer(Layer.mergeAll(ok, mine, buying), { edge: user }) // error: "these errors have no response": OutOfStock
// an edge with needs or errors of its own
Server.layer(ok, { edge: stamp }) // error: "no middleware provides": User
Server.layer(ok, { edge: failing }) // error: "these errors have no response": OutOfStock
Server.layer(ok, { edge: Middleware.stack(soldOut, failing) })
// Effect's own routes are held to the same
Server.layer(HttpRouter.add("GET", "/me", me), { edge: user })
Server.layer(HttpRouter.add("GET", "/me", me)) // error: "no middleware provides": User
Server.layer(HttpRouter.add("GET", "/buy", buy)) // error: "these errors have no response": OutOfStock
// and so is an app under test
App.make(mine) // error: "no middleware provides": User
App.make(buying, { edge: user }) // error: "these errors have no response": OutOfStock
App.listen(mine) // error: "no middleware provides": User
