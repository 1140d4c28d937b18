import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Middleware from "../../src/Middleware.ts"
import * as Problem from "../../src/Problem.ts"
import * as RequestService from "../../src/RequestService.ts"
import * as Route from "../../src/Route.ts"

class RequestId extends RequestService.Service<RequestId, string>()("typetest/RequestId") {}
class User extends RequestService.Service<User, string>()("typetest/User") {}
class OutOfStock extends Problem.TaggedError<OutOfStock>()("OutOfStock", { status: 409 }) {}

const requestId = Middleware.provide(RequestId, Effect.succeed("7f3a"))
const user = Middleware.provide(User, RequestId)
const stamp = Middleware.head("stamp", Effect.map(RequestId, (id) => (head) => head.set("x-id", id)))
const soldOut = Middleware.handle(OutOfStock, () => Effect.succeed(HttpServerResponse.empty()))

// C69 a stack in the wrong order, at the element that is out of order
Middleware.stack(requestId, stamp, user)
Middleware.stack(stamp, requestId) // error: "needs a middleware ABOVE it that provides": RequestId
Middleware.stack(user, requestId) // error: "needs a middleware ABOVE it that provides": RequestId
Middleware.stack(requestId, soldOut, stamp)
Middleware.stack(soldOut, stamp, requestId) // error: "needs a middleware ABOVE it that provides": RequestId
Middleware.stack(Middleware.head("x", Effect.map(RequestId, (id) => (head) => head.set("x", id))), requestId) // error: "needs a middleware ABOVE it that provides": RequestId

// an array has no order that the compiler knows
declare const several: ReadonlyArray<typeof requestId>
Middleware.stack(...several) // error: is not assignable to parameter of type

// an observer runs after the request, whose services are gone
Middleware.observe("log", () => Effect.void)
Middleware.observe("log", () => Effect.asVoid(RequestId)) // error: "an observer reads the exchange, not the per-request service": RequestId

// an observer cannot fail
Middleware.observe("log", () => Effect.fail("no")) // error: is not assignable to type 'never'

// C105 `when` must not claim to provide or to handle anything
Middleware.when(() => true, stamp)
Middleware.when(() => true, requestId) // error: is not assignable to type 'never'
Middleware.when(() => true, soldOut) // error: is not assignable to type 'never'

// a middleware around a handler cannot invent failures that it does not declare
Middleware.around("failing", (handler) => Effect.andThen(Effect.fail(new OutOfStock()), handler)) // error: 'E | OutOfStock' is not assignable to type 'E'

// a choice provides what each of its middleware provides, and a branch too
const hello = Effect.map(User, HttpServerResponse.text)
const guest = Middleware.provide(User, Effect.succeed("guest"))
Route.get("/", Middleware.stack(requestId, Middleware.some(user, guest)), hello)
Route.get("/", Middleware.stack(requestId, Middleware.some(user, stamp)), hello) // error: "no middleware provides": User
Route.get("/", Middleware.branch("plan", () => "a", { a: guest, b: guest }, guest), hello)
Route.get("/", Middleware.branch("plan", () => "a", { a: guest, b: guest }, Middleware.identity), hello) // error: "no middleware provides": User
Middleware.stack(Middleware.orElse(user, guest), requestId) // error: "needs a middleware ABOVE it that provides": RequestId

// what is provided is what the service is
class Account
  extends RequestService.Service<Account, { readonly id: string; readonly admin: boolean }>()("typetest/Account")
{}
Middleware.provide(Account, Effect.succeed({ id: "ann", admin: true, more: 1 }))
Middleware.provide(Account, Effect.succeed({ id: "ann" })) // error: Property 'admin' is missing
