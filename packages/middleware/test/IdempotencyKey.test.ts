import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, describe, it } from "@effect/vitest"
import * as Exchange from "@sluice/core/Exchange"
import * as Handler from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import * as BodyLimit from "../src/BodyLimit.ts"
import * as IdempotencyKey from "../src/IdempotencyKey.ts"
import * as Timeout from "../src/Timeout.ts"
import { logs, open, raw, refused, send, settled, start, turn, until } from "./kit.ts"
import { hasRedis, redisNote, redisServer } from "./utils/redis.ts"

const scope = ({ headers }: HttpServerRequest.HttpServerRequest) => headers["x-account"] ?? "nobody"
const memory = IdempotencyKey.layerMemory()

const post = (key: string | undefined, body = "a", headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  body,
  headers: { ...headers, ...key === undefined ? undefined : { "idempotency-key": `"${key}"` } }
})

/** A handler that counts its runs, and echoes the body. */
const counting = (options: HttpServerResponse.Options.WithContentType = { status: 201 }) => {
  const seen = { runs: 0 }
  const handler = Effect.gen(function*() {
    const run = ++seen.runs
    const { text } = yield* HttpServerRequest.HttpServerRequest
    return HttpServerResponse.text(`run ${run}: ${yield* text}`, options)
  })
  return { seen, handler }
}

const problem = (reply: { readonly body: string; readonly status: number }) => {
  const { title } = JSON.parse(reply.body) as { readonly title: string }
  return [reply.status, title]
}

