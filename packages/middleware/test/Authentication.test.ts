import { describe, expect, it } from "@effect/vitest"
import type * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createHmac } from "node:crypto"
import * as ApiKey from "../src/ApiKey.ts"
import * as Authentication from "../src/Authentication.ts"
import * as BasicAuth from "../src/BasicAuth.ts"
import * as Jwt from "../src/Jwt.ts"
import * as Policy from "../src/Policy.ts"
import { exchanges, turn } from "./kit.ts"
import type { Person } from "./utils/people.ts"
import { ask, guarded, User, whoami } from "./utils/people.ts"

class Visitor extends RequestService.Service<Visitor, Option.Option<Person>>()("test/Visitor") {}
class Refused extends Problem.TaggedError<Refused>()("Refused", { status: 403, title: "Not this one" }) {}

const shared = Buffer.alloc(32, 7)

const tokenOf = (claims: object) => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const signed = `${part({ alg: "HS256" })}.${part({ iss: "i", aud: "x", exp: 600, ...claims })}`
  return `Authorization: Bearer ${signed}.${createHmac("sha256", shared).update(signed).digest("base64url")}`
}

const good = tokenOf({ name: "token" })
const bad = tokenOf({ name: "token", exp: -600 })

const jwt = Jwt.make(User, {
  realm: "x",
  keys: Jwt.secret(Redacted.make(shared)),
  algorithms: ["HS256"],
  issuer: "i",
  audience: "x",
  claims: Schema.Struct({ name: Schema.String }),
  userId: (user) => user.name
})

const apiKey = ApiKey.make(User, {
  in: "header",
  name: "x-key",
  realm: "x",
  verify: ApiKey.table([[Redacted.make("k"), { name: "key" }]])
})

const basic = BasicAuth.make(User, {
  realm: "x",
  verify: BasicAuth.table({ ann: { password: Redacted.make("p"), principal: { name: "basic" } } })
})

const visit = Effect.map(Visitor, (visitor) =>
  HttpServerResponse.text(Option.match(visitor, {
    onNone: () => "nobody",
    onSome: ({ name }) => name
  })))

describe("optional", () => {
  it.effect("C84: no credentials are none, bad ones are 401", () =>
    Effect.gen(function*() {
      const { port } = yield* App.listen(Route.get("/", Authentication.optional(Visitor, User, jwt), visit))
      expect((yield* ask(port)).body).toBe("nobody")
      expect((yield* ask(port, [good])).body).toBe("token")
      expect((yield* ask(port, [bad])).status).toBe(401)
      expect((yield* ask(port, ["Authorization: Bearer"])).status).toBe(400)
      expect((yield* ask(port, ["Authorization: Basic YW5uOnA="])).body).toBe("nobody")
    }))

  it.effect("C84: of several schemes", () =>
    Effect.gen(function*() {
      const several = Authentication.optional(Visitor, User, Authentication.anyOf(jwt, apiKey))
      const { port } = yield* App.listen(Route.get("/", several, visit))
      expect((yield* ask(port)).body).toBe("nobody")
      expect((yield* ask(port, ["X-Key: k"])).body).toBe("key")
      expect((yield* ask(port, ["X-Key: z"])).status).toBe(401)
      expect((yield* ask(port, [bad])).status).toBe(401)
      expect((yield* ask(port, [bad, "X-Key: k"])).status).toBe(401)
    }))

  it.effect("what the handler fails with is not taken for a lack of credentials", () =>
    Effect.gen(function*() {
      let runs = 0
      const failing = Effect.andThen(
        Visitor,
        Effect.suspend(() => {
          runs++
          return Effect.fail(new Authentication.MissingCredentials({ challenges: ["Own"] }))
        })
      )
      const optional = Authentication.optional(Visitor, User, jwt)
      const { port } = yield* App.listen(Route.get("/", optional, failing))
      const reply = yield* ask(port, [good])
      expect([reply.status, reply.challenge, runs]).toEqual([401, "Own", 1])
      expect(optional.label).toBe("optional(Jwt)")
      expect(optional.response).toBe("none")
    }))
})

