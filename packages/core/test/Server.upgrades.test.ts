import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { EventEmitter } from "node:events"
import * as Handler from "../src/Handler.ts"
import * as Middleware from "../src/Middleware.ts"
import * as Route from "../src/Route.ts"
import { App, LeakCounter, RawClient } from "../src/testing/index.ts"
import * as Upgrade from "../src/Upgrade.ts"
import { closeable, get, raw } from "./support.ts"

const asking = ["Connection: Upgrade", "Upgrade: foo"]

const upgrade = (path: string, ...fields: ReadonlyArray<string>): string => get(path, ...asking, ...fields)

const chunk = new Uint8Array(64 * 1024).fill(97)

/** Switches when it can, and says `ready` on the connection; otherwise it answers with the body. */
const switching = Effect.gen(function*() {
  const request = yield* HttpServerRequest.HttpServerRequest
  const connection = yield* Upgrade.connection
  if (connection === undefined) return HttpServerResponse.text(`body ${yield* request.text}`)
  connection.accept(["Connection", "Upgrade", "Upgrade", "foo"])
  connection.socket.end(`ready [${Buffer.from(connection.head).toString()}]`)
  return HttpServerResponse.empty({ status: 101 })
})

const routes = Layer.mergeAll(
  Route.get("/ok", Effect.succeed(HttpServerResponse.text("ok"))),
  Route.get("/text", Effect.succeed(HttpServerResponse.text("no", { status: 403 }))),
  Route.get(
    "/stream",
    Effect.succeed(HttpServerResponse.stream(Stream.take(Stream.forever(Stream.succeed(chunk)), 64)))
  ),
  Route.get("/node", Handler.fromNodeHandler((_, response) => void response.end("node"))),
  Route.get("/empty", Effect.succeed(HttpServerResponse.empty())),
  Route.all("/switch", switching)
)

/** Idle connections are closed by nothing else than what is tested. */
const patient = { node: { clocks: { keepAlive: "10 minutes" } } } as const

/** The next turn of the event loop. */
const turns = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.andThen(turns, until(condition)))