describe("IdempotencyKey", () => {
  it.effect("C92 a replay has the same status, fields and body, and the handler ran once", () =>
    Effect.gen(function*() {
      const { handler, seen } = counting({
        status: 201,
        headers: { location: "/orders/1", "x-a": "1", "set-cookie": "s=1; Path=/" }
      })
      const edited = Effect.andThen(Exchange.editHead((head) => head.set("x-inside", "yes")), handler)
      const through = IdempotencyKey.make({ scope })
      const server = yield* start(Server.layer(Route.post("/", through, edited)))
      const [first, second] = [yield* send(server, "/", post("k")), yield* send(server, "/", post("k"))]
      assert.deepStrictEqual([first.status, first.body], [201, "run 1: a"])
      const fields = ({ headers }: { readonly headers: Headers }) =>
        [...headers].filter(([name]) => !["date", "connection", "keep-alive"].includes(name))
      assert.deepStrictEqual([second.status, second.body], [first.status, first.body])
      assert.deepStrictEqual(
        fields(second).filter(([name]) => name !== "idempotency-replayed"),
        fields(first)
      )
      assert.deepStrictEqual(
        [first, second].map(({ headers }) => headers.get("idempotency-replayed")),
        [null, "true"]
      )
      assert.strictEqual(first.headers.get("x-inside"), "yes")
      assert.strictEqual(seen.runs, 1)
    }).pipe(Effect.provide(memory)))

  it.effect("C92 another body, type or target is a 422", () =>
    Effect.gen(function*() {
      const { handler, seen } = counting()
      const server = yield* start(Server.layer(Route.post("/:id", IdempotencyKey.make({ scope }), handler)))
      yield* send(server, "/1", post("k"))
      for (
        const [path, init] of [
          ["/1", post("k", "b")],
          ["/1", post("k", "a", { "content-type": "text/csv" })],
          ["/2", post("k")],
          ["/1?x", post("k")]
        ] as const
      ) {
        assert.deepStrictEqual(problem(yield* send(server, path, init)), [422, "Idempotency-Key is already used"])
      }
      assert.strictEqual(seen.runs, 1)
    }).pipe(Effect.provide(memory)))

  it.effect("C92 a parallel duplicate is a 409 with Retry-After", () =>
    Effect.gen(function*() {
      const latch = yield* Deferred.make<void>()
      const { handler, seen } = counting()
      const slow = Effect.tap(handler, Deferred.await(latch))
      const through = IdempotencyKey.make({ scope, retryAfter: "3 seconds" })
      const server = yield* start(Server.layer(Route.post("/", through, slow)))
      const first = yield* Effect.forkChild(send(server, "/", post("k")))
      yield* until(() => seen.runs === 1)
      const second = yield* send(server, "/", post("k"))
      assert.deepStrictEqual([second.status, second.headers.get("retry-after")], [409, "3"])
      assert.strictEqual((yield* send(server, "/", post("k", "other"))).status, 422)
      yield* Deferred.succeed(latch, undefined)
      assert.strictEqual((yield* Fiber.join(first)).body, "run 1: a")
      assert.strictEqual((yield* send(server, "/", post("k"))).body, "run 1: a")
    }).pipe(Effect.provide(memory)))

  it.effect("C92 a missing key is a 400 where one is required, and so is one that is no string", () =>
    Effect.gen(function*() {
      const { handler, seen } = counting()
      const server = yield* start(Server.layer(Layer.mergeAll(
        Route.post("/", IdempotencyKey.make({ scope, maxKeyLength: 5 }), handler),
        Route.post("/optional", IdempotencyKey.make({ scope, required: false }), handler),
        Route.put("/", IdempotencyKey.make({ scope }), handler)
      )))
      assert.deepStrictEqual(problem(yield* send(server, "/", post(undefined))), [400, "Idempotency-Key is missing"])
      for (const field of ["abc", "\"abc", "\"\"", "1", "\"123456\"", "\"a\", \"b\"", ":YQ==:", "\"ü\""]) {
        const headers = { "idempotency-key": field }
        assert.strictEqual((yield* send(server, "/", { method: "POST", headers })).status, 400, field)
      }
      assert.strictEqual(seen.runs, 0)
      assert.strictEqual((yield* send(server, "/optional", post(undefined))).status, 201)
      assert.strictEqual((yield* send(server, "/", { method: "PUT" })).status, 201)
      assert.strictEqual((yield* send(server, "/", post("12345"))).status, 201)
    }).pipe(Effect.provide(memory)))

  it.effect("C92 a 5xx and a failure are not kept, a 4xx response is", () =>
    Effect.gen(function*() {
      class Full extends Problem.TaggedError<Full>()("Full", { status: 409 }) {}
      let runs = 0
      const handler = Effect.suspend((): Effect.Effect<HttpServerResponse.HttpServerResponse, Full> => {
        switch (++runs) {
          case 1:
            return Effect.succeed(HttpServerResponse.empty({ status: 503 }))
          case 2:
            return Effect.fail(new Full({}))
          case 3:
            return Effect.die("boom")
        }
        return Effect.succeed(HttpServerResponse.empty({ status: 404 }))
      })
      const server = yield* start(Server.layer(Route.post("/", IdempotencyKey.make({ scope }), handler)))
      const statuses: Array<number> = []
      for (let i = 0; i < 5; i++) statuses.push((yield* send(server, "/", post("k"))).status)
      assert.deepStrictEqual([statuses, runs], [[503, 409, 500, 404, 404], 4])
    }).pipe(Effect.provide(memory)))

  it.effect("C92 an expired key runs again, and keys of two principals and of two routes don't collide", () =>
    Effect.gen(function*() {
      const { handler } = counting()
      const through = IdempotencyKey.make({
        scope: (request) => Effect.succeed(scope(request)),
        ttl: "1 hour"
      })
      const server = yield* start(Server.layer(Layer.merge(
        Route.post("/", through, handler),
        Route.post("/other", through, handler)
      )))
      const body = (path: string, account: string) =>
        Effect.map(send(server, path, post("k", "", { "x-account": account })), (reply) => reply.body)
      assert.deepStrictEqual(
        [yield* body("/", "ann"), yield* body("/", "bob"), yield* body("/other", "ann"), yield* body("/", "ann")],
        ["run 1: ", "run 2: ", "run 3: ", "run 1: "]
      )
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* body("/", "ann"), "run 4: ")
    }).pipe(Effect.provide(memory)))

  it.effect("the handler reads the body in whatever way it likes, in chunks and after 100-continue, too", () =>
    Effect.gen(function*() {
      const { HttpServerRequest: Request } = HttpServerRequest
      const text = (body: string) => HttpServerResponse.text(body)
      const through = IdempotencyKey.make({ scope })
      const server = yield* start(Server.layer(Layer.mergeAll(
        Route.post("/text", through, Effect.flatMap(Request, (_) => Effect.map(_.text, text))),
        Route.post(
          "/json",
          through,
          Effect.flatMap(Request, (_) => Effect.map(_.json, (u) => text(JSON.stringify(u))))
        ),
        Route.post(
          "/stream",
          through,
          Effect.flatMap(Request, (_) => Effect.map(Stream.mkString(Stream.decodeText(_.stream)), text))
        ),
        Route.post("/none", through, Effect.succeed(text("not read")))
      )))
      const whole = JSON.stringify("x".repeat(300_000))
      for (const path of ["/text", "/json", "/stream"]) {
        assert.strictEqual((yield* send(server, path, post("k", whole))).body, whole, path)
        if (path !== "/json") assert.strictEqual((yield* send(server, path, post("empty", ""))).body, "", path)
        const client = yield* open(server)
        const head = `POST ${path} HTTP/1.1\r\nhost: a\r\nidempotency-key: "raw"\r\n`
        client.socket.write(`${head}transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n`)
        yield* until(() => client.text().includes("100 Continue"))
        client.socket.write("2\r\n\"a\r\n")
        yield* turn
        client.socket.write("2\r\nb\"\r\n0\r\n\r\n")
        yield* until(() => client.text().endsWith("\"ab\""))
        client.socket.write(`${head.replace("raw", "next")}content-length: 3\r\n\r\n"c"`)
        yield* until(() => client.text().endsWith("\"c\""))
      }
      assert.strictEqual((yield* send(server, "/none", post("k", whole))).body, "not read")
    }).pipe(Effect.provide(memory)))

  it.effect("a body over the limit is a 413, whether it says its length or not", () =>
    Effect.gen(function*() {
      const { handler, seen } = counting()
      const through = IdempotencyKey.make({ scope, maxRequestBytes: 10 })
      const server = yield* start(Server.layer(Route.post("/", through, handler)))
      assert.strictEqual((yield* send(server, "/", post("k", "12345678901"))).status, 413)
      const client = yield* open(server)
      client.socket.write(
        "POST / HTTP/1.1\r\nhost: a\r\nidempotency-key: \"k\"\r\ntransfer-encoding: chunked\r\n\r\nb\r\n12345678901\r\n"
      )
      yield* until(() => client.text().includes("413"))
      assert.strictEqual(seen.runs, 0)
      assert.strictEqual((yield* send(server, "/", post("k", "1234567890"))).status, 201)
    }).pipe(Effect.provide(memory)))

  it.effect("a response over the limit is sent whole and not kept", () =>
    Effect.gen(function*() {
      const { handler } = counting()
      const { layer, lines } = logs()
      const through = IdempotencyKey.make({ scope, maxResponseBytes: 3 })
      const server = yield* Effect.provide(start(Server.layer(Route.post("/", through, handler))), layer)
      assert.deepStrictEqual(
        [(yield* send(server, "/", post("k"))).body, (yield* send(server, "/", post("k"))).body],
        ["run 1: a", "run 2: a"]
      )
      assert.strictEqual(lines[0].message, "a response is too large to be kept for its idempotency key")
    }).pipe(Effect.provide(memory)))

  it.effect("a response that a Node handler writes itself is sent and not kept", () =>
    Effect.gen(function*() {
      let runs = 0
      const handler = Handler.fromNodeHandler((_request, response) => void response.end(`run ${++runs}`))
      const { layer, lines } = logs()
      const routes = Route.post("/", IdempotencyKey.make({ scope }), handler)
      const server = yield* Effect.provide(start(Server.layer(routes)), layer)
      assert.deepStrictEqual(
        [(yield* send(server, "/", post("k"))).body, (yield* send(server, "/", post("k"))).body],
        ["run 1", "run 2"]
      )
      assert.strictEqual(
        lines[0].message,
        "a response that its handler writes itself can't be kept for its idempotency key"
      )
    }).pipe(Effect.provide(memory)))

  it.effect("a body that a limit or a clock further out ends is answered as they say", () =>
    Effect.gen(function*() {
      const { handler, seen } = counting()
      const clock = Timeout.requestBody({ idle: "30 seconds", total: "5 minutes" })
      const server = yield* start(
        Server.layer(
          Route.post("/", Middleware.stack(BodyLimit.make(10), clock, IdempotencyKey.make({ scope })), handler)
        )
      )
      const head = "POST / HTTP/1.1\r\nhost: a\r\nidempotency-key: \"k\"\r\n"
      const chunked = `${head}transfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n`
      assert.include(yield* raw(server, `${chunked}6\r\nabcdef\r\n0\r\n\r\n`), "HTTP/1.1 413 ")
      assert.include(yield* raw(server, `${head}content-length: 11\r\n\r\n`), "HTTP/1.1 413 ")
      const slow = yield* open(server)
      slow.socket.write(chunked)
      while ((yield* server.active) === 0) yield* turn
      for (let i = 0; i < 20; i++) yield* turn
      yield* TestClock.adjust("31 seconds")
      yield* until(slow.closed)
      assert.include(slow.text(), "HTTP/1.1 408 ")
      assert.strictEqual(seen.runs, 0)
    }).pipe(Effect.provide(memory)))

  /** A request whose client leaves as soon as its handler runs. */
  const leave = Effect.fnUntraced(function*(server: Server.Server["Service"], begun: () => boolean) {
    const client = yield* open(server)
    client.socket.write(
      "POST / HTTP/1.1\r\nhost: a\r\nidempotency-key: \"k\"\r\ncontent-length: 1\r\n" +
        "content-type: text/plain;charset=UTF-8\r\n\r\na"
    )
    yield* until(begun)
    client.socket.destroy()
    yield* until(client.closed)
    for (let i = 0; i < 20; i++) yield* turn
  })

  it.effect("what was begun for a client that left is finished, and is there when it asks again", () =>
    Effect.gen(function*() {
      const latch = yield* Deferred.make<void>()
      const { handler, seen } = counting()
      const slow = Effect.tap(handler, Deferred.await(latch))
      const server = yield* start(Server.layer(Route.post("/", IdempotencyKey.make({ scope }), slow)))
      yield* leave(server, () => seen.runs === 1)
      assert.strictEqual((yield* send(server, "/", post("k"))).status, 409)
      yield* Deferred.succeed(latch, undefined)
      yield* settled(server)
      const again = yield* send(server, "/", post("k"))
      assert.deepStrictEqual([again.body, again.headers.get("idempotency-replayed")], ["run 1: a", "true"])
      assert.strictEqual(seen.runs, 1)
    }).pipe(Effect.provide(memory)))

  it.effect("what outlasts its claim after the client has left is interrupted, and frees its key", () =>
    Effect.gen(function*() {
      const { handler, seen } = counting()
      const first = Effect.tap(handler, () => seen.runs === 1 ? Effect.never : Effect.void)
      const through = IdempotencyKey.make({ scope, claim: "30 seconds" })
      const server = yield* start(Server.layer(Route.post("/", through, first)))
      yield* leave(server, () => seen.runs === 1)
      yield* TestClock.adjust("31 seconds")
      yield* settled(server)
      assert.strictEqual((yield* send(server, "/", post("k"))).body, "run 2: a")
    }).pipe(Effect.provide(memory)))

  it.effect("the drain deadline does not wait for it", () =>
    Effect.gen(function*() {
      const { handler, seen } = counting()
      const stuck = Effect.tap(handler, () => Effect.never)
      const scope_ = yield* Scope.make()
      const routes = Route.post("/", IdempotencyKey.make({ scope }), stuck)
      const server = yield* Scope.provide(start(Server.layer(routes, { drain: { deadline: "5 seconds" } })), scope_)
      const client = yield* Effect.forkChild(Effect.exit(send(server, "/", post("k"))))
      yield* until(() => seen.runs === 1)
      const closing = yield* Effect.forkChild(Scope.close(scope_, Exit.void))
      for (let i = 0; i < 10; i++) yield* turn
      yield* TestClock.adjust("6 seconds")
      yield* Fiber.join(closing)
      yield* Fiber.interrupt(client)
    }).pipe(Effect.provide(memory)), 5000)

  it.effect("a claim outlives a slow handler, because it is renewed", () =>
    Effect.gen(function*() {
      const latch = yield* Deferred.make<void>()
      const { handler, seen } = counting()
      const slow = Effect.tap(handler, Deferred.await(latch))
      const through = IdempotencyKey.make({ scope, claim: "30 seconds" })
      const server = yield* start(Server.layer(Route.post("/", through, slow)))
      const first = yield* Effect.forkChild(send(server, "/", post("k")))
      yield* until(() => seen.runs === 1)
      for (let i = 0; i < 10; i++) yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* send(server, "/", post("k"))).status, 409)
      yield* Deferred.succeed(latch, undefined)
      assert.strictEqual((yield* Fiber.join(first)).status, 201)
    }).pipe(Effect.provide(memory)))

  it.effect("a store that fails or hangs denies with 503, or allows with a warning", () =>
    Effect.gen(function*() {
      const down = Effect.fail(new IdempotencyKey.StoreError({ cause: "down" }))
      const failing = IdempotencyKey.Store.of({
        claim: () => down,
        renew: () => down,
        complete: () => down,
        release: () => down
      })
      const { handler, seen } = counting()
      const routes = Layer.merge(
        Route.post("/deny", IdempotencyKey.make({ scope }), handler),
        Route.post("/allow", IdempotencyKey.make({ scope, onStoreError: "allow" }), handler)
      )
      const { layer, lines } = logs()
      const server = yield* start(Server.layer(routes)).pipe(
        Effect.provideService(IdempotencyKey.Store, failing),
        Effect.provide(layer)
      )
      assert.deepStrictEqual(
        [
          (yield* send(server, "/deny", post("k"))).status,
          (yield* send(server, "/allow", post("k"))).status,
          seen.runs
        ],
        [503, 201, 1]
      )
      assert.include(lines.map(({ message }) => message), "a request was carried out without its idempotency key")
      let asked = false
      const hanging = Effect.suspend(() => {
        asked = true
        return Effect.never
      })
      const second = yield* start(Server.layer(routes)).pipe(
        Effect.provideService(IdempotencyKey.Store, { ...failing, claim: () => hanging })
      )
      const reply = yield* Effect.forkChild(send(second, "/deny", post("k")))
      yield* until(() => asked)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(reply)).status, 503)
    }))

  it.effect.skipIf(!hasRedis)(
    `two servers share their keys in Redis; one that dies in the middle does not hang a request${redisNote}`,
    () =>
      Effect.gen(function*() {
        const redis = yield* redisServer
        const context = yield* Layer.build(Layer.provideMerge(IdempotencyKey.layerRedis(), redis.layer))
        // A client whose server is gone would wait for it when it is closed.
        const { client } = Context.get(context, NodeRedis.NodeRedis)
        yield* Effect.addFinalizer(() => Effect.sync(() => client.destroy()))
        const latch = yield* Deferred.make<void>()
        const { handler, seen } = counting()
        const slow = Effect.tap(handler, () => seen.runs === 2 ? Deferred.await(latch) : Effect.void)
        const server = Effect.provideContext(
          start(Server.layer(Route.post("/", IdempotencyKey.make({ scope }), slow))),
          context
        )
        const [one, two] = [yield* server, yield* server]
        const replies = [yield* send(one, "/", post("k", "ü")), yield* send(two, "/", post("k", "ü"))]
        assert.deepStrictEqual(
          replies.map(({ body, headers }) => [body, headers.get("idempotency-replayed")]),
          [["run 1: ü", null], ["run 1: ü", "true"]]
        )
        const last = yield* Effect.forkChild(send(one, "/", post("other")))
        yield* until(() => seen.runs === 2)
        assert.strictEqual((yield* send(two, "/", post("other"))).status, 409)
        yield* redis.kill
        yield* Deferred.succeed(latch, undefined)
        while (last.pollUnsafe() === undefined) {
          yield* TestClock.adjust("1 second")
          yield* turn
        }
        assert.strictEqual((yield* Fiber.join(last)).body, "run 2: a")
        const refusal = yield* Effect.forkChild(send(two, "/", post("third")))
        while (refusal.pollUnsafe() === undefined) {
          yield* TestClock.adjust("1 second")
          yield* turn
        }
        assert.strictEqual((yield* Fiber.join(refusal)).status, 503)
      })
  )

  it.effect.skipIf(!hasRedis)(
    `the two stores behave alike${redisNote}`,
    () =>
      Effect.gen(function*() {
        const redis = yield* redisServer
        const remote = Context.get(
          yield* Layer.build(Layer.provide(IdempotencyKey.layerRedis(), redis.layer)),
          IdempotencyKey.Store
        )
        const command = fc.record({
          op: fc.constantFrom("claim", "renew", "complete", "release"),
          key: fc.constantFrom("a", "b"),
          token: fc.constantFrom("t", "u"),
          body: fc.uint8Array({ maxLength: 10 })
        })
        let run = 0
        const property = fc.asyncProperty(fc.array(command, { maxLength: 20 }), (commands) => {
          run++
          const play = (store: IdempotencyKey.Store["Service"]) =>
            Effect.forEach(commands, ({ body, key, op, token }): Effect.Effect<unknown, IdempotencyKey.StoreError> => {
              const claim = { fingerprint: "f", token }
              const name = `${run} ${key}`
              if (op === "renew") return store.renew(name, claim, 60_000)
              if (op === "release") return store.release(name, claim)
              if (op === "complete") return store.complete(name, claim, { status: 200, fields: [], body }, 60_000)
              return Effect.map(store.claim(name, claim, 60_000), (there) =>
                there?._tag === "Completed" ? [...there.response.body] : there?.token)
            })
          return Effect.runPromise(Effect.scoped(Effect.gen(function*() {
            const local = Context.get(yield* Layer.build(memory), IdempotencyKey.Store)
            assert.deepStrictEqual(yield* play(remote), yield* play(local))
          })))
        })
        yield* Effect.promise(() =>
          fc.assert(property, { numRuns: 50 })
        )
      })
  )

  it("refuses nonsense", () => {
    const cases: ReadonlyArray<readonly [Partial<IdempotencyKey.Options>, RegExp]> = [
      [{ methods: [] }, /methods/],
      [{ methods: ["P O"] }, /methods/],
      [{ ttl: 0 }, /ttl/],
      [{ ttl: Infinity }, /ttl/],
      [{ claim: -1 }, /claim/],
      [{ retryAfter: -1 }, /retryAfter/],
      [{ maxKeyLength: 0 }, /maxKeyLength/],
      [{ maxRequestBytes: -1 }, /maxRequestBytes/],
      [{ maxResponseBytes: 0.5 }, /maxResponseBytes/],
      [{ storeTimeout: 0 }, /storeTimeout/]
    ]
    for (const [options, message] of cases) {
      assert.match(refused(() => IdempotencyKey.make({ scope, ...options })), message)
    }
  })
})