describe("anyOf", () => {
  const either = Authentication.anyOf(jwt, basic, apiKey)

  it.effect("takes the scheme that the request has credentials for", () =>
    Effect.gen(function*() {
      const port = yield* guarded(either)
      expect((yield* ask(port, [good])).body).toBe("token")
      expect((yield* ask(port, ["Authorization: Basic YW5uOnA="])).body).toBe("basic")
      expect((yield* ask(port, ["X-Key: k"])).body).toBe("key")
      expect((yield* ask(port, [good, "X-Key: wrong"])).body).toBe("token")
      expect(either.label).toBe("anyOf(Jwt | BasicAuth | ApiKey(header x-key))")
      expect(either.response).toBe("none")
    }))

  it.effect("without credentials the answer has every challenge", () =>
    Effect.gen(function*() {
      const reply = yield* ask(yield* guarded(either))
      expect(reply.status).toBe(401)
      expect(reply.challenge).toBe(`Bearer realm="x", Basic realm="x", charset="UTF-8", ApiKey realm="x"`)
    }))

  it.effect("bad credentials are the end", () =>
    Effect.gen(function*() {
      const port = yield* guarded(either)
      const reply = yield* ask(port, [bad, "X-Key: k"])
      expect(reply.status).toBe(401)
      expect(reply.challenge).toContain(`error="invalid_token", error_description="The token has expired"`)
    }))

  it.effect("C83: the handler's own 401 and 403 are its own", () =>
    Effect.gen(function*() {
      let runs = 0
      const failing = (error: Refused | Authentication.MissingCredentials) =>
        Effect.andThen(
          User,
          Effect.suspend(() => {
            runs++
            return Effect.fail(error)
          })
        )
      const missing = new Authentication.MissingCredentials({ challenges: ["Own"] })
      const forbidden = yield* App.listen(Route.get("/", either, failing(new Refused())))
      const unauthorized = yield* App.listen(Route.get("/", either, failing(missing)))
      expect((yield* ask(forbidden.port, [good, "X-Key: k"])).status).toBe(403)
      const reply = yield* ask(unauthorized.port, [good, "X-Key: k"])
      expect([reply.status, reply.challenge]).toEqual([401, "Own"])
      expect(runs).toBe(2)
    }))
})

describe("Middleware.some of schemes", () => {
  const either = Middleware.some(jwt, apiKey)

  it.effect("C83: tries the next one, and the handler's own 403 stays 403", () =>
    Effect.gen(function*() {
      const port = yield* guarded(either)
      expect((yield* ask(port, [good])).body).toBe("token")
      expect((yield* ask(port, ["X-Key: k"])).body).toBe("key")
      expect((yield* ask(port, [bad, "X-Key: k"])).body).toBe("key")
      expect((yield* ask(port, [bad])).status).toBe(401)
      expect((yield* ask(port)).challenge).toBe(`ApiKey realm="x"`)
      const denied = Middleware.stack(either, Policy.enforce(Policy.make("nobody", User, () => false)))
      expect((yield* ask(yield* guarded(denied), [good])).status).toBe(403)
      const { port: own } = yield* App.listen(Route.get("/", either, Effect.andThen(User, Effect.fail(new Refused()))))
      const reply = yield* ask(own, [good])
      expect([reply.status, JSON.parse(reply.body).title]).toEqual([403, "Not this one"])
    }))
})

describe("userId", () => {
  it.effect("says whose request it is, and nothing when it is not asked for", () =>
    Effect.gen(function*() {
      const { ended, observer } = exchanges()
      const { port, active } = yield* App.listen(
        Route.get("/", Authentication.anyOf(jwt, basic), whoami),
        { edge: observer }
      )
      for (const field of [good, "Authorization: Basic YW5uOnA=", bad]) yield* ask(port, [field])
      while ((yield* active) > 0) yield* turn
      const ids = ended.map((exchange: Exchange.Ended) => exchange.attributes.get("user.id"))
      expect(ids).toEqual(["token", undefined, undefined])
      expect(ended[0].attributes.get("user")).toEqual({ id: "token" })
    }))
})

describe("the errors", () => {
  it.effect("can be decoded by clients", () =>
    Effect.gen(function*() {
      const reply = yield* ask(yield* guarded(apiKey))
      const error = yield* Schema.decodeUnknownEffect(Authentication.MissingCredentials)(JSON.parse(reply.body))
      expect(error.challenges).toEqual([`ApiKey realm="x"`])
    }))
})
