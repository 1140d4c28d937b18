import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import express from "express"
import { createServer, type RequestListener } from "node:http"
import type { AddressInfo } from "node:net"
import type * as Exchange from "../src/Exchange.ts"
import * as Handler from "../src/Handler.ts"
import * as Middleware from "../src/Middleware.ts"
import * as Route from "../src/Route.ts"
import { App, RawClient } from "../src/testing/index.ts"
import { get, post } from "./support.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))

const edge = Middleware.head("edge", (head) => head.set("x-edge", "1"))

/** Somebody else's server, on a free port. */
const serve = (listener: RequestListener) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly close: () => void }>((resume) => {
      const server = createServer(listener)
      server.listen(0, "127.0.0.1", () => {
        // Sound: a server that listens on TCP has an address with a port.
        const { port } = server.address() as AddressInfo
        resume(Effect.succeed({
          port,
          close: () => {
            server.close()
            server.closeAllConnections()
          }
        }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

describe("Handler", () => {
  describe("fromNodeHandler", () => {
    const legacy = express()
    legacy.use(express.json())
    legacy.get("/legacy/hello", (_, response) => void response.send("hello"))
    legacy.post("/legacy/echo", (request, response) => void response.status(201).json(request.body))
    legacy.get("/legacy/throws", () => {
      throw new Error("boom")
    })
    const failing: Handler.NodeHandler = (request, _, next) => {
      if (request.url === "/failing/conflict") return next(Object.assign(new Error("no"), { status: 409 }))
      if (request.url === "/failing/rejects") return Promise.reject(new Error("boom"))
      if (request.url === "/failing/throws") throw new Error("boom")
      next()
    }
    const routes = Layer.mergeAll(
      Route.all("/legacy/*", Handler.fromNodeHandler(legacy)),
      Route.all("/failing/*", Handler.fromNodeHandler(failing)),
      Route.get("/hangs", Handler.fromNodeHandler(() => {}))
    )

    it.effect("mounts an Express app under our edge, with exchanges that know what it wrote", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, { edge })
        const client = yield* RawClient.connect(app.port)
        const hello = yield* client.request(get("/legacy/hello"))
        assert.deepStrictEqual([hello.status, hello.text, hello.get("x-edge")], [200, "hello", "1"])
        const echoed = yield* client.request(post("/legacy/echo", "{\"a\":1}", "Content-Type: application/json"))
        assert.deepStrictEqual([echoed.status, echoed.text, echoed.get("x-edge")], [201, "{\"a\":1}", "1"])
        const { bytesIn, bytesOut, route, status } = yield* app.exchange(1)
        assert.deepStrictEqual([bytesIn, bytesOut, route, status], [7, 7, "/legacy/*", 201])
      }))

    it.effect("next() is a 404 problem, an error's own 4xx its status, and any other error a 500", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, { edge })
        const client = yield* RawClient.connect(app.port)
        const expected = [
          ["/legacy/none", 404],
          ["/failing/none", 404],
          ["/failing/conflict", 409],
          ["/failing/rejects", 500],
          ["/failing/throws", 500]
        ] as const
        for (const [path, status] of expected) {
          const response = yield* client.request(get(path))
          assert.strictEqual(response.status, status, path)
          assert.strictEqual(response.get("x-edge"), "1", path)
        }
      }))

    it.effect("a client that leaves ends it", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/hangs"))
        while ((yield* app.active) === 0) yield* Effect.promise(() => new Promise(setImmediate))
        yield* client.reset
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "ClientAborted", phase: "handler" })
      }))

    it.effect("without a Node server it is a 500, not a hang", () =>
      Effect.gen(function*() {
        const app = yield* App.make(routes)
        assert.strictEqual((yield* app.fetch("/legacy/hello")).status, 500)
      }))
  })

  it.effect("fromNodeMiddleware goes on to the handler with the fields it has set, or answers itself", () =>
    Effect.gen(function*() {
      const theirs = Middleware.fromNodeMiddleware("theirs", (request, response, next) => {
        if (request.headers["x-stop"] !== undefined) return void response.writeHead(403).end("stopped")
        response.setHeader("x-theirs", "1")
        next()
      })
      let ran = 0
      const handler = Effect.sync(() => {
        ran++
        return HttpServerResponse.text("ours")
      })
      const app = yield* App.listen(Route.get("/", theirs, handler), { edge })
      const client = yield* RawClient.connect(app.port)
      const passed = yield* client.request(get("/"))
      assert.deepStrictEqual([passed.text, passed.get("x-theirs"), passed.get("x-edge")], ["ours", "1", "1"])
      const stopped = yield* client.request(get("/", "X-Stop: 1"))
      assert.deepStrictEqual([stopped.status, stopped.text, stopped.get("x-edge")], [403, "stopped", "1"])
      assert.strictEqual(ran, 1)
    }))

  describe("fromWebHandler", () => {
    it.effect("mounts a fetch handler, body and all", () =>
      Effect.gen(function*() {
        const web = Handler.fromWebHandler(async (request) =>
          new Response(`${request.method} ${await request.text()}`, { status: 202 })
        )
        const app = yield* App.listen(Route.post("/", web), { edge })
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request(post("/", "abc"))
        assert.deepStrictEqual([response.status, response.text, response.get("x-edge")], [202, "POST abc", "1"])
      }))

    it.effect("its signal is aborted when the client leaves", () =>
      Effect.gen(function*() {
        const started = yield* Deferred.make<void>()
        const aborted = yield* Deferred.make<void>()
        const web = Handler.fromWebHandler((request) =>
          new Promise(() => {
            request.signal.addEventListener("abort", () => Effect.runFork(Deferred.succeed(aborted, undefined)))
            Effect.runFork(Deferred.succeed(started, undefined))
          })
        )
        const app = yield* App.listen(Route.get("/", web))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/"))
        yield* Deferred.await(started)
        yield* client.reset
        yield* Deferred.await(aborted)
      }))
  })

  it.effect("toWebHandler is our app as a fetch handler", () =>
    Effect.gen(function*() {
      const handle = yield* Handler.toWebHandler(Route.get("/:id", ok), { edge })
      const response = yield* Effect.promise(() => handle(new Request("http://a.test/7")))
      assert.deepStrictEqual([response.status, response.headers.get("x-edge")], [200, "1"])
      assert.strictEqual((yield* Effect.promise(() => handle(new Request("http://a.test/a/b")))).status, 404)
    }))

  describe("toNodeHandler", () => {
    const body = Stream.make("a", "b").pipe(Stream.encodeText)
    const routes = Layer.mergeAll(
      Route.get("/ours/:id", ok),
      Route.get("/ours/stream", Effect.succeed(HttpServerResponse.stream(body))),
      Route.get("/ours/die", Effect.die(new Error("boom"))),
      Route.get("/ours/never", Effect.never)
    )

    it.effect("our app in Express: what has no route goes on, under our edge", () =>
      Effect.gen(function*() {
        const ended: Array<Exchange.Ended> = []
        const log = Middleware.observe("log", (exchange) => Effect.sync(() => ended.push(exchange)))
        const handler = yield* Handler.toNodeHandler(routes, { edge: Middleware.stack(log, edge) })
        const theirs = express()
        theirs.use(handler)
        theirs.get("/theirs", (_, response) => void response.send("theirs"))
        const { port } = yield* serve(theirs)
        const client = yield* RawClient.connect(port)
        const expected = [
          ["/ours/7", 200, "ok"],
          ["/ours/stream", 200, "ab"],
          ["/theirs", 200, "theirs"]
        ] as const
        for (const [path, status, text] of expected) {
          const response = yield* client.request(get(path))
          assert.deepStrictEqual([response.status, response.text, response.get("x-edge")], [status, text, "1"], path)
        }
        assert.strictEqual((yield* client.request(get("/ours/die"))).status, 500)
        assert.strictEqual((yield* client.request(get("/none"))).status, 404)
        assert.deepStrictEqual(ended.map(({ bytesOut, status }) => [status, bytesOut]).slice(0, 3), [
          [200, 2],
          [200, 2],
          [200, 6]
        ])
        assert.strictEqual(ended.length, 5)
      }))

    it.effect("our app in a bare Node server: an abort is seen, too", () =>
      Effect.gen(function*() {
        const over = yield* Deferred.make<Exchange.Ended>()
        const log = Middleware.observe("log", (exchange) => Deferred.succeed(over, exchange))
        const handler = yield* Handler.toNodeHandler(routes, { edge: log })
        const { port } = yield* serve((request, response) => {
          handler(request, response)
          setImmediate(() => Effect.runFork(client.reset))
        })
        const client = yield* RawClient.connect(port)
        yield* client.send(get("/ours/never"))
        assert.deepStrictEqual((yield* Deferred.await(over)).outcome, { _tag: "ClientAborted", phase: "handler" })
      }))

    it.effect("without a next, what has no route is a 404 problem", () =>
      Effect.gen(function*() {
        const handler = yield* Handler.toNodeHandler(routes)
        const { port } = yield* serve((request, response) => handler(request, response))
        const client = yield* RawClient.connect(port)
        const response = yield* client.request(get("/none"))
        assert.deepStrictEqual([response.status, response.get("content-type")], [404, "application/problem+json"])
      }))
  })
})
