import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Middleware from "../src/Middleware.ts"
import * as Problem from "../src/Problem.ts"
import * as RequestService from "../src/RequestService.ts"
import * as Route from "../src/Route.ts"
import { App } from "../src/testing/index.ts"

class User extends RequestService.Service<User, string>()("test/User") {}
class NoToken extends Problem.TaggedError<NoToken>()("NoToken", { status: 401, title: "No token" }) {}
class NoKey extends Problem.TaggedError<NoKey>()("NoKey", { status: 401, title: "No key" }) {}
class Forbidden extends Problem.TaggedError<Forbidden>()("Forbidden", { status: 403 }) {}

const field = (name: string) =>
  Effect.map(HttpServerRequest.HttpServerRequest, (request): string | undefined => request.headers[name])

const by = <E>(name: string, failure: () => E) =>
  Middleware.provide(
    User,
    Effect.flatMap(field(name), (value) => value === undefined ? Effect.fail(failure()) : Effect.succeed(value))
  )

const token = by("x-token", () => new NoToken())
const key = by("x-key", () => new NoKey())
const hello = Effect.map(User, (user) => HttpServerResponse.text(user))

const ask = (url: string, headers: Record<string, string> = {}) =>
  Effect.promise(async () => {
    const reply = await fetch(url, { headers })
    return [reply.status, reply.headers.get("x-by"), await reply.text()] as const
  })

describe("some", () => {
  it.effect("takes the first that lets through, and fails as the last does", () =>
    Effect.gen(function*() {
      const { url } = yield* App.listen(Route.get("/", Middleware.some(token, key), hello))
      expect(yield* ask(url, { "x-token": "t", "x-key": "k" })).toEqual([200, null, "t"])
      expect(yield* ask(url, { "x-key": "k" })).toEqual([200, null, "k"])
      const [status, , body] = yield* ask(url)
      expect([status, JSON.parse(body).title]).toEqual([401, "No key"])
    }))

  it.effect("C83: what the handler fails with is not taken for a refusal", () =>
    Effect.gen(function*() {
      let runs = 0
      const handler = Effect.andThen(
        User,
        Effect.suspend(() => {
          runs++
          return Effect.fail(new Forbidden())
        })
      )
      const { url } = yield* App.listen(Route.get("/", Middleware.orElse(token, key), handler))
      expect((yield* ask(url, { "x-token": "t", "x-key": "k" }))[0]).toBe(403)
      expect(runs).toBe(1)
    }))

  it.effect("one that answers by itself has the last word, and so has a defect", () =>
    Effect.gen(function*() {
      const answers = Middleware.around("answers", () => Effect.succeed(HttpServerResponse.text("mine")))
      const dies = Middleware.around("dies", () => Effect.die(new Error("broken")))
      const app = yield* App.listen(Layer.mergeAll(
        Route.get("/a", Middleware.some(answers, Middleware.identity), Effect.succeed(HttpServerResponse.empty())),
        Route.get("/b", Middleware.some(dies, Middleware.identity), Effect.succeed(HttpServerResponse.empty()))
      ))
      expect((yield* ask(`${app.url}/a`))[2]).toBe("mine")
      expect((yield* ask(`${app.url}/b`))[0]).toBe(500)
    }))

  it("names its parts", () => {
    expect(Middleware.some(token, key).label).toBe("some(provide(test/User) | provide(test/User))")
    expect(Middleware.every(token, key).labels).toEqual(Middleware.stack(token, key).labels)
  })
})

describe("branch", () => {
  const mark = (value: string) => Middleware.head(value, (head) => head.set("x-by", value))

  it.effect("takes the middleware of the key, or the other one", () =>
    Effect.gen(function*() {
      const release = Middleware.branch(
        "release",
        (request) => request.headers["x-release"],
        { beta: mark("beta"), next: mark("next") },
        mark("stable")
      )
      const { url } = yield* App.listen(Route.get("/", release, Effect.succeed(HttpServerResponse.text("ok"))))
      for (const [sent, by] of [["beta", "beta"], ["next", "next"], ["toString", "stable"], [undefined, "stable"]]) {
        expect((yield* ask(url, sent === undefined ? {} : { "x-release": sent }))[1]).toBe(by)
      }
      expect(release.label).toBe("release(beta | next | stable)")
      expect(release.response).toBe("head")
    }))

  it.effect("may compute its key, and provides what all of them provide", () =>
    Effect.gen(function*() {
      const guest = Middleware.provide(User, Effect.succeed("guest"))
      const scheme = Middleware.branch("scheme", () => field("x-scheme"), { token, key }, guest)
      const { url } = yield* App.listen(Route.get("/", scheme, hello))
      expect((yield* ask(url, { "x-scheme": "key", "x-key": "k" }))[2]).toBe("k")
      expect((yield* ask(url, { "x-scheme": "token", "x-key": "k" }))[0]).toBe(401)
      expect((yield* ask(url))[2]).toBe("guest")
    }))
})
