import { assert, describe, it } from "@effect/vitest"
import * as Exchange from "@sluice/core/Exchange"
import * as Handler from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Admission from "../src/Admission.ts"
import * as ConcurrencyLimit from "../src/ConcurrencyLimit.ts"
import { exchanges, open, refused, send, settled, start, turn, until } from "./kit.ts"

const ok = Effect.succeed(HttpServerResponse.text("done"))
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`

/** A handler that says which request runs, and waits until it is let go. */
const gate = () => {
  const running: Array<string> = []
  const waiting: Array<() => void> = []
  const handler = Effect.gen(function*() {
    const request = yield* HttpServerRequest
    running.push(request.url)
    yield* Effect.callback<void>((resume) => void waiting.push(() => resume(Effect.void)))
    return HttpServerResponse.text(request.url)
  })
  return { running, handler, letGo: Effect.sync(() => waiting.shift()?.()) }
}

/** Counts the requests that have come as far as the limit: when it is seen, they run, wait or were refused. */
const arrivals = () => {
  const arrived: Array<string> = []
  const arrive = Effect.map(Exchange.current, ({ path }) => void arrived.push(path))
  const middleware = Middleware.around<never, HttpServerRequest>(
    "arrivals",
    (handler) => Effect.andThen(arrive, handler),
    { response: "none" }
  )
  return { arrived, middleware }
}

const setUp = (options: ConcurrencyLimit.Options) =>
  Effect.gen(function*() {
    const { handler, letGo, running } = gate()
    const { arrived, middleware } = arrivals()
    const { ended, observer } = exchanges()
    const through = Middleware.stack(middleware, ConcurrencyLimit.make(options))
    const server = yield* start(Server.layer(Route.get("/:id", through, handler), { edge: observer }))
    const reply = (path: string) =>
      Effect.gen(function*() {
        const before = arrived.length
        const reply = yield* Effect.forkChild(send(server, path))
        yield* until(() => arrived.length > before)
        return reply
      })
    return { server, running, letGo, arrived, ended, reply }
  })

describe("ConcurrencyLimit", () => {
  it.effect("C45 two run, one waits, and the fourth is refused at once", () =>
    Effect.gen(function*() {
      const refusals = Metric.value(Admission.decisions("concurrency_limit", "shed"))
      const before = (yield* refusals).count
      const { ended, letGo, reply, running, server } = yield* setUp({ limit: 2, queue: 1, retryAfter: "1500 millis" })
      const replies = [yield* reply("/1"), yield* reply("/2"), yield* reply("/3")]
      const fourth = yield* send(server, "/4")
      assert.deepStrictEqual([fourth.status, fourth.headers.get("retry-after")], [503, "2"])
      assert.deepStrictEqual(JSON.parse(fourth.body), {
        type: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
        title: "Too many requests are being handled",
        status: 503,
        retryAfter: 2
      })
      assert.deepStrictEqual(running, ["/1", "/2"])
      yield* letGo
      yield* until(() => running.length === 3)
      yield* Effect.andThen(letGo, letGo)
      for (const fiber of replies) assert.strictEqual((yield* Fiber.join(fiber)).status, 200)
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome._tag), ["Shed", "Completed", "Completed", "Completed"])
      assert.strictEqual((yield* refusals).count, before + 1)
    }))

  it.effect("C45 who waits longest comes first", () =>
    Effect.gen(function*() {
      const { letGo, reply, running } = yield* setUp({ limit: 1, queue: 3 })
      const paths = ["/1", "/2", "/3", "/4"]
      const replies = yield* Effect.forEach(paths, reply)
      for (const fiber of replies) {
        yield* letGo
        yield* Fiber.join(fiber)
      }
      assert.deepStrictEqual(running, paths)
    }))

  it.effect("C45 who has waited too long is refused, and leaves its place to others", () =>
    Effect.gen(function*() {
      const { letGo, reply, running } = yield* setUp({ limit: 1, queue: 1, queueTimeout: "2 seconds" })
      const first = yield* reply("/1")
      const second = yield* reply("/2")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(second)).status, 503)
      const third = yield* reply("/3")
      yield* letGo
      assert.strictEqual((yield* Fiber.join(first)).status, 200)
      yield* until(() => running.length === 2)
      yield* TestClock.adjust("1 minute")
      yield* letGo
      assert.strictEqual((yield* Fiber.join(third)).status, 200)
      assert.deepStrictEqual(running, ["/1", "/3"])
    }))

  it.effect("C46 a client that leaves while it waits frees its place, and its handler never runs", () =>
    Effect.gen(function*() {
      const { arrived, ended, letGo, reply, running, server } = yield* setUp({ limit: 1, queue: 1 })
      const first = yield* reply("/1")
      const client = yield* open(server)
      client.socket.write(get("/2"))
      yield* until(() => arrived.length === 2)
      client.socket.destroy()
      yield* until(() => ended.length === 1)
      const third = yield* reply("/3")
      yield* letGo
      assert.strictEqual((yield* Fiber.join(first)).status, 200)
      yield* until(() => running.length === 2)
      yield* letGo
      assert.strictEqual((yield* Fiber.join(third)).status, 200)
      assert.deepStrictEqual(running, ["/1", "/3"])
      assert.deepStrictEqual(ended[0].outcome, { _tag: "ClientAborted", phase: "handler" })
    }))

  it.effect("C47 a permit is held until a streamed body has ended", () =>
    Effect.gen(function*() {
      const chunks = yield* Queue.unbounded<string>()
      const body = Stream.encodeText(Stream.take(Stream.fromQueue(chunks), 2))
      const limit = ConcurrencyLimit.make({ limit: 1, queue: 1 })
      const { arrived, middleware } = arrivals()
      let ran = false
      const routes = Layer.mergeAll(
        Route.get("/stream", limit, Effect.succeed(HttpServerResponse.stream(body))),
        Route.get(
          "/next",
          Middleware.stack(middleware, limit),
          Effect.andThen(Effect.sync(() => void (ran = true)), ok)
        )
      )
      const server = yield* start(Server.layer(routes))
      const client = yield* open(server)
      client.socket.write(get("/stream"))
      yield* Queue.offer(chunks, "first")
      yield* until(() => client.text().includes("first"))
      const next = yield* Effect.forkChild(send(server, "/next"))
      yield* until(() => arrived.length === 1)
      assert.isFalse(ran)
      yield* Queue.offer(chunks, "second")
      assert.strictEqual((yield* Fiber.join(next)).status, 200)
      assert.include(client.text(), "second")
    }))

  it.effect("C47 a permit comes back from failures, defects and clients that leave", () =>
    Effect.gen(function*() {
      const limit = ConcurrencyLimit.make({ limit: 1 })
      let reached = false
      const hanging = Effect.andThen(Effect.sync(() => void (reached = true)), Effect.never)
      const routes = Layer.mergeAll(
        Route.get("/ok", limit, ok),
        Route.get("/fails", limit, Effect.fail(new ConcurrencyLimit.AtCapacity({ retryAfter: 1 }))),
        Route.get("/dies", limit, Effect.die(new Error("boom"))),
        Route.get("/hangs", limit, hanging)
      )
      const server = yield* start(Server.layer(routes))
      const statusOf = (path: string) =>
        Effect.map(Effect.tap(send(server, path), settled(server)), ({ status }) => status)
      assert.deepStrictEqual(yield* Effect.forEach(["/ok", "/fails", "/dies", "/ok"], statusOf), [200, 503, 500, 200])
      const client = yield* open(server)
      client.socket.write(get("/hangs"))
      yield* until(() => reached)
      assert.strictEqual((yield* send(server, "/ok")).status, 503)
      client.socket.destroy()
      yield* settled(server)
      assert.strictEqual((yield* send(server, "/ok")).status, 200)
    }))

  it.effect("C47 without a server of ours, too, a permit is held until a streamed body has ended", () =>
    Effect.gen(function*() {
      const limit = ConcurrencyLimit.make({ limit: 1 })
      const chunks = yield* Queue.unbounded<string>()
      const body = Stream.encodeText(Stream.take(Stream.fromQueue(chunks), 1))
      const fetch = yield* Handler.toWebHandler(Layer.mergeAll(
        Route.get("/ok", limit, ok),
        Route.get("/fails", limit, Effect.fail(new ConcurrencyLimit.AtCapacity({ retryAfter: 9 }))),
        Route.get("/dies", limit, Effect.die(new Error("boom"))),
        Route.get("/stream", limit, Effect.succeed(HttpServerResponse.stream(body)))
      ))
      const get = (path: string) => Effect.promise(() => fetch(new Request(`http://localhost${path}`)))
      const read = (path: string) =>
        Effect.flatMap(
          get(path),
          (response) =>
            Effect.promise(async () => [response.status, response.headers.get("retry-after"), await response.text()])
        )
      for (const path of ["/ok", "/fails", "/dies", "/ok"]) assert.notStrictEqual((yield* read(path))[1], "1")
      const stream = yield* get("/stream")
      assert.deepStrictEqual((yield* read("/ok")).slice(0, 2), [503, "1"])
      yield* Queue.offer(chunks, "last")
      assert.strictEqual(yield* Effect.promise(() => stream.text()), "last")
      // The exchange ends a moment after its reader has the last byte.
      while ((yield* read("/ok"))[0] !== 200) yield* turn
    }))

  it("refuses nonsense and names itself", () => {
    const wrong = (options: Partial<ConcurrencyLimit.Options>) =>
      refused(() => ConcurrencyLimit.make({ limit: 1, ...options }))
    assert.strictEqual(wrong({ limit: 0 }), "RangeError: limit must be a whole number of at least 1, got 0")
    assert.include(wrong({ limit: 1.5 }), "RangeError: limit")
    assert.include(wrong({ queue: -1 }), "RangeError: queue must be a whole number of at least 0, got -1")
    assert.include(wrong({ queueTimeout: 0 }), "RangeError: queueTimeout must be a positive duration")
    assert.include(wrong({ retryAfter: Infinity }), "RangeError: retryAfter must be a finite duration")
    assert.strictEqual(ConcurrencyLimit.make({ limit: 3 }).label, "ConcurrencyLimit(3)")
    assert.strictEqual(ConcurrencyLimit.make({ limit: 3, queue: 2 }).response, "none")
  })
})
