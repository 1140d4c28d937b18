import * as Middleware from "@sluice/core/Middleware"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as RateLimit from "../../src/RateLimit.ts"

class User extends RequestService.Service<User, { readonly id: string; readonly cost: number }>()("typetest/User") {}

const user = Middleware.provide(User, Effect.succeed({ id: "ann", cost: 2 }))
const byUser = RateLimit.make({ limit: 10, window: "1 minute", key: Effect.map(User, ({ id }) => id) })
const costly = RateLimit.make({ limit: 10, window: "1 minute", cost: Effect.map(User, ({ cost }) => cost) })
const hello = Effect.succeed(HttpServerResponse.text("hello"))

// C69 a limit by user stands below what provides the user
Middleware.stack(user, byUser, costly)
Middleware.stack(byUser, user) // error: "needs a middleware ABOVE it that provides": User
Middleware.stack(costly, user) // error: "needs a middleware ABOVE it that provides": User
Route.get("/", Middleware.stack(user, byUser), hello)
Route.get("/", byUser, hello) // error: "no middleware provides": User
