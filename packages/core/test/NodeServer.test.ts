import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServer from "../src/NodeServer.ts"
import * as Route from "../src/Route.ts"
import { App, RawClient } from "../src/testing/index.ts"
import { get, post, raw } from "./support.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))

const echo = Effect.flatMap(
  HttpServerRequest.HttpServerRequest,
  (request) => Effect.map(request.text, (text) => HttpServerResponse.text(`got ${text}`))
)

const routes = Layer.mergeAll(
  Route.get("/", ok),
  Route.post("/echo", echo),
  Route.post("/ignore", ok),
  Route.get("/stream", Effect.succeed(HttpServerResponse.stream(Stream.never)))
)

/** What a server answers to bytes, and how it ends the connection. */
const answer = Effect.fnUntraced(function*(app: App.Listening, bytes: string) {
  const client = yield* RawClient.connect(app.port)
  const response = yield* client.request(bytes)
  return { response, ended: client.ended }
})

describe("NodeServer", () => {
  describe("limits", () => {
    it.effect("C44, B72, B257 a long target is 414, many or large fields 431, and each ends one exchange", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, {
          node: { limits: { headBytes: 4096, targetLength: 1000, fieldCount: 20 } }
        })
        const many = Array.from({ length: 21 }, (_, i) => `X-${i}: 1`)
        assert.strictEqual((yield* answer(app, get(`/?${"x".repeat(997)}`))).response.status, 200)
        assert.strictEqual((yield* answer(app, get(`/?${"x".repeat(999)}`))).response.status, 414)
        assert.strictEqual((yield* answer(app, get(`/?${"x".repeat(9000)}`))).response.status, 414)
        assert.strictEqual((yield* answer(app, get("/", ...many.slice(0, 19)))).response.status, 200)
        assert.strictEqual((yield* answer(app, get("/", ...many.slice(0, 20)))).response.status, 431)
        assert.strictEqual((yield* answer(app, get("/", `X-A: ${"x".repeat(5000)}`))).response.status, 431)
        yield* app.exchange(5)
        assert.strictEqual((yield* app.exchanges).length, 6)
      }))

    it.effect("B258 a thousand and more fields are never cut off silently", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, { node: { limits: { headBytes: 1_000_000, fieldCount: 5000 } } })
        const many = Array.from({ length: 3000 }, (_, i) => `X-${i}: 1`)
        assert.strictEqual((yield* answer(app, get("/", ...many))).response.status, 200)
        assert.strictEqual((yield* app.exchange(0)).requestFields.length, 2 * 3001)
      }))

    it.effect("requestsPerConnection closes after the last", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, { node: { limits: { requestsPerConnection: 2 } } })
        const client = yield* RawClient.connect(app.port)
        assert.strictEqual((yield* client.request(get("/"))).get("connection"), "keep-alive")
        assert.strictEqual((yield* client.request(get("/"))).get("connection"), "close")
        assert.strictEqual((yield* client.ended).ending, "FIN")
      }))
  })

  describe("clocks", () => {
    const clocks = {
      requestHead: "30 millis",
      request: "60 millis",
      keepAlive: "30 millis",
      checkInterval: "10 millis"
    } as const

    it.live("B181 408 for a head that does not end", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, { node: { clocks } })
        const { ended, response } = yield* answer(app, "GET / HTTP/1.1\r\nHo")
        assert.strictEqual(response.status, 408)
        assert.strictEqual((yield* ended).ending, "FIN")
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "TimedOut", clock: "request" })
      }))

    it.live("B181 what completes the request after its 408 is not executed", () =>
      Effect.gen(function*() {
        let executed = 0
        const count = Effect.sync(() => HttpServerResponse.text(String(++executed)))
        const app = yield* App.listen(Layer.merge(Route.get("/", count), Route.get("/ok", ok)), { node: { clocks } })
        const client = yield* RawClient.connect({ port: app.port, allowHalfOpen: true })
        assert.strictEqual((yield* client.request("GET / HTTP/1.1\r\nHo")).status, 408)
        yield* client.send("st: test\r\n\r\n")
        // What came before this has been read when it is answered.
        for (let i = 0; i < 3; i++) yield* app.text("/ok")
        assert.strictEqual((yield* client.ended).unread, "")
        assert.strictEqual(executed, 0)
      }))

    it.live("408 for a body that does not end, and the handler that reads it is interrupted", () =>
      Effect.gen(function*() {
        const interrupted = yield* Deferred.make<void>()
        const route = Route.post("/", Effect.onInterrupt(echo, () => Deferred.succeed(interrupted, undefined)))
        const app = yield* App.listen(route, {
          node: { clocks: { ...clocks, requestHead: "1 second", request: "300 millis" } }
        })
        const { response } = yield* answer(app, raw("POST /", ["Content-Length: 10"], "abc"))
        assert.strictEqual(response.status, 408)
        yield* Deferred.await(interrupted)
        const { outcome, status } = yield* app.exchange(0)
        assert.deepStrictEqual([status, outcome], [408, { _tag: "TimedOut", clock: "request" }])
        assert.strictEqual((yield* app.exchanges).length, 1)
      }))

    it.live("an idle connection is closed without an answer, and no exchange", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, { node: { clocks } })
        const client = yield* RawClient.connect(app.port)
        yield* client.request(get("/"))
        assert.deepStrictEqual(yield* client.ended, { ending: "FIN", unread: "" })
        assert.strictEqual((yield* app.exchanges).length, 1)
      }))

    it.live("a connection on which nothing ever comes is closed, too", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, { node: { clocks } })
        const client = yield* RawClient.connect(app.port)
        const { ending } = yield* client.ended
        assert.strictEqual(ending, "FIN")
      }))
  })

  describe("pipelining", () => {
    it.effect("B114 answers in order", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const client = yield* RawClient.connect(app.port)
        yield* client.send(post("/echo", "one") + post("/echo", "two") + get("/"))
        const texts = [yield* client.response(), yield* client.response(), yield* client.response()]
        assert.deepStrictEqual(texts.map(({ text }) => text), ["got one", "got two", "ok"])
      }))

    it.effect("B262 hundreds that wait for their turn share a listener, and end when the connection is lost", () =>
      Effect.gen(function*() {
        const count = 300
        const warnings: Array<string> = []
        const onWarning = (warning: Error) => warnings.push(String(warning))
        process.on("warning", onWarning)
        yield* Effect.addFinalizer(() => Effect.sync(() => process.off("warning", onWarning)))
        const all = yield* Deferred.make<void>()
        let begun = 0
        const slow = Effect.suspend(() =>
          Effect.andThen(++begun === count ? Deferred.succeed(all, undefined) : Effect.void, Effect.never)
        )
        const app = yield* App.listen(Route.get("/slow", slow))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/slow").repeat(count))
        yield* Deferred.await(all)
        yield* client.reset
        yield* app.exchange(count - 1)
        const ends = (yield* app.exchanges).map(({ outcome }) => outcome._tag)
        assert.deepStrictEqual(ends, Array(count).fill("ClientAborted"))
        assert.deepStrictEqual(warnings, [])
      }))

    it.effect("B260 garbage behind an unfinished response is answered in its turn", () =>
      Effect.gen(function*() {
        const started = yield* Deferred.make<void>()
        const finish = yield* Deferred.make<void>()
        const slow = Effect.gen(function*() {
          yield* Deferred.succeed(started, undefined)
          yield* Deferred.await(finish)
          return HttpServerResponse.text("slow")
        })
        const app = yield* App.listen(Route.get("/slow", slow))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/slow"))
        yield* Deferred.await(started)
        yield* client.send("GARBAGE\r\n\r\n")
        yield* Deferred.succeed(finish, undefined)
        const first = yield* client.response()
        const second = yield* client.response()
        assert.deepStrictEqual([first.status, first.text, second.status], [200, "slow", 400])
        assert.deepStrictEqual(yield* client.ended, { ending: "FIN", unread: "" })
        yield* app.exchange(1)
        assert.deepStrictEqual((yield* app.exchanges).map(({ outcome }) => outcome._tag), ["Completed", "Rejected"])
      }))

    for (const [name, body] of [["malformed", "xyz\r\n"], ["malformed later", "3\r\nabc\r\nxyz\r\n"]] as const) {
      it.effect(`B260 a body that is ${name}, behind an unfinished response, is answered in its turn`, () =>
        Effect.gen(function*() {
          const reading = yield* Deferred.make<void>()
          const finish = yield* Deferred.make<void>()
          const over = yield* Deferred.make<string>()
          const slow = Effect.as(Deferred.await(finish), HttpServerResponse.text("slow"))
          const read = Effect.onExit(
            Effect.andThen(Deferred.succeed(reading, undefined), echo),
            ({ _tag }) => Deferred.succeed(over, _tag)
          )
          const app = yield* App.listen(Layer.merge(Route.get("/slow", slow), Route.post("/read", read)))
          const client = yield* RawClient.connect(app.port)
          yield* client.send(get("/slow") + raw("POST /read", ["Transfer-Encoding: chunked"]))
          yield* Deferred.await(reading)
          yield* client.send(body)
          // What came before this has been read when it is answered.
          for (let i = 0; i < 3; i++) yield* app.text("/none")
          yield* Deferred.succeed(finish, undefined)
          const statuses = [(yield* client.response()).status, (yield* client.response()).status]
          assert.deepStrictEqual(statuses, [200, 400])
          assert.deepStrictEqual(yield* client.ended, { ending: "FIN", unread: "" })
          assert.strictEqual(yield* Deferred.await(over), "Failure")
          yield* app.exchange(4)
          const ends = (yield* app.exchanges).filter(({ path }) => path !== "/none")
          assert.deepStrictEqual(
            Object.fromEntries(ends.map(({ outcome, path }) => [path, outcome._tag])),
            { "/slow": "Completed", "/read": "Rejected" }
          )
          assert.strictEqual(ends.length, 2)
        }))
    }

    it.effect("B260 garbage behind the head of a streamed response does not get into its body", () =>
      Effect.gen(function*() {
        const body = Stream.concat(Stream.succeed(new TextEncoder().encode("one")), Stream.never)
        const app = yield* App.listen(Route.get("/stream", Effect.succeed(HttpServerResponse.stream(body))))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/stream"))
        yield* client.read("one\r\n")
        yield* client.send("GARBAGE\r\n\r\n")
        yield* client.end
        const { unread } = yield* client.ended
        assert.notInclude(unread, "HTTP/1.1 400")
        assert.notInclude(unread, "0\r\n\r\n")
      }))

    it.effect("B260 a malformed chunk is a 400 for the request whose body it is", () =>
      Effect.gen(function*() {
        const interrupted = yield* Deferred.make<void>()
        const app = yield* App.listen(
          Route.post("/", Effect.onExit(echo, () => Deferred.succeed(interrupted, undefined)))
        )
        const { response } = yield* answer(app, raw("POST /", ["Transfer-Encoding: chunked"], "3\r\nabc\r\nZZ\r\n"))
        assert.strictEqual(response.status, 400)
        yield* Deferred.await(interrupted)
        assert.strictEqual((yield* app.exchange(0)).outcome._tag, "Rejected")
        assert.strictEqual((yield* app.exchanges).length, 1)
      }))
  })

  describe("Expect: 100-continue", () => {
    const expecting = (path: string, ...fields: ReadonlyArray<string>) =>
      raw(`POST ${path}`, ["Content-Length: 5", "Expect: 100-continue", ...fields])

    it.effect("100 is sent when the body is read, and not before", () =>
      Effect.gen(function*() {
        const read = yield* Deferred.make<void>()
        const started = yield* Deferred.make<void>()
        const app = yield* App.listen(Route.post(
          "/",
          Effect.gen(function*() {
            yield* Deferred.succeed(started, undefined)
            yield* Deferred.await(read)
            return yield* echo
          })
        ))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(expecting("/"))
        yield* Deferred.await(started)
        assert.strictEqual(client.socket.bytesRead, 0)
        yield* Deferred.succeed(read, undefined)
        assert.strictEqual(yield* client.read("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n")
        const response = yield* client.request("hello")
        assert.deepStrictEqual([response.status, response.text], [200, "got hello"])
      }))

    it.effect("never for a body that nobody reads; the connection is closed, for the client may send it or not", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const { ended, response } = yield* answer(app, expecting("/ignore"))
        assert.strictEqual(response.status, 200)
        assert.deepStrictEqual(response.informational, [])
        assert.strictEqual(response.get("connection"), "close")
        assert.strictEqual((yield* ended).ending, "FIN")
      }))

    it.effect("nor for a request that is refused, or has no route", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const refused = yield* answer(app, expecting("/echo", "Host: two"))
        assert.deepStrictEqual([refused.response.status, refused.response.informational.length], [400, 0])
        const missing = yield* answer(app, expecting("/none"))
        assert.deepStrictEqual([missing.response.status, missing.response.informational.length], [404, 0])
      }))
  })

  describe("settings", () => {
    const refused: ReadonlyArray<readonly [options: NodeServer.Options, message: string]> = [
      [{ port: -1 }, "port must be an integer from 0 to 65535, got -1"],
      [{ port: 65536 }, "port must be an integer from 0 to 65535, got 65536"],
      [{ port: 1.5 }, "port must be"],
      [{ port: Number.NaN }, "port must be"],
      [{ limits: { headBytes: 0 } }, "limits.headBytes must be an integer of at least 256, got 0"],
      [{ limits: { fieldCount: 0 } }, "limits.fieldCount must be"],
      [{ limits: { targetLength: -1 } }, "limits.targetLength must be"],
      [{ limits: { requestsPerConnection: -1 } }, "limits.requestsPerConnection must be"],
      [{ clocks: { requestHead: 0 } }, "clocks.requestHead must be a positive duration"],
      [{ clocks: { request: -5 } }, "clocks.request must be"],
      [{ clocks: { keepAlive: "0 seconds" } }, "clocks.keepAlive must be"],
      [{ clocks: { checkInterval: 0 } }, "clocks.checkInterval must be"]
    ]
    for (const [options, message] of refused) {
      it(`refuses ${JSON.stringify(options)}`, () => {
        assert.throws(() => NodeServer.layer(options), RangeError, message)
      })
    }

    it("have defaults that are all on, and clocks that can be switched off", () => {
      const { clocks, limits, listen } = NodeServer.resolve()
      assert.deepStrictEqual(listen, { port: 3000, host: "127.0.0.1" })
      assert.deepStrictEqual(limits, {
        headBytes: 16384,
        fieldCount: 100,
        targetLength: 8192,
        requestsPerConnection: 0
      })
      assert.deepStrictEqual(clocks, { requestHead: 60_000, request: 300_000, keepAlive: 5000, checkInterval: 1000 })
      assert.strictEqual(NodeServer.resolve({ clocks: { request: Duration.infinity } }).clocks.request, Infinity)
    })

    it.effect("clocks that are switched off do not keep the server from starting", () =>
      Effect.gen(function*() {
        const infinity = Duration.infinity
        const app = yield* App.listen(routes, {
          node: { clocks: { requestHead: infinity, request: infinity, keepAlive: infinity, checkInterval: infinity } }
        })
        assert.strictEqual(yield* app.text("/"), "ok")
      }))

    it.effect("a clock for the whole request that is shorter than the head's goes for the head, too", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, {
          node: { clocks: { request: "1.5 seconds", checkInterval: "60 days" } }
        })
        assert.strictEqual(yield* app.text("/"), "ok")
      }))

    it.effect("servers by the dozen leave the process's own streams alone", () =>
      Effect.gen(function*() {
        const listeners = () =>
          process.stdin.eventNames().reduce((sum, name) => sum + process.stdin.listenerCount(name), 0)
        const before = listeners()
        for (let i = 0; i < 12; i++) yield* App.listen(routes)
        for (let i = 0; i < 12; i++) yield* Layer.build(NodeServer.layer({ port: 0 }))
        assert.strictEqual(listeners(), before)
      }))

    it.effect("come from the environment", () =>
      Effect.gen(function*() {
        const read = (env: Record<string, string>) =>
          NodeServer.NodeServer.pipe(
            Effect.provide(NodeServer.layerConfig()),
            Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(env)))
          )
        assert.deepStrictEqual((yield* read({ PORT: "8080", HOST: "0.0.0.0" })).listen, { port: 8080, host: "0.0.0.0" })
        assert.deepStrictEqual((yield* read({})).listen, { port: 3000, host: "127.0.0.1" })
        assert.strictEqual((yield* Effect.exit(read({ PORT: "http" })))._tag, "Failure")
      }))

    it.effect("a port that is taken is a ListenError that says so", () =>
      Effect.gen(function*() {
        const first = yield* App.listen(routes)
        const error = yield* Effect.flip(App.listen(routes, { node: { port: first.port } }))
        assert.strictEqual(error.code, "EADDRINUSE")
        assert.strictEqual(
          error.message,
          `cannot listen on 127.0.0.1:${first.port}: something is listening there already`
        )
      }))

    it.effect("an address of another machine is a ListenError", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(App.listen(routes, { node: { host: "192.0.2.1" } }))
        assert.match(error.message, /cannot listen on 192\.0\.2\.1:0: the address is not one of this machine's/)
      }))

    it.effect("listens on a Unix socket", () =>
      Effect.gen(function*() {
        const folder = mkdtempSync(join(tmpdir(), "sluice-"))
        yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
        const path = join(folder, "s")
        const app = yield* App.listen(routes, { node: { path } })
        assert.deepStrictEqual([app.url, app.port], [path, 0])
        const client = yield* RawClient.connect({ path })
        assert.strictEqual((yield* client.request(get("/"))).text, "ok")
        assert.isUndefined((yield* app.exchange(0)).peerAddress)
      }))
  })
})