describe("an upgrade that is refused", () => {
  const refusals = [["/text", 403], ["/stream", 200], ["/empty", 204], ["/node", 200], ["/none", 404]] as const
  for (const [path, status] of refusals) {
    it.effect(`B205 with ${path} leaves the connection to the next request`, () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const client = yield* RawClient.connect(app.port)
        for (let i = 0; i < 2; i++) {
          const refused = yield* client.request(upgrade(path))
          assert.deepStrictEqual([refused.status, refused.complete], [status, true])
          assert.strictEqual(refused.get("connection"), "keep-alive")
          assert.strictEqual((yield* client.request(get("/ok"))).text, "ok")
        }
        yield* app.exchange(3)
        const seen = (yield* app.exchanges).map(({ outcome, path }) => [path, outcome._tag])
        assert.deepStrictEqual(seen, [path, "/ok", path, "/ok"].map((path) => [path, "Completed"]))
      }))
  }

  it.effect("B205 what was pipelined behind it is served in order, further upgrades among it", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      const client = yield* RawClient.connect(app.port)
      const post = raw("POST /switch", ["Content-Length: 3"], "abc")
      yield* client.send(upgrade("/text") + post + upgrade("/stream") + upgrade("/text") + get("/ok") + "GET /ok HT")
      const texts: Array<string> = []
      for (let i = 0; i < 5; i++) texts.push((yield* client.response()).text.slice(0, 8))
      assert.deepStrictEqual(texts, ["no", "body abc", "aaaaaaaa", "no", "ok"])
      assert.strictEqual((yield* client.request("TP/1.1\r\nHost: test\r\n\r\n")).text, "ok")
      assert.strictEqual((yield* app.exchanges).length, 6)
    }))

  it.effect("B205 after which one that is accepted switches", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      const client = yield* RawClient.connect(app.port)
      yield* client.request(upgrade("/text"))
      yield* client.send(`${upgrade("/switch")}early`)
      assert.strictEqual((yield* client.responseHead).status, 101)
      assert.strictEqual((yield* client.ended).unread, "ready [early]")
    }))

  it.effect("B205 a Node middleware that goes on does not refuse it", () =>
    Effect.gen(function*() {
      const passing = Middleware.fromNodeMiddleware("passing", (_, response, next) => {
        response.setHeader("x-passed", "1")
        next()
      })
      const app = yield* App.listen(Layer.merge(
        Route.get("/switch", passing, switching),
        Route.get("/text", passing, Effect.succeed(HttpServerResponse.text("no")))
      ))
      const client = yield* RawClient.connect(app.port)
      const refused = yield* client.request(upgrade("/text"))
      assert.deepStrictEqual([refused.text, refused.get("x-passed")], ["no", "1"])
      yield* client.send(`${upgrade("/switch")}early`)
      assert.strictEqual((yield* client.responseHead).status, 101)
      assert.strictEqual((yield* client.ended).unread, "ready [early]")
      assert.deepStrictEqual((yield* app.exchange(1)).outcome, { _tag: "Completed" })
    }))

  it.effect("B205 says and does close when that is asked for, or the last request of a connection", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      const last = yield* App.listen(routes, { node: { limits: { requestsPerConnection: 9 } } })
      const cases = [[app, upgrade("/text").replace("Upgrade", "close, Upgrade")], [last, upgrade("/text")]] as const
      for (const [{ port }, request] of cases) {
        const client = yield* RawClient.connect(port)
        const response = yield* client.request(request + get("/ok"))
        assert.deepStrictEqual([response.status, response.get("connection")], [403, "close"])
        assert.deepStrictEqual(yield* client.ended, { ending: "FIN", unread: "" })
      }
      assert.strictEqual((yield* app.exchanges).length + (yield* last.exchanges).length, 2)
    }))

  it.live("B205 B262 a hundred on one connection leave no listener, and no warning", () => {
    const warnings: Array<string> = []
    const onWarning = ({ name }: Error) => void warnings.push(name)
    const counts: Array<number> = []
    const handler = Effect.map(HttpServerRequest.HttpServerRequest, ({ source }) => {
      const { socket } = source as { readonly socket: EventEmitter }
      counts.push(socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name), 0))
      return HttpServerResponse.text("no")
    })
    process.on("warning", onWarning)
    return LeakCounter.expectNoLeak(Effect.scoped(Effect.gen(function*() {
      const app = yield* App.listen(Route.get("/", handler))
      const client = yield* RawClient.connect(app.port)
      for (let i = 0; i < 100; i++) {
        yield* client.request(upgrade("/"))
        yield* client.request(get("/"))
      }
      const [ofUpgrades, ofOthers] = [0, 1].map((odd) => new Set(counts.filter((_, i) => i > 1 && i % 2 === odd)))
      assert.deepStrictEqual([ofUpgrades.size, ofOthers.size], [1, 1])
      yield* turns
      assert.deepStrictEqual(warnings, [])
    }))).pipe(Effect.ensuring(Effect.sync(() => process.off("warning", onWarning))))
  })

  describe("B205 leaves the connection under the server's", () => {
    const clocks = { requestHead: "200 millis", request: "200 millis", checkInterval: "10 millis" } as const

    it.live("clock for idle ones", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, { node: { clocks: { keepAlive: "30 millis" } } })
        const client = yield* RawClient.connect(app.port)
        yield* client.request(upgrade("/text"))
        assert.deepStrictEqual(yield* client.ended, { ending: "FIN", unread: "" })
        assert.strictEqual((yield* app.exchanges).length, 1)
      }))

    it.live("clock for heads, which does not run while it is idle", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, { node: { clocks } })
        const client = yield* RawClient.connect(app.port)
        yield* client.request(upgrade("/text"))
        yield* Effect.sleep("300 millis")
        assert.strictEqual((yield* app.exchanges).length, 1)
        assert.strictEqual((yield* client.request("GET / HTTP/1.1\r\nHo")).status, 408)
        assert.deepStrictEqual((yield* app.exchange(1)).outcome, { _tag: "TimedOut", clock: "request" })
      }))

    it.effect("limits and checks", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, { node: { limits: { fieldCount: 5 } } })
        const bad = [["GARBAGE\r\n\r\n", 400], [get("/ok", "A: 1", "A: 1", "A: 1", "A: 1", "A: 1"), 431]] as const
        for (const [request, status] of bad) {
          const client = yield* RawClient.connect(app.port)
          yield* client.request(upgrade("/text"))
          assert.strictEqual((yield* client.request(request)).status, status)
          assert.strictEqual((yield* client.ended).ending, "FIN")
        }
      }))
  })

  it.effect("B205 a client that leaves afterwards is seen to leave, at once", () =>
    LeakCounter.expectNoLeak(Effect.scoped(Effect.gen(function*() {
      const app = yield* App.listen(routes, patient)
      for (const leave of ["end", "reset"] as const) {
        const client = yield* RawClient.connect(app.port)
        yield* client.request(upgrade("/text"))
        yield* client[leave]
        yield* client.ended
      }
    }))))

  it.effect("B205 B261 a drain closes the connection, idle or after the answer", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      const gate = yield* Deferred.make<void>()
      const slow = Effect.gen(function*() {
        yield* Deferred.succeed(started, undefined)
        yield* Deferred.await(gate)
        return HttpServerResponse.text("slow")
      })
      const [app, drain] = yield* closeable(App.listen(Layer.merge(routes, Route.get("/slow", slow)), patient))
      const idle = yield* RawClient.connect(app.port)
      yield* idle.request(upgrade("/text"))
      const busy = yield* RawClient.connect(app.port)
      yield* busy.send(upgrade("/slow"))
      yield* Deferred.await(started)
      const draining = yield* Effect.forkChild(drain, { startImmediately: true })
      assert.deepStrictEqual(yield* idle.ended, { ending: "FIN", unread: "" })
      yield* Deferred.succeed(gate, undefined)
      const response = yield* busy.response()
      assert.deepStrictEqual([response.text, response.get("connection")], ["slow", "close"])
      assert.deepStrictEqual(yield* busy.ended, { ending: "FIN", unread: "" })
      yield* Fiber.join(draining)
    }))

  it.effect("B205 a client that does not read stops the response, and one that reads on gets all of it", () =>
    Effect.gen(function*() {
      let taken = 0
      const body = Stream.map(Stream.take(Stream.forever(Stream.succeed(chunk)), 256), (chunk) => {
        taken++
        return chunk
      })
      const app = yield* App.listen(Route.get("/", Effect.sync(() => HttpServerResponse.stream(body))))
      const { send, socket } = yield* RawClient.connect(app.port)
      let received = 0
      socket.removeAllListeners("data").on("data", ({ length }: Buffer) => {
        received += length
      })
      socket.pause()
      yield* send(get("/") + upgrade("/") + get("/"))
      let before = -1
      yield* until(() => {
        const still = taken > 0 && taken === before
        before = taken
        return still
      })
      assert.isBelow(taken, 256)
      socket.resume()
      yield* app.exchange(2)
      yield* until(() => received > 3 * 256 * chunk.length)
      assert.strictEqual(taken, 3 * 256)
    }))
})

