import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as TestClock from "effect/testing/TestClock"
import { EventEmitter } from "node:events"
import * as Route from "../src/Route.ts"
import { App, LeakCounter, RawClient, RawServer } from "../src/testing/index.ts"
import { get, post, raw } from "./support.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))

describe("App", () => {
  it.effect("runs with the test's clock and services", () =>
    Effect.gen(function*() {
      class Name extends Context.Service<Name, string>()("test/Name") {}
      const route = Route.get("/", Effect.delay(Effect.map(Name, HttpServerResponse.text), "1 hour"))
      const app = yield* App.make(route).pipe(Effect.provideService(Name, "ann"))
      const asking = yield* Effect.forkChild(app.text("/"), { startImmediately: true })
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* Fiber.join(asking), "ann")
      assert.strictEqual((yield* app.exchange(0)).duration, 3_600_000)
    }))

  it.effect("takes a Request as well as a path", () =>
    Effect.gen(function*() {
      const app = yield* App.make(Route.post("/a", ok))
      assert.strictEqual(yield* app.text(new Request("http://any.test/a", { method: "POST" })), "ok")
    }))
})

describe("RawClient and RawServer", () => {
  it.effect("read requests and responses by the byte", () =>
    Effect.gen(function*() {
      const server = yield* RawServer.make(Effect.fnUntraced(function*({ nextRequest, send }) {
        const first = yield* nextRequest
        const second = yield* nextRequest
        assert.deepStrictEqual([first.method, first.target, first.version, first.text], ["POST", "/a?b", "1.1", "abc"])
        assert.deepStrictEqual(second.fields, ["Host", "test", "X-A", "1", "x-a", "2"])
        yield* send(
          "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        yield* send(
          "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"
        )
      }))
      const client = yield* RawClient.connect(server.port)
      yield* client.send(post("/a?b", "abc") + get("/b", "X-A: 1", "x-a: 2"))
      const response = yield* client.response()
      assert.deepStrictEqual([response.status, response.reason, response.text], [200, "Fine", "abcde"])
      assert.deepStrictEqual([response.framing, response.complete, response.trailers], ["Chunked", true, ["X-T", "1"]])
      assert.deepStrictEqual(response.informational, [{ status: 103, fields: ["Link", "</a>"] }])
      const next = yield* client.response()
      assert.deepStrictEqual([next.status, next.body.length, next.framing], [304, 0, "None"])
    }))

  it.effect("tell a body that was cut off from one that ended, and FIN from RST", () =>
    Effect.gen(function*() {
      const cut = yield* RawServer.make(({ end, nextRequest, send }) =>
        Effect.andThen(nextRequest, Effect.andThen(send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), end))
      )
      const ended = yield* RawServer.make(({ end, nextRequest, send }) =>
        Effect.andThen(nextRequest, Effect.andThen(send("HTTP/1.1 200 OK\r\n\r\nabc"), end))
      )
      const reset = yield* RawServer.make(({ nextRequest, reset }) => Effect.andThen(nextRequest, reset))
      const client = yield* RawClient.connect(cut.port)
      const short = yield* client.request(get("/"))
      assert.deepStrictEqual([short.text, short.complete], ["abc", false])
      assert.strictEqual((yield* client.ended).ending, "FIN")
      const other = yield* RawClient.connect(ended.port)
      const whole = yield* other.request(get("/"))
      assert.deepStrictEqual([whole.text, whole.framing, whole.complete], ["abc", "Close", true])
      const third = yield* RawClient.connect(reset.port)
      const lost = yield* Effect.flip(third.request(get("/")))
      assert.deepStrictEqual([lost._tag, lost.ending], ["ConnectionLost", "RST"])
      assert.strictEqual((yield* third.ended).ending, "RST")
    }))

  it.effect("answer every request the same, and count connections", () =>
    Effect.gen(function*() {
      const server = yield* RawServer.make(RawServer.answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
      for (let i = 0; i < 2; i++) {
        const client = yield* RawClient.connect(server.port)
        assert.strictEqual((yield* client.request(get("/"))).text, "ok")
        const head = yield* client.request(raw("HEAD /").replace("HEAD", "GET"))
        assert.strictEqual(head.text, "ok")
      }
      assert.strictEqual(yield* server.accepted, 2)
      assert.strictEqual((yield* server.nextConnection).socket.destroyed, false)
    }))

  it.effect("a script that fails destroys its connection", () =>
    Effect.gen(function*() {
      const server = yield* RawServer.make(() => Effect.fail("no"))
      const client = yield* RawClient.connect(server.port)
      yield* client.ended
    }))

  it.effect("a port on which nobody listens is a ConnectError", () =>
    Effect.gen(function*() {
      const { port } = yield* Effect.scoped(RawServer.make(() => Effect.void))
      assert.strictEqual((yield* Effect.flip(RawClient.connect(port))).code, "ECONNREFUSED")
    }))
})

describe("LeakCounter", () => {
  const leak = (effect: Effect.Effect<unknown>) =>
    Effect.map(
      Effect.flip(LeakCounter.expectNoLeak(effect, { within: "20 millis" })),
      (error) => error._tag === "Leak" ? error : assert.fail("no leak")
    )

  it.live("finds a timer, a listener, and a fiber that were left", () =>
    Effect.gen(function*() {
      const timers: Array<NodeJS.Timeout> = []
      const timer = yield* leak(Effect.sync(() => timers.push(setTimeout(() => {}, 60_000))))
      timers.forEach(clearTimeout)
      // The process may begin others meanwhile.
      assert.isAtLeast(timer.left["Timeout"], 1)
      assert.match(timer.message, /^left behind: .*\d Timeout/)
      const emitter = new EventEmitter()
      const before = yield* LeakCounter.snapshot({ emitters: { emitter } })
      emitter.on("x", () => {})
      const after = yield* LeakCounter.snapshot({ emitters: { emitter } })
      assert.deepStrictEqual(LeakCounter.diff(before, after), { "emitter listeners": 1 })
      let forked: Fiber.Fiber<never> | undefined
      const fiber = yield* leak(Effect.map(Effect.forkDetach(Effect.never), (left) => {
        forked = left
      }))
      assert.strictEqual(fiber.left["fibers"], 1)
      if (forked !== undefined) yield* Fiber.interrupt(forked)
    }))

  it.live("passes the result of what leaves nothing", () =>
    Effect.gen(function*() {
      const work = Effect.scoped(Effect.flatMap(App.listen(Route.get("/", ok)), (app) => app.text("/")))
      assert.strictEqual(yield* LeakCounter.expectNoLeak(work), "ok")
    }))
})
