import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Middleware from "../../src/Middleware.ts"
import * as Problem from "../../src/Problem.ts"
import * as RequestService from "../../src/RequestService.ts"
import * as Route from "../../src/Route.ts"

class User extends RequestService.Service<User, string>()("typetest/User") {}
class Database extends Context.Service<Database, string>()("typetest/Database") {}
class Refused extends Problem.TaggedError<Refused>()("Refused", { status: 403 }) {}
class OutOfStock extends Data.TaggedError("OutOfStock")<{ readonly sku: string }> {}

const user = Middleware.provide(User, Effect.succeed("ann"))
const soldOut = Middleware.handle(OutOfStock, () => Effect.succeed(HttpServerResponse.empty()))
const failing = Middleware.around<OutOfStock>(
  "failing",
  (handler) => Effect.andThen(Effect.fail(new OutOfStock({ sku: "a" })), handler)
)

declare const buy: Effect.Effect<HttpServerResponse.HttpServerResponse, OutOfStock | Refused, User | Database>
declare const me: Effect.Effect<HttpServerResponse.HttpServerResponse, never, User>

// C69 everything rendered and provided
Route.post("/buy", Middleware.stack(user, soldOut), buy)
// C69 an error without a response
Route.post("/buy", user, buy) // error: "these errors have no response": OutOfStock
// C69 a service that nothing provides
Route.post("/buy", soldOut, buy) // error: "no middleware provides": User
Route.get("/me", me) // error: "no middleware provides": User
// both at once
Route.get("/buy", buy) // error: "these errors have no response": OutOfStock
// an error that a middleware adds
Route.get("/me", Middleware.stack(user, failing), me) // error: "these errors have no response": OutOfStock
Route.get("/me", Middleware.stack(soldOut, user, failing), me)
// one that is handled below where it is added
Route.get("/me", Middleware.stack(user, failing, soldOut), me) // error: "these errors have no response": OutOfStock
// inline middleware is checked like any other
Route.get("/me", Middleware.head("x", (head) => head.remove("x")), me) // error: "no middleware provides": User
Route.get("/buy", Middleware.stack(user, Middleware.around("x", (handler) => handler)), buy) // error: "these errors have no response": OutOfStock
// groups
Route.group("/api", user).get("/me", me)
Route.group("/api", soldOut).get("/me", me) // error: "no middleware provides": User
Route.group("/api").group("/v1", user).post("/buy", buy) // error: "these errors have no response": OutOfStock
// what an edge is said to provide
Route.below(user).get("/me", me)
Route.below(soldOut).get("/me", me) // error: "no middleware provides": User
// a handler makes a response
Route.get("/text", Effect.succeed("text")) // error: is not assignable to
// a path begins with a slash
Route.get("me", user, me) // error: is not assignable to
