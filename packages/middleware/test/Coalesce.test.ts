import { assert, describe, it } from "@effect/vitest"
import * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ApiKey from "../src/ApiKey.ts"
import * as Coalesce from "../src/Coalesce.ts"
import { open, refused, send, settled, start, turn, until } from "./kit.ts"

const hostOf = (server: Server.Server["Service"]) => server.url.slice("http://".length)

/** Sends requests, opens the latch when all of them have arrived, and gives the bodies. */
const together = (
  server: Server.Server["Service"],
  latch: Deferred.Deferred<void>,
  ...inits: ReadonlyArray<RequestInit>
) =>
  Effect.gen(function*() {
    const replies = yield* Effect.forkChild(
      Effect.all(inits.map((init) => send(server, "/", init)), { concurrency: "unbounded" })
    )
    while ((yield* server.active) < inits.length) yield* turn
    for (let i = 0; i < 10; i++) yield* turn
    yield* Deferred.succeed(latch, undefined)
    return yield* Fiber.join(replies)
  })

/** A handler that waits, counts its runs and says which one it was. */
const waiting = (headers: Record<string, string> = {}) =>
  Effect.map(Deferred.make<void>(), (latch) => {
    const seen = { runs: 0 }
    const handler = Effect.suspend(() => {
      const run = ++seen.runs
      return Effect.as(Deferred.await(latch), HttpServerResponse.text(`run ${run}`, { headers }))
    })
    return { seen, handler, latch }
  })

