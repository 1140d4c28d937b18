import * as NodeWS from "@effect/platform-node/NodeWS"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { type ChildProcess, spawn } from "node:child_process"
import { createServer } from "node:net"
import { createInterface } from "node:readline"
import * as Exchange from "../src/Exchange.ts"
import * as Middleware from "../src/Middleware.ts"
import * as NodeServer from "../src/NodeServer.ts"
import * as Problem from "../src/Problem.ts"
import * as Route from "../src/Route.ts"
import * as Server from "../src/Server.ts"
import { App, LeakCounter, RawClient, type RawConnection } from "../src/testing/index.ts"
import { closeable, get, raw } from "./support.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))

/** A handler that answers when it is told to. */
const gated = Effect.gen(function*() {
  const started = yield* Deferred.make<void>()
  const gate = yield* Deferred.make<void>()
  const handler = Effect.gen(function*() {
    yield* Deferred.succeed(started, undefined)
    yield* Deferred.await(gate)
    return HttpServerResponse.text("done")
  })
  return { handler, started: Deferred.await(started), finish: Deferred.succeed(gate, undefined) }
})

const nextTurn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

const events = (connection: RawConnection.RawConnection) => Effect.map(connection.response(), ({ text }) => text)

describe("Server", () => {
  it.effect("says where it listens, and how many requests it is busy with", () =>
    Effect.gen(function*() {
      const { finish, handler, started } = yield* gated
      const app = yield* App.listen(Route.get("/", handler))
      assert.strictEqual(app.url, `http://127.0.0.1:${app.port}`)
      assert.strictEqual(yield* app.active, 0)
      const asking = yield* Effect.forkChild(app.text("/"), { startImmediately: true })
      yield* started
      assert.strictEqual(yield* app.active, 1)
      yield* finish
      assert.strictEqual(yield* Fiber.join(asking), "done")
      yield* app.exchange(0)
      assert.strictEqual(yield* app.active, 0)
    }))

  it("refuses a drain deadline that is none", () => {
    assert.throws(() => Server.layer(Route.get("/", ok), { drain: { deadline: 0 } }), RangeError, "drain.deadline")
    assert.throws(() => Server.layer(Route.get("/", ok), { drain: { delay: -1 } }), RangeError, "drain.delay")
  })

  describe("drains", () => {
    it.effect("C98, B261 readiness turns, requests are still served and told to close, then connections are refused, what is in flight finishes", () =>
      Effect.gen(function*() {
        const { finish, handler, started } = yield* gated
        const routes = Layer.mergeAll(Route.get("/", ok), Route.get("/slow", handler))
        const [app, close] = yield* closeable(
          App.listen(routes, { drain: { delay: "5 seconds", deadline: "20 seconds" } })
        )
        const slow = yield* RawClient.connect(app.port)
        yield* slow.send(get("/slow"))
        yield* started
        const idle = yield* RawClient.connect(app.port)
        assert.strictEqual((yield* idle.request(get("/readyz"))).status, 200)

        const closing = yield* Effect.forkChild(close, { startImmediately: true })
        yield* nextTurn
        const readiness = yield* RawClient.connect(app.port)
        const unready = yield* readiness.request(get("/readyz"))
        assert.deepStrictEqual([unready.status, unready.get("connection")], [503, "close"])
        assert.deepStrictEqual(JSON.parse(unready.text), { status: "fail", checks: { server: "draining" } })
        const alive = yield* RawClient.connect(app.port)
        assert.strictEqual((yield* alive.request(get("/livez"))).status, 200)
        const served = yield* idle.request(get("/"))
        assert.deepStrictEqual([served.status, served.text, served.get("connection")], [200, "ok", "close"])
        assert.strictEqual((yield* idle.ended).ending, "FIN")

        const waiting = yield* RawClient.connect(app.port)
        yield* TestClock.adjust("5 seconds")
        const refused = yield* Effect.flip(RawClient.connect(app.port))
        assert.strictEqual(refused._tag === "ConnectError" ? refused.code : undefined, "ECONNREFUSED")
        assert.strictEqual((yield* waiting.ended).ending, "FIN")

        yield* finish
        const finished = yield* slow.response()
        assert.deepStrictEqual([finished.status, finished.text, finished.get("connection")], [200, "done", "close"])
        yield* Fiber.join(closing)
        assert.strictEqual((yield* slow.ended).ending, "FIN")
      }))

    it.effect("C98 with nothing in flight it is done at once", () =>
      Effect.gen(function*() {
        const [app, close] = yield* closeable(App.listen(Route.get("/", ok)))
        const client = yield* RawClient.connect(app.port)
        yield* client.request(get("/"))
        yield* close
        assert.strictEqual((yield* client.ended).ending, "FIN")
      }))

    it.effect("C99, B261 at the deadline what is left is answered 503, and its finalizers run before the services close", () =>
      Effect.gen(function*() {
        const steps: Array<string> = []
        const say = (step: string) => Effect.sync(() => void steps.push(step))
        class Pool extends Context.Service<Pool, string>()("test/Pool") {}
        const PoolLive = Layer.effect(Pool)(Effect.acquireRelease(Effect.succeed("pool"), () => say("pool closed")))
        const started = yield* Deferred.make<void>()
        const handler = Effect.gen(function*() {
          const pool = yield* Pool
          yield* Effect.addFinalizer(() => say(`released with the ${pool}`))
          yield* Deferred.succeed(started, undefined)
          return yield* Effect.onInterrupt(
            Effect.never,
            () => Effect.andThen(Effect.sleep("100 millis"), say("interrupted"))
          )
        })
        const layer = Server.layer(Route.get("/", handler), { drain: { deadline: "3 seconds" } }).pipe(
          Layer.provide(PoolLive),
          Layer.provide(NodeServer.layer({ port: 0 }))
        )
        const [context, close] = yield* closeable(Layer.build(layer))
        const client = yield* RawClient.connect(Context.get(context, Server.Server).port)
        yield* client.send(get("/"))
        yield* Deferred.await(started)
        const closing = yield* Effect.forkChild(close, { startImmediately: true })
        yield* TestClock.adjust("3100 millis")
        const response = yield* client.response()
        assert.deepStrictEqual([response.status, response.get("connection")], [503, "close"])
        yield* Fiber.join(closing)
        assert.deepStrictEqual(steps, ["interrupted", "released with the pool", "pool closed"])
      }))

    it.effect("C99, B261 a response that is under way is cut off, not ended", () =>
      Effect.gen(function*() {
        const body = Stream.concat(Stream.succeed(new TextEncoder().encode("one")), Stream.never)
        const [app, close] = yield* closeable(App.listen(
          Route.get("/", Effect.succeed(HttpServerResponse.stream(body))),
          { drain: { deadline: "3 seconds" } }
        ))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/"))
        yield* client.read("one\r\n")
        const closing = yield* Effect.forkChild(close, { startImmediately: true })
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual((yield* client.ended).unread, "")
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Drained", phase: "responseBody" })
      }))

    it.effect("C100 an event stream ends cleanly, without waiting for the deadline", () =>
      Effect.gen(function*() {
        const encode = (text: string) => new TextEncoder().encode(text)
        const stream = Stream.concat(Stream.succeed(encode("data: one\n\n")), Stream.never)
        const [app, close] = yield* closeable(App.listen(
          Route.get("/", Effect.succeed(HttpServerResponse.stream(stream, { contentType: "text/event-stream" })))
        ))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/"))
        const reading = yield* Effect.forkChild(events(client), { startImmediately: true })
        while (client.socket.bytesRead === 0) yield* nextTurn
        yield* close
        assert.strictEqual(yield* Fiber.join(reading), "data: one\n\n")
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
        assert.strictEqual((yield* client.ended).ending, "FIN")
      }))

    it.effect("observers have run before it is done", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const log = Middleware.observe(
          "log",
          ({ path }) => Effect.andThen(nextTurn, Effect.sync(() => seen.push(path)))
        )
        const [app, close] = yield* closeable(App.listen(Route.get("/a", ok), { edge: log }))
        yield* app.text("/a")
        yield* close
        assert.deepStrictEqual(seen, ["/a"])
      }))

    it.live("C102 leaves nothing behind", () =>
      LeakCounter.expectNoLeak(Effect.scoped(Effect.gen(function*() {
        const app = yield* App.listen(Route.get("/", ok))
        const client = yield* RawClient.connect(app.port)
        for (let i = 0; i < 20; i++) yield* client.request(get("/"))
        for (let i = 0; i < 20; i++) {
          yield* Effect.scoped(Effect.gen(function*() {
            const leaving = yield* RawClient.connect(app.port)
            yield* leaving.send("GET / HTTP/1.1\r\nHo")
            yield* leaving.reset
          }))
        }
        const bad = yield* RawClient.connect(app.port)
        yield* bad.request("GARBAGE\r\n\r\n")
      }))))
  })

  describe("as a program", () => {
    /** Runs the fixture, and gives its lines one by one. */
    const start = (deadline: number, env: Readonly<Record<string, string>> = {}) =>
      Effect.gen(function*() {
        const child = yield* Effect.acquireRelease(
          Effect.sync(() =>
            spawn(process.execPath, [new URL("./fixtures/program.ts", import.meta.url).pathname, String(deadline)], {
              env: { ...process.env, PORT: "0", ...env },
              stdio: ["ignore", "pipe", "pipe"]
            })
          ),
          (child) => Effect.sync(() => child.kill("SIGKILL"))
        )
        const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
        const line = Effect.map(Effect.promise(() => lines.next()), ({ value }) => String(value))
        return { child, line, exit: yield* Effect.cached(exited(child)) }
      })

    const exited = (child: ChildProcess) =>
      Effect.callback<readonly [code: number | null, errors: string]>((resume) => {
        let errors = ""
        child.stderr?.on("data", (chunk) => {
          errors += String(chunk)
        })
        child.once("close", (code) => resume(Effect.succeed([code, errors])))
      })

    const busy = Effect.fnUntraced(function*(deadline: number) {
      const program = yield* start(deadline)
      const exit = yield* Effect.forkChild(program.exit, { startImmediately: true })
      const port = Number((yield* program.line).replace("port ", ""))
      const client = yield* RawClient.connect(port)
      yield* client.send(get("/slow"))
      assert.strictEqual(yield* program.line, "started")
      return { ...program, client, exit: Fiber.join(exit) }
    })

    it.live(
      "C102 SIGTERM drains it: each finalizer runs once, in order, and the exit code is 0",
      () =>
        Effect.gen(function*() {
          const { child, client, exit, line } = yield* busy(50)
          child.kill("SIGTERM")
          assert.strictEqual(yield* line, "interrupted")
          assert.strictEqual(yield* line, "pool closed")
          assert.strictEqual((yield* client.response()).status, 503)
          assert.deepStrictEqual(yield* exit, [0, ""])
          assert.strictEqual(yield* line, "undefined")
        }),
      30_000
    )

    it.live("C102 a second signal ends it at once", () =>
      Effect.gen(function*() {
        const { child, client, exit } = yield* busy(600_000)
        child.kill("SIGTERM")
        yield* Effect.forkChild(client.ended, { startImmediately: true })
        // Readiness has turned once the first signal was taken: only then is another one the second.
        const idle = yield* Effect.exit(RawClient.connect(client.socket.remotePort ?? 0)).pipe(
          Effect.repeat({ until: (exit) => exit._tag === "Failure" })
        )
        assert.strictEqual(idle._tag, "Failure")
        child.kill("SIGTERM")
        assert.deepStrictEqual((yield* exit)[0], 143)
      }).pipe(Effect.scoped), 30_000)

    it.live("a port that is taken is one clear error and exit code 1", () =>
      Effect.gen(function*() {
        const taken = yield* Effect.acquireRelease(
          Effect.callback<{ readonly port: number; readonly close: () => void }>((resume) => {
            const server = createServer()
            server.listen(0, "127.0.0.1", () => {
              const address = server.address()
              const port = typeof address === "object" && address !== null ? address.port : 0
              resume(Effect.succeed({ port, close: () => void server.close() }))
            })
          }),
          ({ close }) => Effect.sync(close)
        )
        const program = yield* start(1000, { PORT: String(taken.port) })
        const exit = yield* Effect.forkChild(program.exit, { startImmediately: true })
        assert.strictEqual(yield* program.line, "pool closed")
        const [code, errors] = yield* Fiber.join(exit)
        const output = `${yield* program.line}${errors}`
        assert.strictEqual(code, 1)
        assert.include(output, `cannot listen on 127.0.0.1:${taken.port}: something is listening there already`)
      }).pipe(Effect.scoped), 30_000)
  })

  describe("upgrades", () => {
    class Refused extends Problem.TaggedError<Refused>()("Refused", { status: 403 }) {}

    const chat = Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const socket = yield* request.upgrade
      const { write } = yield* socket.writer
      const pull = yield* Socket.readerString(socket)
      const answer = Effect.flatMap(pull, Effect.forEach((text) => write(`got ${text}`)))
      return yield* Effect.orElseSucceed(Effect.forever(answer), () => HttpServerResponse.empty())
    }).pipe(Effect.orDie)

    const edge = Middleware.head("edge", (head) => head.set("x-edge", "1"))

    const upgrade = (path: string) =>
      get(
        path,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
      )

    it.effect("a WebSocket works, and its exchange ends with it", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(Route.get("/chat", chat), { edge })
        const socket = new NodeWS.WebSocket(`ws://127.0.0.1:${app.port}/chat`)
        const said = yield* Effect.callback<string>((resume) => {
          socket.on("error", (error) => resume(Effect.die(error)))
          socket.on("open", () => socket.send("hello"))
          socket.on("message", (data: Buffer) => resume(Effect.succeed(data.toString())))
        })
        assert.strictEqual(said, "got hello")
        assert.strictEqual(yield* app.active, 1)
        socket.close(1000)
        const exchange = yield* app.exchange(0)
        assert.deepStrictEqual([exchange.status, exchange.route], [101, "/chat"])
        assert.deepStrictEqual(exchange.outcome, { _tag: "Completed" })
        assert.strictEqual((yield* app.exchanges).length, 1)
      }))

    it.effect("one that is refused gets a normal response, with the edits of the head", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(
          Layer.mergeAll(Route.get("/refused", Effect.fail(new Refused())), Route.get("/plain", ok)),
          { edge }
        )
        const expected = [["/refused", 403], ["/plain", 200], ["/none", 404]] as const
        for (const [index, [path, status]] of expected.entries()) {
          const client = yield* RawClient.connect(app.port)
          const response = yield* client.request(upgrade(path))
          assert.deepStrictEqual(
            [response.status, response.get("x-edge"), response.complete],
            [status, "1", true],
            path
          )
          const exchange = yield* app.exchange(index)
          assert.deepStrictEqual([exchange.status, exchange.outcome], [status, { _tag: "Completed" }], path)
          assert.strictEqual(exchange.bytesOut, response.body.length)
          assert.include(exchange.responseFields, "x-edge")
        }
        assert.strictEqual((yield* app.exchanges).length, 3)
      }))

    it.effect("a malformed one is rejected", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(Route.get("/chat", chat), { edge })
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request(upgrade("/chat").replace("Host: test", "Host: test\r\nHost: again"))
        assert.strictEqual(response.status, 400)
        assert.strictEqual((yield* app.exchange(0)).outcome._tag, "Rejected")
      }))

    it.effect("a client that goes away is an abort in the tunnel, and the handler is interrupted", () =>
      Effect.gen(function*() {
        const released = yield* Deferred.make<void>()
        const app = yield* App.listen(Route.get("/chat", Effect.ensuring(chat, Deferred.succeed(released, undefined))))
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request(upgrade("/chat"))
        assert.strictEqual(response.status, 101)
        yield* client.reset
        yield* Deferred.await(released)
        const { outcome } = yield* app.exchange(0)
        assert.deepStrictEqual(outcome, { _tag: "ClientAborted", phase: "tunnel" })
      }))

    it.effect("C100 a drain closes an open one with 1001, and does not wait for ever for its answer", () =>
      Effect.gen(function*() {
        const [app, drain] = yield* closeable(
          App.listen(Route.get("/chat", chat), { drain: { deadline: "3 seconds" } })
        )
        const client = yield* RawClient.connect(app.port)
        yield* client.request(upgrade("/chat"))
        const closing = yield* Effect.forkChild(drain, { startImmediately: true })
        yield* TestClock.adjust("3 seconds")
        const close = yield* client.read(/\x88[^]{3}/)
        assert.strictEqual(Buffer.from(close, "latin1").readUInt16BE(2), 1001)
        // This client does not answer the Close, so its connection is destroyed.
        yield* nextTurn
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(closing)
        yield* client.ended
        assert.strictEqual((yield* app.exchange(0)).outcome._tag, "Drained")
      }))
  })

  it.effect("a handler sees the exchange that the server began", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(Route.get(
        "/:id",
        Effect.map(
          Exchange.current,
          ({ peerAddress, route, target }) => HttpServerResponse.jsonUnsafe({ peerAddress, route, target })
        )
      ))
      const client = yield* RawClient.connect(app.port)
      const response = yield* client.request(raw("GET /7?a=1"))
      assert.deepStrictEqual(JSON.parse(response.text), { peerAddress: "127.0.0.1", route: "/:id", target: "/7?a=1" })
    }))
})
