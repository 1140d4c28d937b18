import * as Middleware from "@sluice/core/Middleware"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as ApiKey from "../../src/ApiKey.ts"
import * as Authentication from "../../src/Authentication.ts"
import * as BasicAuth from "../../src/BasicAuth.ts"
import * as BearerAuth from "../../src/BearerAuth.ts"
import * as Jwt from "../../src/Jwt.ts"
import * as Policy from "../../src/Policy.ts"

interface Person {
  readonly name: string
  readonly admin: boolean
}
class User extends RequestService.Service<User, Person>()("typetest/User") {}
class Admin extends RequestService.Service<Admin, { readonly name: string }>()("typetest/Admin") {}
class Visitor extends RequestService.Service<Visitor, Option.Option<Person>>()("typetest/Visitor") {}
class Partner extends RequestService.Service<Partner, string>()("typetest/Partner") {}

declare const person: Person
const basic = BasicAuth.make(User, { realm: "x", verify: () => Effect.succeed(Option.some(person)) })
const partner = ApiKey.make(Partner, { in: "header", name: "x-key", realm: "x", verify: ApiKey.table([["k", "acme"]]) })
const admins = Policy.enforce(Policy.make("admins", User, (user) => user.admin))
const admin = Policy.narrow(User, Admin, (user) => user.admin ? Option.some(user) : Option.none())
const visitor = Authentication.optional(Visitor, User, basic)

const me = Effect.map(User, ({ name }) => HttpServerResponse.text(name))
const panel = Effect.map(Admin, ({ name }) => HttpServerResponse.text(name))
const guest = Effect.map(Visitor, (who) => HttpServerResponse.text(Option.isSome(who) ? who.value.name : "nobody"))

// a policy stands below the scheme whose principal it judges
Middleware.stack(basic, admins)
Middleware.stack(admins, basic) // error: "needs a middleware ABOVE it that provides": User
Middleware.stack(partner, admins) // error: "needs a middleware ABOVE it that provides": User
Middleware.stack(admin, basic) // error: "needs a middleware ABOVE it that provides": User
Route.get("/", admins, me) // error: "no middleware provides": User

// what a handler needs narrower than the principal takes the policy that narrows it
Route.get("/panel", Middleware.stack(basic, admin), panel)
Route.get("/panel", basic, panel) // error: "no middleware provides": Admin
Route.get("/panel", Middleware.stack(basic, admins), panel) // error: "no middleware provides": Admin

// C84 C105 an optional principal is an Option and nothing else; `when` does not go with a scheme
Route.get("/", visitor, guest)
Route.get("/", visitor, me) // error: "no middleware provides": User
Route.get("/", Middleware.stack(visitor, admins), guest) // error: "needs a middleware ABOVE it that provides": User
Middleware.when(() => true, basic) // error: is not assignable to type 'never'

// one of several schemes provides what each of them does
Route.get("/", Authentication.anyOf(basic, basic), me)
Route.get("/", Authentication.anyOf(basic, partner), me) // error: "no middleware provides": User
Authentication.optional(Visitor, User, partner) // error: is not assignable to

// C85 whoever verifies makes the principal that was declared
BasicAuth.make(User, { realm: "x", verify: () => Effect.succeed(Option.some({ name: "ann" })) }) // error: Property 'admin' is missing
BearerAuth.make(User, { realm: "x", verify: () => Effect.succeed(Option.some("ann")) }) // error: is not assignable to
ApiKey.make(User, { in: "query", name: "key", realm: "x", verify: ApiKey.table([["k", 1]]) }) // error: is not assignable to
Policy.narrow(User, Admin, () => Option.some("ann")) // error: is not assignable to

// C85 claims are the principal, decoded
const settings = { realm: "x", keys: Jwt.secret(Redacted.make("")), issuer: "i", audience: "a" } as const
Jwt.make(User, {
  ...settings,
  algorithms: ["HS256"],
  claims: Schema.Struct({ name: Schema.String, admin: Schema.Boolean })
})
Jwt.make(User, { ...settings, algorithms: ["HS256"], claims: Schema.Struct({ name: Schema.String }) }) // error: is not assignable to
Jwt.make(Partner, { ...settings, algorithms: ["none"], claims: Schema.String }) // error: "none"' is not assignable to