describe("Coalesce", () => {
  it.effect("identical requests that run together share one run, with what its stack adds", () =>
    Effect.gen(function*() {
      const { handler, latch, seen } = yield* waiting()
      const edited = Effect.andThen(Exchange.editHead((head) => head.set("x-inside", "yes")), handler)
      const server = yield* start(Server.layer(Route.get("/", Coalesce.make(), edited)))
      const replies = yield* together(server, latch, {}, {}, {})
      assert.deepStrictEqual(
        replies.map(({ body, headers }) => [body, headers.get("x-inside")]),
        Array.from({ length: 3 }, () => ["run 1", "yes"])
      )
      assert.strictEqual((yield* send(server)).body, "run 2")
      assert.strictEqual(seen.runs, 2)
    }))

  it.effect("followers survive the leader's disconnect", () =>
    Effect.gen(function*() {
      const { handler, latch, seen } = yield* waiting()
      let released = false
      const holding = Effect.andThen(
        Effect.flatMap(Effect.scope, (scope) => Scope.addFinalizer(scope, Effect.sync(() => void (released = true)))),
        Effect.tap(handler, () => Effect.sync(() => assert.isFalse(released)))
      )
      const server = yield* start(Server.layer(Route.get("/", Coalesce.make({ key: ({ url }) => url }), holding)))
      const leader = yield* open(server)
      leader.socket.write(`GET / HTTP/1.1\r\nhost: ${hostOf(server)}\r\n\r\n`)
      yield* until(() => seen.runs === 1)
      const follower = yield* Effect.forkChild(send(server))
      while ((yield* server.active) < 2) yield* turn
      leader.socket.destroy()
      while ((yield* server.active) > 1) yield* turn
      // Had its leaving ended the run, it would have by now.
      for (let i = 0; i < 20; i++) yield* turn
      yield* Deferred.succeed(latch, undefined)
      const reply = yield* Fiber.join(follower)
      assert.deepStrictEqual([reply.status, reply.body, seen.runs], [200, "run 1", 1])
      yield* settled(server)
      yield* until(() => released)
    }))

  it.effect("a failure is everybody's", () =>
    Effect.gen(function*() {
      class Busy extends Problem.TaggedError<Busy>()("Busy", { status: 409 }) {}
      const { handler, latch, seen } = yield* waiting()
      const failing = Effect.andThen(handler, Effect.fail(new Busy({})))
      const server = yield* start(Server.layer(Route.get("/", Coalesce.make(), failing)))
      const replies = yield* together(server, latch, {}, {})
      assert.deepStrictEqual([replies.map(({ status }) => status), seen.runs], [[409, 409], 1])
    }))

  it.effect("what differs runs apart: credentials, fields that select, methods", () =>
    Effect.gen(function*() {
      const { handler, latch, seen } = yield* waiting()
      const server = yield* start(Server.layer(Route.all("/", Coalesce.make(), handler)))
      yield* together(
        server,
        latch,
        {},
        { headers: { authorization: "a" } },
        { headers: { authorization: "a" } },
        { headers: { cookie: "a=b" } },
        { headers: { accept: "text/html" } },
        { method: "POST" },
        { method: "POST" },
        {}
      )
      assert.strictEqual(seen.runs, 7)
    }))

  it.effect("what an API key has opened is its client's, wherever it is asked for", () =>
    Effect.gen(function*() {
      class Client extends RequestService.Service<Client, string>()("test/Client") {}
      const auth = ApiKey.make(Client, {
        in: "header",
        name: "x-api-key",
        realm: "r",
        verify: (key) => Effect.succeed(Option.some(Redacted.value(key)))
      })
      for (const stack of [Middleware.stack(auth, Coalesce.make()), Middleware.stack(Coalesce.make(), auth)]) {
        const { handler, latch } = yield* waiting()
        const answer = Effect.andThen(handler, Effect.map(Client, (client) => HttpServerResponse.text(client)))
        const server = yield* start(Server.layer(Route.get("/", stack, answer)))
        const as = (key: string) => ({ headers: { "x-api-key": key } })
        const replies = yield* together(server, latch, as("a"), as("b"), as("c"))
        assert.deepStrictEqual(replies.map(({ body }) => body), ["a", "b", "c"])
      }
    }))

  it.effect("a key of one's own decides alone", () =>
    Effect.gen(function*() {
      const { handler, latch, seen } = yield* waiting()
      const key = ({ headers }: HttpServerRequest.HttpServerRequest) => headers.authorization
      const server = yield* start(Server.layer(Route.get("/", Coalesce.make({ key }), handler)))
      const as = (authorization: string) => ({ headers: { authorization } })
      const replies = yield* together(server, latch, as("a"), as("a"), as("b"), {}, {})
      assert.strictEqual(seen.runs, 4)
      assert.strictEqual(replies[0].body, replies[1].body)
    }))

  it.effect("a response that is one client's is given to one client", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<Record<string, string>> = [
        { "set-cookie": "a=b" },
        { "cache-control": "Private" },
        { "cache-control": "no-store" },
        { vary: "x-tenant" },
        { "content-type": "text/event-stream" }
      ]
      for (const headers of cases) {
        const { handler, latch, seen } = yield* waiting(headers)
        const server = yield* start(Server.layer(Route.get("/", Coalesce.make(), handler)))
        const replies = yield* together(server, latch, {}, {})
        assert.deepStrictEqual(replies.map(({ body }) => body).toSorted(), ["run 1", "run 2"], JSON.stringify(headers))
        assert.strictEqual(seen.runs, 2)
      }
    }))

  it.effect("a stream within the limit is shared, a longer one is whole for everybody", () =>
    Effect.gen(function*() {
      const parts = Array.from({ length: 10 }, (_, i) => new TextEncoder().encode(`part ${i};`))
      const whole = Buffer.concat(parts).toString()
      for (const [maxBodyBytes, expected] of [[100, 1], [30, 2]] as const) {
        const { handler, latch, seen } = yield* waiting()
        const streaming = Effect.as(handler, HttpServerResponse.stream(Stream.fromIterable(parts)))
        const server = yield* start(Server.layer(Route.get("/", Coalesce.make({ maxBodyBytes }), streaming)))
        const replies = yield* together(server, latch, {}, {})
        assert.deepStrictEqual([replies.map(({ body }) => body), seen.runs], [[whole, whole], expected])
      }
    }))

  it.effect("a body that breaks off is an error for everybody, and never a part of it", () =>
    Effect.gen(function*() {
      const broken = HttpServerResponse.stream(
        Stream.concat(Stream.succeed(new TextEncoder().encode("half")), Stream.fail("gone"))
      )
      const server = yield* start(Server.layer(Layer.merge(
        Route.get("/", Coalesce.make(), Effect.succeed(broken)),
        Route.get("/other", Effect.succeed(HttpServerResponse.empty()))
      )))
      assert.strictEqual((yield* send(server)).status, 500)
    }))

  it("refuses a limit that is none", () => {
    assert.match(refused(() => Coalesce.make({ maxBodyBytes: Number.NaN })), /RangeError: maxBodyBytes/)
  })
})
