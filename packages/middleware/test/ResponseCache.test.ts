import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, describe, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import * as ApiKey from "../src/ApiKey.ts"
import * as CacheControl from "../src/CacheControl.ts"
import { requestedHost } from "../src/internal/requestedHost.ts"
import * as ResponseCache from "../src/ResponseCache.ts"
import { logs, open, raw, refused, send, start, turn, until } from "./kit.ts"
import { hasRedis, redisNote, redisServer } from "./utils/redis.ts"

const memory = ResponseCache.layerMemory()

/** A handler that counts its runs and says which one it was. */
const counting = (headers: Record<string, string>, status = 200) => {
  const seen = { runs: 0 }
  const handler = Effect.sync(() => HttpServerResponse.text(`run ${++seen.runs}`, { headers, status }))
  return { seen, handler }
}

const fresh = { "cache-control": "max-age=60" }

describe("ResponseCache", () => {
  it.effect("C97 answers from what is fresh, and Age grows", () =>
    Effect.gen(function*() {
      const { handler, seen } = counting(fresh)
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      const first = yield* send(server)
      assert.deepStrictEqual(
        [first.body, first.headers.get("age"), first.headers.get("cache-status")],
        ["run 1", null, "sluice;fwd=uri-miss;stored"]
      )
      yield* TestClock.adjust("25 seconds")
      const second = yield* send(server)
      assert.deepStrictEqual(
        [
          second.body,
          second.headers.get("age"),
          second.headers.get("cache-status"),
          second.headers.get("content-type")
        ],
        ["run 1", "25", "sluice;hit;ttl=35", first.headers.get("content-type")]
      )
      yield* TestClock.adjust("35 seconds")
      const third = yield* send(server)
      assert.deepStrictEqual([third.body, third.headers.get("cache-status")], ["run 2", "sluice;fwd=uri-miss;stored"])
      assert.strictEqual(seen.runs, 2)
    }).pipe(Effect.provide(memory)))

  it.effect("C97 Vary splits, also among requests that come at the same time", () =>
    Effect.gen(function*() {
      let runs = 0
      const handler = Effect.map(HttpServerRequest.HttpServerRequest, ({ headers }) => {
        runs++
        return HttpServerResponse.text(headers["accept-language"] ?? "none", {
          headers: { ...fresh, vary: "Accept-Language" }
        })
      })
      const slow = Effect.andThen(turn, handler)
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), slow)))
      const ask = (language: string) =>
        Effect.map(send(server, "/", { headers: { "accept-language": language } }), ({ body }) => body)
      const languages = ["en", "de", "fr", "en", "de", "fr"]
      assert.deepStrictEqual(yield* Effect.all(languages.map(ask), { concurrency: "unbounded" }), languages)
      const before = runs
      assert.deepStrictEqual(yield* Effect.all(languages.map(ask), { concurrency: "unbounded" }), languages)
      assert.strictEqual(runs, before)
      const miss = yield* send(server, "/", { headers: { "accept-language": "it" } })
      assert.strictEqual(miss.headers.get("cache-status"), "sluice;fwd=vary-miss;stored")
    }).pipe(Effect.provide(memory)))

  it.effect("C97 a response to Authorization is not shared, unless that is allowed and the response says so", () =>
    Effect.gen(function*() {
      const handler = Effect.map(
        HttpServerRequest.HttpServerRequest,
        ({ headers, url }) =>
          HttpServerResponse.text(headers.authorization ?? "nobody", {
            headers: { "cache-control": url === "/public" ? "public, max-age=60" : "max-age=60" }
          })
      )
      const allowing = ResponseCache.make({ allowAuthorization: true })
      const server = yield* start(Server.layer(Layer.mergeAll(
        Route.get("/", ResponseCache.make(), handler),
        Route.get("/private", allowing, handler),
        Route.get("/public", allowing, handler)
      )))
      const ask = (path: string, authorization: string) =>
        Effect.map(send(server, path, { headers: { authorization } }), ({ body }) => body)
      for (const path of ["/", "/private"]) {
        assert.deepStrictEqual([yield* ask(path, "a"), yield* ask(path, "b")], ["a", "b"])
        assert.strictEqual((yield* send(server, path)).body, "nobody")
      }
      assert.deepStrictEqual([yield* ask("/public", "a"), yield* ask("/public", "b")], ["a", "a"])
      const { headers } = yield* send(server, "/", { headers: { authorization: "a" } })
      assert.strictEqual(headers.get("cache-status"), "sluice;fwd=bypass")
    }).pipe(Effect.provide(memory)))

  it.effect("a response to an API key is not shared either, wherever the key is asked for, unless that is allowed", () =>
    Effect.gen(function*() {
      class Client extends RequestService.Service<Client, string>()("test/Client") {}
      const auth = ApiKey.make(Client, {
        in: "header",
        name: "x-api-key",
        realm: "r",
        verify: (key) => Effect.succeed(Option.some(Redacted.value(key)))
      })
      const answer = (value: string) =>
        Effect.map(Client, (client) => HttpServerResponse.text(client, { headers: { "cache-control": value } }))
      const allowing = ResponseCache.make({ allowAuthorization: true })
      const routes = Layer.mergeAll(
        Route.get("/outside", Middleware.stack(auth, ResponseCache.make()), answer("max-age=60, public")),
        Route.get("/inside", Middleware.stack(ResponseCache.make(), auth), answer("max-age=60, public")),
        Route.get("/silent", Middleware.stack(auth, allowing), answer("max-age=60")),
        Route.get("/allowed", Middleware.stack(auth, allowing), answer("max-age=60, public"))
      )
      const server = yield* start(Server.layer(routes))
      const as = (path: string, key: string) =>
        Effect.map(send(server, path, { headers: { "x-api-key": key } }), ({ body }) => body)
      for (
        const [path, second] of [["/outside", "b"], ["/inside", "b"], ["/silent", "b"], ["/allowed", "a"]] as const
      ) {
        assert.deepStrictEqual([yield* as(path, "a"), yield* as(path, "b")], ["a", second], path)
      }
      assert.strictEqual((yield* send(server, "/inside")).status, 401)
    }).pipe(Effect.provide(memory)))

  it.effect("an absolute target is kept for its own host, not for the one of Host", () =>
    Effect.gen(function*() {
      const handler = Effect.map(requestedHost, (host) => HttpServerResponse.text(`for ${host}`, { headers: fresh }))
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      const ask = (target: string) => raw(server, `GET ${target} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n`)
      assert.include(yield* ask("http://b.test/"), "for b.test")
      assert.include(yield* ask("/"), "for a.test")
      assert.include(yield* ask("http://A.test"), "sluice;hit")
    }).pipe(Effect.provide(memory)))

  it.effect("C97 keeps nothing that sets cookies, is no-store or private in any spelling, or says no lifetime", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<Record<string, string>> = [
        { "cache-control": "No-Store, max-age=60" },
        { "cache-control": "PRIVATE, max-age=60" },
        { "cache-control": "private=\"x-a, x-b\", max-age=60" },
        { "cache-control": "no-cache, max-age=60" },
        { ...fresh, "set-cookie": "a=b" },
        { ...fresh, vary: "Accept, *" },
        { "cache-control": "max-age=0" },
        { "last-modified": "Fri, 01 Mar 1991 09:00:00 GMT" },
        {}
      ]
      for (const headers of cases) {
        const { handler } = counting(headers)
        const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
        const [a, b] = [yield* send(server), yield* send(server)]
        assert.deepStrictEqual([a.body, b.body], ["run 1", "run 2"], JSON.stringify(headers))
        assert.strictEqual(b.headers.get("cache-status"), "sluice;fwd=uri-miss")
      }
      const { handler } = counting(fresh)
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      const noStore = { headers: { "cache-control": "no-store" } }
      assert.deepStrictEqual([(yield* send(server, "/", noStore)).body, (yield* send(server)).body], ["run 1", "run 2"])
    }).pipe(Effect.provide(memory)))

  it.effect("C97 must-revalidate is fresh for as long as it says", () =>
    Effect.gen(function*() {
      const { handler } = counting({ "cache-control": "max-age=60, must-revalidate, stale-if-error=60" })
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      yield* send(server)
      assert.strictEqual((yield* send(server)).body, "run 1")
    }).pipe(Effect.provide(memory)))

  it.effect("C97 concurrent misses run the handler once, and survive the client that came first", () =>
    Effect.gen(function*() {
      const latch = yield* Deferred.make<void>()
      let runs = 0
      let interrupted = false
      const handler = Effect.suspend(() => {
        runs++
        return Effect.as(Deferred.await(latch), HttpServerResponse.text("shared", { headers: fresh }))
      }).pipe(Effect.onInterrupt(() => Effect.sync(() => void (interrupted = true))))
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      const leader = yield* open(server)
      leader.socket.write("GET / HTTP/1.1\r\nhost: " + server.url.slice("http://".length) + "\r\n\r\n")
      yield* until(() => runs === 1)
      const followers = yield* Effect.forkChild(
        Effect.all([send(server), send(server), send(server)], { concurrency: "unbounded" })
      )
      while ((yield* server.active) < 4) yield* turn
      leader.socket.destroy()
      while ((yield* server.active) > 3) yield* turn
      // Had its leaving ended the run, it would have by now.
      for (let i = 0; i < 20; i++) yield* turn
      yield* Deferred.succeed(latch, undefined)
      const replies = yield* Fiber.join(followers)
      assert.deepStrictEqual(replies.map(({ body }) => body), ["shared", "shared", "shared"])
      assert.deepStrictEqual(
        replies.map(({ headers }) => headers.get("cache-status")),
        Array.from({ length: 3 }, () => "sluice;fwd=uri-miss;stored;collapsed")
      )
      assert.deepStrictEqual([runs, interrupted], [1, false])
    }).pipe(Effect.provide(memory)))

  it.effect("a run that nobody waits for any more is interrupted", () =>
    Effect.gen(function*() {
      let state = "idle"
      const handler = Effect.andThen(Effect.sync(() => void (state = "running")), Effect.never).pipe(
        Effect.onInterrupt(() => Effect.sync(() => void (state = "interrupted")))
      )
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      const client = yield* open(server)
      client.socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* until(() => state === "running")
      client.socket.destroy()
      yield* until(() => state === "interrupted")
    }).pipe(Effect.provide(memory)))

  it.effect("C97 stale-while-revalidate returns at once and refreshes once", () =>
    Effect.gen(function*() {
      const latch = yield* Deferred.make<void>()
      let runs = 0
      const handler = Effect.suspend(() => {
        const run = ++runs
        const response = HttpServerResponse.text(`run ${run}`, {
          headers: { "cache-control": "max-age=10, stale-while-revalidate=30" }
        })
        return run === 1 ? Effect.succeed(response) : Effect.as(Deferred.await(latch), response)
      })
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      yield* send(server)
      yield* TestClock.adjust("15 seconds")
      const stale = yield* Effect.all([send(server), send(server), send(server)], { concurrency: "unbounded" })
      assert.deepStrictEqual(
        stale.map(({ body, headers }) => [body, headers.get("age"), headers.get("cache-status")]),
        Array.from({ length: 3 }, () => ["run 1", "15", "sluice;hit;ttl=-5"])
      )
      yield* until(() => runs === 2)
      yield* Deferred.succeed(latch, undefined)
      const refreshed = Effect.gen(function*() {
        while ((yield* send(server)).body !== "run 2") yield* turn
      })
      yield* refreshed
      assert.strictEqual(runs, 2)
      yield* TestClock.adjust("40 seconds")
      assert.strictEqual((yield* send(server)).body, "run 3")
    }).pipe(Effect.provide(memory)))

  it.effect("a refresh that turns out to be for one client is not given to another one after it was let go of", () =>
    Effect.gen(function*() {
      const latch = yield* Deferred.make<void>()
      let runs = 0
      const handler = Effect.gen(function*() {
        const run = ++runs
        if (run === 1) {
          return HttpServerResponse.text("run 1", {
            headers: { "cache-control": "max-age=10, stale-while-revalidate=30" }
          })
        }
        let open = true
        yield* Scope.addFinalizer(yield* Effect.scope, Effect.sync(() => void (open = false)))
        yield* Deferred.await(latch)
        const body = Stream.sync(() => new TextEncoder().encode(`run ${run}: ${open ? "open" : "closed"}`))
        return HttpServerResponse.stream(body, { headers: { "cache-control": "no-store" } })
      })
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      yield* send(server)
      yield* TestClock.adjust("15 seconds")
      assert.strictEqual((yield* send(server)).body, "run 1")
      yield* until(() => runs === 2)
      const joined = yield* Effect.forkChild(send(server, "/", { headers: { "cache-control": "no-cache" } }))
      while ((yield* server.active) < 1) yield* turn
      for (let i = 0; i < 20; i++) yield* turn
      yield* Deferred.succeed(latch, undefined)
      assert.strictEqual((yield* Fiber.join(joined)).body, "run 3: open")
    }).pipe(Effect.provide(memory)))

  it.effect("stale-if-error stands in for a 5xx and for a failure, not for a 4xx, and not for ever", () =>
    Effect.gen(function*() {
      class Down extends Problem.TaggedError<Down>()("Down", { status: 503 }) {}
      class Gone extends Problem.TaggedError<Gone>()("Gone", { status: 410 }) {}
      let next: () => Effect.Effect<HttpServerResponse.HttpServerResponse, Down | Gone> = () =>
        Effect.succeed(
          HttpServerResponse.text("good", { headers: { "cache-control": "max-age=10, stale-if-error=100" } })
        )
      const handler = Effect.suspend(() => next())
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      yield* send(server)
      yield* TestClock.adjust("20 seconds")
      const outcomes = [
        () => Effect.fail(new Down({})),
        () => Effect.die("boom"),
        () => Effect.succeed(HttpServerResponse.empty({ status: 502 }))
      ]
      const statuses: Array<unknown> = []
      for (const outcome of outcomes) {
        next = outcome
        const { body, headers, status } = yield* send(server)
        assert.deepStrictEqual([status, body, headers.get("age")], [200, "good", "20"])
        statuses.push(headers.get("cache-status"))
      }
      assert.deepStrictEqual(
        statuses,
        [503, 500, 502].map((status) => `sluice;fwd=stale;fwd-status=${status};detail="stale-if-error";ttl=-10`)
      )
      next = () => Effect.fail(new Gone({}))
      assert.strictEqual((yield* send(server)).status, 410)
      yield* TestClock.adjust("100 seconds")
      next = () => Effect.fail(new Down({}))
      assert.strictEqual((yield* send(server)).status, 503)
    }).pipe(Effect.provide(memory)))

  it.effect("a change that succeeds invalidates its target and Location, one that fails does not", () =>
    Effect.gen(function*() {
      const { handler } = counting(fresh)
      const cache = ResponseCache.make()
      const status = { code: 204 }
      const change = Effect.sync(() =>
        HttpServerResponse.empty({ status: status.code, headers: { location: "/b?x=1" } })
      )
      const server = yield* start(Server.layer(Layer.mergeAll(
        Route.get("/a", cache, handler),
        Route.get("/b", cache, handler),
        Route.put("/a", cache, change)
      )))
      const bodies = Effect.all([send(server, "/a"), send(server, "/b?x=1")].map(Effect.map(({ body }) => body)))
      assert.deepStrictEqual(yield* bodies, ["run 1", "run 2"])
      status.code = 409
      yield* send(server, "/a", { method: "PUT" })
      assert.deepStrictEqual(yield* bodies, ["run 1", "run 2"])
      status.code = 204
      yield* send(server, "/a", { method: "PUT" })
      assert.deepStrictEqual(yield* bodies, ["run 3", "run 4"])
    }).pipe(Effect.provide(memory)))

  it.effect("conditions are answered from the cache and don't reach the handler; HEAD is answered from GET", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const handler = Effect.map(HttpServerRequest.HttpServerRequest, ({ headers }) => {
        seen.push(headers["if-none-match"])
        return HttpServerResponse.text("hello", { headers: { ...fresh, etag: "\"v1\"" } })
      })
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      const host = server.url.slice("http://".length)
      const conditional = `GET / HTTP/1.1\r\nhost: ${host}\r\nif-none-match: "v1"\r\nconnection: close\r\n\r\n`
      const replies = [yield* raw(server, conditional), yield* raw(server, conditional)]
      assert.deepStrictEqual(replies.map((reply) => reply.slice(0, 12)), ["HTTP/1.1 304", "HTTP/1.1 304"])
      const head = yield* send(server, "/", { method: "HEAD" })
      assert.deepStrictEqual([head.status, head.headers.get("content-length"), head.headers.get("cache-status")], [
        200,
        "5",
        "sluice;hit;ttl=60"
      ])
      assert.deepStrictEqual(seen, [undefined])
    }).pipe(Effect.provide(memory)))

  it.effect("C96 an event stream passes at once, and a body over the limit passes whole", () =>
    Effect.gen(function*() {
      const bytes = (text: string) => new TextEncoder().encode(text)
      const events = HttpServerResponse.stream(
        Stream.concat(Stream.succeed(bytes("data: 1\n\n")), Stream.never),
        { contentType: "text/event-stream", headers: fresh }
      )
      const parts = Array.from({ length: 20 }, (_, i) => bytes(`part ${i};`))
      const long = Effect.sync(() => HttpServerResponse.stream(Stream.fromIterable(parts), { headers: fresh }))
      const cache = ResponseCache.make({ maxBodyBytes: 50 })
      const server = yield* start(Server.layer(
        Layer.merge(Route.get("/events", cache, Effect.succeed(events)), Route.get("/long", cache, long)),
        { drain: { deadline: "1 millis" } }
      ))
      const client = yield* open(server)
      client.socket.write("GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* until(() => client.text().includes("data: 1"))
      client.socket.destroy()
      const whole = Buffer.concat(parts).toString()
      const replies = yield* Effect.all([send(server, "/long"), send(server, "/long")], { concurrency: 2 })
      assert.deepStrictEqual(replies.map(({ body }) => body), [whole, whole])
      assert.strictEqual((yield* send(server, "/long")).headers.get("cache-status"), "sluice;fwd=uri-miss")
    }).pipe(Effect.provide(memory)))

  it.effect("a client may ask for a fresh response, or for none", () =>
    Effect.gen(function*() {
      const { handler } = counting(fresh)
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler)))
      const ask = (cacheControl: string) =>
        Effect.map(send(server, "/", { headers: { "cache-control": cacheControl } }), ({ body, headers, status }) =>
          status === 200 ? [body, headers.get("cache-status")] : [status, headers.get("cache-status")])
      assert.deepStrictEqual(yield* ask("only-if-cached"), [504, "sluice;detail=\"only-if-cached\""])
      yield* send(server)
      assert.deepStrictEqual(yield* ask("no-cache"), ["run 2", "sluice;fwd=request;stored"])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* ask("max-age=10"), ["run 2", "sluice;hit;ttl=50"])
      assert.deepStrictEqual(yield* ask("max-age=9"), ["run 3", "sluice;fwd=request;stored"])
      assert.deepStrictEqual(yield* ask("min-fresh=61"), ["run 4", "sluice;fwd=request;stored"])
    }).pipe(Effect.provide(memory)))

  it.effect("head edits from inside are kept, those from outside are each request's own", () =>
    Effect.gen(function*() {
      const { handler } = counting({})
      let id = 0
      const outside = Middleware.head(
        "outside",
        Effect.sync(() => {
          const own = String(++id)
          return (head) => head.set("x-id", own)
        })
      )
      const through = Middleware.stack(outside, ResponseCache.make(), CacheControl.make({ maxAge: "1 minute" }))
      const server = yield* start(Server.layer(Route.get("/", through, handler)))
      const replies = [yield* send(server), yield* send(server)]
      assert.deepStrictEqual(
        replies.map(({ body, headers }) => [body, headers.get("cache-control"), headers.get("x-id")]),
        [["run 1", "max-age=60", "1"], ["run 1", "max-age=60", "2"]]
      )
    }).pipe(Effect.provide(memory)))

  it.effect("a store that fails or hangs is passed by, with one warning", () =>
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const down = Effect.fail(new ResponseCache.StoreError({ cause: "down" }))
      const { handler } = counting(fresh)
      const { layer, lines } = logs()
      const failing = ResponseCache.Store.of({
        get: () => down,
        set: () => down,
        remove: () => down,
        purge: () => down,
        scope
      })
      const server = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler))).pipe(
        Effect.provideService(ResponseCache.Store, failing),
        Effect.provide(layer)
      )
      assert.deepStrictEqual([(yield* send(server)).body, (yield* send(server)).body], ["run 1", "run 2"])
      assert.deepStrictEqual(lines.map(({ level, message }) => [level, message]), [[
        "Warn",
        "the response cache's store is down"
      ]])
      let asked = 0
      const hanging = Effect.suspend(() => {
        asked++
        return Effect.never
      })
      const second = yield* start(Server.layer(Route.get("/", ResponseCache.make(), handler))).pipe(
        Effect.provideService(ResponseCache.Store, { ...failing, get: () => hanging, set: () => hanging })
      )
      const reply = yield* Effect.forkChild(send(second))
      for (const times of [1, 2]) {
        yield* until(() => asked === times)
        yield* TestClock.adjust("250 millis")
      }
      assert.strictEqual((yield* Fiber.join(reply)).body, "run 3")
    }))

  it.effect("memory is bounded by entries and by bytes: what was used longest ago goes first", () =>
    Effect.gen(function*() {
      const { handler } = counting(fresh)
      const server = yield* start(Server.layer(Route.get("/:id", ResponseCache.make(), handler))).pipe(
        Effect.provide(ResponseCache.layerMemory({ maxEntries: 2 }))
      )
      const body = (path: string) => Effect.map(send(server, path), (reply) => reply.body)
      assert.deepStrictEqual(
        [
          yield* body("/a"),
          yield* body("/b"),
          yield* body("/a"),
          yield* body("/c"),
          yield* body("/a"),
          yield* body("/b")
        ],
        ["run 1", "run 2", "run 1", "run 3", "run 1", "run 4"]
      )
      const other = counting(fresh)
      const small = yield* start(Server.layer(Route.get("/:id", ResponseCache.make(), other.handler))).pipe(
        Effect.provide(ResponseCache.layerMemory({ maxBytes: 10 }))
      )
      const replies = [yield* send(small, "/a"), yield* send(small, "/a")]
      assert.deepStrictEqual(replies.map((reply) => reply.body), ["run 1", "run 2"])
    }))

  it.effect.skipIf(!hasRedis)(
    `two servers share a store in Redis, tags purge there, and both go on when it dies${redisNote}`,
    () =>
      Effect.gen(function*() {
        const redis = yield* redisServer
        const context = yield* Layer.build(Layer.provideMerge(ResponseCache.layerRedis(), redis.layer))
        // A client whose server is gone would wait for it when it is closed.
        const { client } = Context.get(context, NodeRedis.NodeRedis)
        yield* Effect.addFinalizer(() => Effect.sync(() => client.destroy()))
        const { handler } = counting({ ...fresh, "cache-tag": "Books, shelf-7", vary: "accept" })
        // Two servers have two hosts, which are part of the usual key.
        const cache = ResponseCache.make({ key: ({ url }) => url })
        const server = Effect.provideContext(start(Server.layer(Route.get("/", cache, handler))), context)
        const [one, two] = [yield* server, yield* server]
        assert.deepStrictEqual([(yield* send(one)).body, (yield* send(two)).body], ["run 1", "run 1"])
        yield* Effect.provideContext(ResponseCache.purgeTag("books"), context)
        assert.deepStrictEqual([(yield* send(two)).body, (yield* send(one)).body], ["run 2", "run 2"])
        yield* redis.kill
        const reply = yield* Effect.forkChild(send(one))
        while (reply.pollUnsafe() === undefined) {
          yield* TestClock.adjust("250 millis")
          yield* turn
        }
        assert.strictEqual((yield* Fiber.join(reply)).body, "run 3")
      })
  )

  it.effect.skipIf(!hasRedis)(
    `the two stores behave alike${redisNote}`,
    () =>
      Effect.gen(function*() {
        const redis = yield* redisServer
        const remote = Context.get(
          yield* Layer.build(Layer.provide(ResponseCache.layerRedis(), redis.layer)),
          ResponseCache.Store
        )
        const key = fc.constantFrom("a", "b", "c")
        const tag = fc.constantFrom("x", "y")
        const command = fc.oneof(
          fc.record({
            op: fc.constant("set" as const),
            key,
            tags: fc.uniqueArray(tag),
            body: fc.uint8Array({ maxLength: 20 })
          }),
          fc.record({ op: fc.constant("get" as const), key }),
          fc.record({ op: fc.constant("remove" as const), key }),
          fc.record({ op: fc.constant("purge" as const), tag })
        )
        let run = 0
        const property = fc.asyncProperty(fc.array(command, { maxLength: 20 }), (commands) => {
          run++
          const play = (store: ResponseCache.Store["Service"]) =>
            Effect.forEach(commands, (command) => {
              switch (command.op) {
                case "set": {
                  const response = { status: 200, fields: ["x-é", "ü"], body: command.body }
                  const times = { storedAt: 1, initialAge: 0.5, lifetime: 60, staleWhileRevalidate: 0, staleIfError: 0 }
                  const value = { _tag: "Response" as const, response, ...times }
                  return store.set(`${run} ${command.key}`, value, 60_000, command.tags.map((tag) => `${run} ${tag}`))
                }
                case "get":
                  return Effect.map(
                    store.get(`${run} ${command.key}`),
                    (value) => value?._tag === "Response" ? [...value.response.body] : undefined
                  )
                case "remove":
                  return store.remove(`${run} ${command.key}`)
                case "purge":
                  return store.purge(`${run} ${command.tag}`)
              }
            })
          return Effect.runPromise(Effect.scoped(Effect.gen(function*() {
            const local = Context.get(yield* Layer.build(memory), ResponseCache.Store)
            const normal = (values: ReadonlyArray<unknown>) => values.map((value) => value ?? null)
            assert.deepStrictEqual(normal(yield* play(remote)), normal(yield* play(local)))
          })))
        })
        yield* Effect.promise(() => fc.assert(property, { numRuns: 200 }))
      })
  )

  it("refuses nonsense", () => {
    assert.match(refused(() => ResponseCache.make({ maxBodyBytes: 0.5 })), /RangeError: maxBodyBytes/)
    assert.match(refused(() => ResponseCache.make({ storeTimeout: 0 })), /RangeError: storeTimeout/)
    assert.match(refused(() => ResponseCache.make({ name: "a b" })), /RangeError: name/)
    assert.match(refused(() => ResponseCache.layerMemory({ maxEntries: 0 })), /RangeError: maxEntries/)
    assert.match(refused(() => ResponseCache.layerMemory({ maxBytes: -1 })), /RangeError: maxBytes/)
  })
})
