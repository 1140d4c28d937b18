/** What the compiler computes: each line that says `true` is an error when two types are not the same. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { HttpRouter, Request } from "effect/http/HttpRouter"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type { Handler } from "../src/Handler.ts"
import * as Middleware from "../src/Middleware.ts"
import * as NodeServer from "../src/NodeServer.ts"
import * as Problem from "../src/Problem.ts"
import * as RequestService from "../src/RequestService.ts"
import * as Route from "../src/Route.ts"
import * as Server from "../src/Server.ts"
import { App } from "../src/testing/index.ts"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false

class RequestId extends RequestService.Service<RequestId, string>()("typetest/RequestId") {}
class User extends RequestService.Service<User, { readonly id: string }>()("typetest/User") {}
class Database extends Context.Service<Database, { readonly find: (id: string) => string }>()("typetest/Database") {}
class Unauthorized extends Problem.TaggedError<Unauthorized>()("Unauthorized", { status: 401 }) {}
class Late extends Problem.TaggedError<Late>()("Late", { status: 503 }) {}
class OutOfStock extends Data.TaggedError("OutOfStock")<{ readonly sku: string }> {}

const ok = Effect.succeed(HttpServerResponse.text("ok"))

const requestId = Middleware.provide(RequestId, Effect.succeed("7f3a"))
const auth = Middleware.provide(
  User,
  Effect.gen(function*() {
    const { find } = yield* Database
    const id = yield* RequestId
    if (id === "") return yield* new Unauthorized()
    return { id: find(id) }
  })
)
const timeout = Middleware.around<Late>("timeout", (handler) => Effect.andThen(Effect.fail(new Late()), handler))
const soldOut = Middleware.handle(OutOfStock, () => ok)
const log = Middleware.observe("log", () => Effect.asVoid(Database))
const stamp = Middleware.head("stamp", Effect.map(RequestId, (id) => (head) => head.set("x-id", id)))

// The constructors derive what a middleware provides, may fail with, requires and handles.
export const derived: [
  Equal<typeof requestId, Middleware.Middleware<RequestId>>,
  Equal<typeof auth, Middleware.Middleware<User, Unauthorized, Database | RequestId>>,
  Equal<typeof timeout, Middleware.Middleware<never, Late>>,
  Equal<typeof soldOut, Middleware.Middleware<never, never, HttpServerRequest, OutOfStock>>,
  Equal<typeof log, Middleware.Middleware<never, never, Database | HttpServerRequest>>,
  Equal<typeof stamp, Middleware.Middleware<never, never, RequestId | HttpServerRequest>>
] = [true, true, true, true, true, true]

// A stack adds them up: what an outer one provides or handles is no longer required or left to fail below it.
const api = Middleware.stack(requestId, soldOut, auth, timeout)
export const computed: Equal<
  typeof api,
  Middleware.Middleware<RequestId | User, Unauthorized | Late, Database | HttpServerRequest, OutOfStock>
> = true

// C70 compose is associative.
const left = Middleware.compose(Middleware.compose(requestId, auth), timeout)
const right = Middleware.compose(requestId, Middleware.compose(auth, timeout))
const flat = Middleware.stack(requestId, auth, timeout)
export const associative: [Equal<typeof left, typeof right>, Equal<typeof left, typeof flat>] = [true, true]

const handled = Middleware.compose(soldOut, Middleware.compose(requestId, stamp))
const handledToo = Middleware.compose(Middleware.compose(soldOut, requestId), stamp)
export const associativeWithHandled: Equal<typeof handled, typeof handledToo> = true

// C70 identity is neutral, and a stack of nothing is identity.
const before = Middleware.compose(Middleware.identity, auth)
const after = Middleware.compose(auth, Middleware.identity)
const nothing = Middleware.stack()
const one = Middleware.stack(requestId)
export const neutral: [
  Equal<typeof before, typeof auth>,
  Equal<typeof after, typeof auth>,
  Equal<typeof nothing, Middleware.Middleware>,
  Equal<typeof one, typeof requestId>
] = [true, true, true, true]

// `compose` leaves open what `stack` would refuse.
const open = Middleware.compose(stamp, timeout)
export const openEnded: Equal<Middleware.Requires<typeof open>, RequestId | HttpServerRequest> = true

// Applied to a handler, a middleware takes away what it provides and handles, and adds what it fails with and requires.
declare const buy: Handler<OutOfStock | Late, User | Database>
const mounted = api(buy)
export const applied: Equal<typeof mounted, Handler<Unauthorized | Late, Database | HttpServerRequest>> = true

// `when` keeps failures and requirements, and adds those of its predicate.
const sometimes = Middleware.when(() => Effect.flatMap(Database, () => Effect.fail(new Unauthorized())), timeout)
export const conditional: [
  Equal<Middleware.Fails<typeof sometimes>, Late | Unauthorized>,
  Equal<Middleware.Requires<typeof sometimes>, Database | HttpServerRequest>,
  Equal<Middleware.Provides<typeof sometimes> | Middleware.Handles<typeof sometimes>, never>
] = [true, true, true]

// A route still asks the application for its services, and says which errors it may answer with.
const route = Route.get("/buy", api, buy)
export const routeNeeds: Equal<
  Layer.Services<typeof route>,
  HttpRouter | Request<"Requires", Database> | Request<"Error", Unauthorized> | Request<"Error", Late>
> = true

// Inline middleware is inferred like any other.
export const inline = [
  Route.get("/", Middleware.head("x", (head) => head.remove("x")), ok),
  Route.get("/", Middleware.around("x", (handler) => handler), ok),
  Route.get("/", Middleware.observe("x", () => Effect.void), ok),
  Route.get("/", Middleware.provide(RequestId, Effect.succeed("x")), Effect.map(RequestId, HttpServerResponse.text)),
  Route.get("/", Middleware.handle(OutOfStock, () => ok), Effect.fail(new OutOfStock({ sku: "a" }))),
  Route.get("/", Middleware.when(() => true, Middleware.head("x", (head) => head.remove("x"))), ok),
  Route.get("/", Middleware.compose(Middleware.around("x", (handler) => handler), Middleware.identity), ok),
  Route.get(
    "/",
    Middleware.stack(
      Middleware.around("x", (handler) => handler),
      requestId,
      Middleware.head("y", Effect.map(RequestId, (id) => (head) => head.set("x-id", id)))
    ),
    Effect.map(RequestId, HttpServerResponse.text)
  ),
  Route.group("/g", Middleware.provide(RequestId, Effect.succeed("x"))).get(
    "/",
    Effect.map(RequestId, HttpServerResponse.text)
  )
] as const

// What a group provides is there for its routes; what an edge provides, for the routes below it.
export const grouped = Route.group("/api", requestId).group("/v1", auth).get(
  "/me",
  Effect.map(User, ({ id }) => HttpServerResponse.text(id))
)
const below = Route.below(requestId).get("/id", Effect.map(RequestId, HttpServerResponse.text))

// A server asks for its settings and what routes and edge need of the application, and nothing that the edge provides.
const server = Server.layer(Layer.mergeAll(route, below), { edge: Middleware.stack(requestId, log) })
export const serverNeeds: [
  Equal<Layer.Services<typeof server>, NodeServer.NodeServer | Database>,
  Equal<Layer.Error<typeof server>, NodeServer.ListenError>
] = [true, true]
const health = Server.layer(route, { health: { checks: { database: Effect.asVoid(Database) } } })
export const healthNeeds: Equal<Layer.Services<typeof health>, NodeServer.NodeServer | Database> = true

// So does an app under test, but for the server's settings.
const app = App.make(route)
export const appNeeds: Equal<Effect.Services<typeof app>, Database | import("effect/Scope").Scope> = true
