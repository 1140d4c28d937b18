import { Middleware, Problem, RequestService, Route } from "@sluice/core"
import { IdempotencyKey } from "@sluice/middleware"
import { Effect } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"

class User extends RequestService.Service<User, string>()("app/User") {}
class Unauthorized extends Problem.TaggedError<Unauthorized>()("Unauthorized", { status: 401 }) {}

const user = Middleware.provide(
  User,
  Effect.flatMap(
    HttpServerRequest.HttpServerRequest,
    ({ headers }) =>
      headers["x-user"] === undefined ? Effect.fail(new Unauthorized({})) : Effect.succeed(headers["x-user"])
  )
)
const once = IdempotencyKey.make({ scope: () => User })
const pay = Effect.succeed(HttpServerResponse.empty())

// keys are kept by who asks, so who asks must be known first
Route.post("/pay", Middleware.stack(user, once), pay)
Middleware.stack(once, user) // error: "needs a middleware ABOVE it that provides": User
Route.post("/pay", once, pay) // error: "no middleware provides": User

// whose key it is can't be left out
IdempotencyKey.make({}) // error: Property 'scope' is missing