describe("an upgrade with a body", () => {
  const smuggled = get("/ok")
  const bodies = [
    ["a length", ["Content-Length: 3"], "abc", "body abc"],
    ["chunks", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n0\r\n\r\n", "body abc"],
    ["a request as its body", [`Content-Length: ${smuggled.length}`], smuggled, `body ${smuggled}`]
  ] as const
  for (const [name, fields, body, text] of bodies) {
    for (const glued of [true, false]) {
      it.effect(`B210 of ${name}, ${glued ? "in one packet" : "byte by byte"}, is an ordinary request, and the last`, () =>
        Effect.gen(function*() {
          const app = yield* App.listen(routes)
          const client = yield* RawClient.connect(app.port)
          const head = raw("POST /switch", [...asking, ...fields])
          if (glued) yield* client.send(head + body + get("/ok"))
          else {
            yield* client.send(head)
            for (const byte of body) yield* Effect.andThen(client.send(byte), turns)
          }
          const response = yield* client.response()
          assert.deepStrictEqual([response.status, response.text, response.get("connection")], [200, text, "close"])
          assert.deepStrictEqual(yield* client.ended, { ending: "FIN", unread: "" })
          assert.strictEqual((yield* app.exchange(0)).outcome._tag, "Completed")
          assert.strictEqual((yield* app.exchanges).length, 1)
        }))
    }
  }

  it.effect("B210 an empty one does not keep the connection from switching", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      const client = yield* RawClient.connect(app.port)
      yield* client.send(`${upgrade("/switch", "Content-Length: 0")}early`)
      assert.strictEqual((yield* client.responseHead).status, 101)
      assert.strictEqual((yield* client.ended).unread, "ready [early]")
    }))

  it.effect("B212 in HTTP/1.0 it is no upgrade", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      const client = yield* RawClient.connect(app.port)
      const response = yield* client.request(upgrade("/switch").replace("HTTP/1.1", "HTTP/1.0"))
      assert.deepStrictEqual([response.status, response.text], [200, "body "])
    }))
})
