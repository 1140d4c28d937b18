import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Readable } from "node:stream"
import * as Cancellation from "../src/Cancellation.ts"
import * as Deadline from "../src/Deadline.ts"
import * as Exchange from "../src/Exchange.ts"
import * as Middleware from "../src/Middleware.ts"
import * as Problem from "../src/Problem.ts"
import * as Route from "../src/Route.ts"
import { App, RawClient } from "../src/testing/index.ts"
import { closeable, get, post, raw } from "./support.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))

class Late extends Problem.Opaque<{ readonly clock: string }>()("Late", { status: 503, ending: "TimedOut" }) {}
class Full extends Problem.Opaque()("Full", { status: 503, ending: "Shed" }) {}

const chunk = new TextEncoder().encode("0123456789")

/** Every request got exactly one terminal event: none is missing, and none came later. */
const expectEnded = Effect.fnUntraced(function*(app: App.App, count: number) {
  yield* app.exchange(count - 1)
  assert.strictEqual((yield* app.exchanges).length, count)
})

describe("Exchange", () => {
  describe("ends exactly once", () => {
    /** What the two cut-off bodies wait for between their chunk and their defect. */
    const gate = { open: () => {}, opened: Promise.resolve() }
    const routes = Layer.mergeAll(
      Route.get("/ok", ok),
      Route.get("/teapot", Effect.die(HttpServerResponse.empty({ status: 418 }))),
      Route.get("/returned", Effect.succeed(HttpServerResponse.empty({ status: 502 }))),
      Route.get("/defect", Effect.die(new Error("boom"))),
      Route.get("/shed", Effect.fail(new Full())),
      Route.get("/late", Effect.fail(new Late({ clock: "handler" }))),
      Route.get("/cancel", Cancellation.cancel("enough")),
      Route.get(
        "/stream-defect",
        Effect.succeed(HttpServerResponse.stream(
          Stream.concat(
            Stream.succeed(chunk),
            Stream.fromEffect(Effect.andThen(Effect.promise(() => gate.opened), Effect.die(new Error("boom"))))
          )
        ))
      ),
      Route.get(
        "/raw-defect",
        Effect.sync(() =>
          HttpServerResponse.raw(Readable.from((async function*() {
            yield chunk
            await gate.opened
            throw new Error("boom")
          })()))
        )
      )
    )

    it.effect("for what is answered", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const client = yield* RawClient.connect(app.port)
        const expected = [
          [get("/ok"), 200, { _tag: "Completed" }],
          [get("/none"), 404, { _tag: "Completed" }],
          [raw("DELETE /ok"), 405, { _tag: "Completed" }],
          [raw("OPTIONS /ok"), 204, { _tag: "Completed" }],
          [get("/teapot"), 418, { _tag: "Completed" }],
          [get("/returned"), 502, { _tag: "Completed" }],
          [get("/defect"), 500, { _tag: "Failed", phase: "handler" }],
          [get("/shed"), 503, { _tag: "Shed" }],
          [get("/late"), 503, { _tag: "TimedOut", clock: "handler" }],
          [get("/cancel"), 503, { _tag: "Cancelled", reason: "enough" }]
        ] as const
        for (const [index, [request, status, outcome]] of expected.entries()) {
          const response = yield* client.request(request)
          assert.strictEqual(response.status, status, request)
          const ended = yield* app.exchange(index)
          assert.strictEqual(ended.status, status, request)
          assert.deepStrictEqual(ended.outcome, outcome, request)
          assert.strictEqual(ended.bytesOut, response.body.length, request)
        }
        yield* expectEnded(app, expected.length)
      }))

    for (const path of ["/stream-defect", "/raw-defect"]) {
      it.effect(`C9 for a defect after the first chunk: the body is not ended (${path})`, () =>
        Effect.gen(function*() {
          gate.opened = new Promise((resolve) => {
            gate.open = resolve
          })
          const app = yield* App.listen(routes)
          const client = yield* RawClient.connect(app.port)
          yield* client.send(get(path))
          const head = yield* client.responseHead
          assert.deepStrictEqual([head.status, head.get("transfer-encoding")], [200, "chunked"])
          yield* client.read("0123456789\r\n")
          gate.open()
          assert.strictEqual((yield* client.ended).unread, "")
          const { bytesOut, cause, outcome, status } = yield* app.exchange(0)
          assert.deepStrictEqual(outcome, { _tag: "Failed", phase: "responseBody" })
          assert.deepStrictEqual([status, bytesOut], [200, 10])
          assert.match(String(cause === undefined ? "" : Cause.squash(cause)), /boom/)
          yield* expectEnded(app, 1)
        }))
    }

    it.effect("for requests that never reach the app", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes, {
          node: {
            limits: { headBytes: 1024, targetLength: 200, fieldCount: 10 },
            clocks: { requestHead: "30 millis", request: "30 millis", checkInterval: "10 millis" }
          }
        })
        const tooMany = Array.from({ length: 12 }, (_, i) => `X-${i}: 1`)
        const expected = [
          ["GARBAGE\r\n\r\n", 400],
          [get("/ok", "Host: twice"), 400],
          [get(`/${"x".repeat(300)}`), 414],
          [get(`/${"x".repeat(3000)}`), 414],
          [get("/ok", `X-Long: ${"x".repeat(3000)}`), 431],
          [get("/ok", ...tooMany), 431],
          [get("/ok", "Expect: something"), 417],
          [raw("CONNECT test:80"), 501],
          ["GET /ok HTTP/1.1\r\nHost: te", 408],
          [raw("POST /ok", ["Transfer-Encoding: gzip, chunked"]), 501]
        ] as const
        for (const [index, [request, status]] of expected.entries()) {
          const client = yield* RawClient.connect(app.port)
          const response = yield* client.request(request)
          assert.strictEqual(response.status, status, request.slice(0, 60))
          assert.isTrue(response.complete)
          const ended = yield* app.exchange(index)
          assert.strictEqual(ended.status, status)
          assert.strictEqual(ended.outcome._tag, status === 408 ? "TimedOut" : "Rejected")
          assert.isUndefined(ended.route)
          assert.strictEqual((yield* client.ended).ending, "FIN")
        }
        yield* expectEnded(app, expected.length)
      }))

    it.effect("for a client that leaves while the handler runs", () =>
      Effect.gen(function*() {
        const started = yield* Deferred.make<void>()
        const handler = Effect.andThen(Deferred.succeed(started, undefined), Effect.never)
        const app = yield* App.listen(Route.get("/", handler))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/"))
        yield* Deferred.await(started)
        yield* client.reset
        const { cause, outcome, status } = yield* app.exchange(0)
        assert.deepStrictEqual(outcome, { _tag: "ClientAborted", phase: "handler" })
        assert.isUndefined(status)
        assert.isTrue(cause === undefined || Cause.hasInterruptsOnly(cause))
        yield* expectEnded(app, 1)
      }))

    for (const leave of ["end", "reset"] as const) {
      const framings = [["Content-Length: 10", "abc"], ["Transfer-Encoding: chunked", "3\r\nabc\r\n"]] as const
      for (const [field, body] of framings) {
        it.effect(`B155 for a client that leaves within its upload (${leave}, ${field})`, () =>
          Effect.gen(function*() {
            const started = yield* Deferred.make<void>()
            const interrupted = yield* Deferred.make<void>()
            const handler = Effect.gen(function*() {
              yield* Deferred.succeed(started, undefined)
              const request = yield* HttpServerRequest.HttpServerRequest
              return HttpServerResponse.text(yield* request.text)
            })
            const app = yield* App.listen(
              Route.post("/", Effect.onInterrupt(handler, () => Deferred.succeed(interrupted, undefined)))
            )
            const client = yield* RawClient.connect({ port: app.port, allowHalfOpen: true })
            yield* client.send(raw("POST /", [field], body))
            yield* Deferred.await(started)
            yield* client[leave]
            // The client may still read, so it is told what it has done.
            if (leave === "end") assert.strictEqual((yield* client.response()).status, 400)
            yield* Deferred.await(interrupted)
            const { cause, outcome } = yield* app.exchange(0)
            assert.deepStrictEqual(outcome, { _tag: "ClientAborted", phase: "handler" })
            assert.isTrue(cause === undefined || Cause.hasInterruptsOnly(cause))
            yield* expectEnded(app, 1)
          }))
      }
    }

    it.effect("for a client that leaves while the body is written, with what it was sent", () =>
      Effect.gen(function*() {
        const released = yield* Deferred.make<void>()
        const body = Stream.concat(Stream.succeed(chunk), Stream.never)
        const handler = Effect.as(
          Effect.addFinalizer(() => Deferred.succeed(released, undefined)),
          HttpServerResponse.stream(body)
        )
        const app = yield* App.listen(Route.get("/", handler))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/"))
        yield* client.read("0123456789")
        yield* client.reset
        const { bytesOut, outcome, status } = yield* app.exchange(0)
        assert.deepStrictEqual(outcome, { _tag: "ClientAborted", phase: "responseBody" })
        assert.deepStrictEqual([status, bytesOut], [200, 10])
        yield* Deferred.await(released)
        yield* expectEnded(app, 1)
      }))

    it.effect("for a handler that is out of time", () =>
      Effect.gen(function*() {
        const timeout = Middleware.around<Late>("timeout", (handler) =>
          Deadline.enforce(handler, {
            clock: "handler",
            after: "1 second",
            orElse: () => Effect.fail(new Late({ clock: "handler" }))
          }))
        const app = yield* App.listen(Route.get("/", timeout, Effect.never))
        const client = yield* RawClient.connect(app.port)
        const response = yield* Effect.forkChild(client.request(get("/")), { startImmediately: true })
        while ((yield* app.active) === 0) {
          yield* Effect.promise(() => new Promise(setImmediate))
        }
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(response)).status, 503)
        const { duration, outcome } = yield* app.exchange(0)
        assert.deepStrictEqual(outcome, { _tag: "TimedOut", clock: "handler" })
        assert.strictEqual(duration, 1000)
        yield* expectEnded(app, 1)
      }))

    it.effect("for what the drain cuts off", () =>
      Effect.gen(function*() {
        const started = yield* Deferred.make<void>()
        const handler = Effect.andThen(Deferred.succeed(started, undefined), Effect.never)
        const [app, close] = yield* closeable(App.listen(Route.get("/", handler), { drain: { deadline: "5 seconds" } }))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/"))
        yield* Deferred.await(started)
        const closing = yield* Effect.forkChild(close, { startImmediately: true })
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* client.response()).status, 503)
        yield* Fiber.join(closing)
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Drained", phase: "handler" })
        yield* expectEnded(app, 1)
      }))

    for (const run of ["make", "listen"] as const) {
      it.effect(`in process as on a port (${run})`, () =>
        Effect.gen(function*() {
          const app: App.App = run === "make" ? yield* App.make(routes) : yield* App.listen(routes)
          const expected = [
            ["/ok", { _tag: "Completed" }],
            ["/none", { _tag: "Completed" }],
            ["/defect", { _tag: "Failed", phase: "handler" }],
            ["/late", { _tag: "TimedOut", clock: "handler" }],
            ["/stream-defect", { _tag: "Failed", phase: "responseBody" }]
          ] as const
          for (const [index, [path, outcome]] of expected.entries()) {
            yield* Effect.exit(app.text(path))
            assert.deepStrictEqual((yield* app.exchange(index)).outcome, outcome, path)
          }
          yield* expectEnded(app, expected.length)
        }))

      it.effect(`for a fetch that is interrupted (${run})`, () =>
        Effect.gen(function*() {
          const started = yield* Deferred.make<void>()
          const route = Route.get("/", Effect.andThen(Deferred.succeed(started, undefined), Effect.never))
          const app: App.App = run === "make" ? yield* App.make(route) : yield* App.listen(route)
          const fetching = yield* Effect.forkChild(app.fetch("/"), { startImmediately: true })
          yield* Deferred.await(started)
          yield* Fiber.interrupt(fetching)
          assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "ClientAborted", phase: "handler" })
          yield* expectEnded(app, 1)
        }))
    }
  })

  describe("counts", () => {
    const body = "x".repeat(1000)
    const routes = Layer.mergeAll(
      Route.get("/known", Effect.succeed(HttpServerResponse.text(body))),
      Route.get("/stream", Effect.succeed(HttpServerResponse.stream(Stream.make(chunk, chunk, chunk)))),
      Route.get(
        "/not-modified",
        Effect.andThen(
          HttpEffect.appendPreResponseHandler((_, response) =>
            Effect.succeed(HttpServerResponse.setStatus(response, 304))
          ),
          Effect.succeed(HttpServerResponse.text(body))
        )
      ),
      Route.get("/empty", Effect.succeed(HttpServerResponse.empty())),
      Route.post(
        "/echo",
        Effect.map(Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ text }) => text), HttpServerResponse.text)
      ),
      Route.post("/ignore", ok)
    )

    it.effect("C54 the bytes of bodies: none for HEAD and 304", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const client = yield* RawClient.connect(app.port)
        const expected = [
          [get("/known"), 0, 1000],
          [raw("HEAD /known"), 0, 0],
          [get("/not-modified"), 0, 0],
          [get("/empty"), 0, 0],
          [get("/stream"), 0, 30],
          [raw("HEAD /stream"), 0, 0],
          [post("/echo", "hello"), 5, 5],
          [raw("POST /echo", ["Transfer-Encoding: chunked"], "4\r\nabcd\r\n0\r\n\r\n"), 4, 4]
        ] as const
        for (const [index, [request, bytesIn, bytesOut]] of expected.entries()) {
          const response = yield* client.request(request)
          const ended = yield* app.exchange(index)
          assert.deepStrictEqual([ended.bytesIn, ended.bytesOut], [bytesIn, bytesOut], request)
          assert.strictEqual(response.body.length, bytesOut, request)
        }
      }))

    it.effect("the same in process", () =>
      Effect.gen(function*() {
        const app = yield* App.make(routes)
        const expected = [
          ["GET", "/known", 1000],
          ["HEAD", "/known", 0],
          ["GET", "/not-modified", 0],
          ["GET", "/stream", 30],
          ["HEAD", "/stream", 0]
        ] as const
        for (const [index, [method, path, bytesOut]] of expected.entries()) {
          yield* app.text(path, { method })
          assert.strictEqual((yield* app.exchange(index)).bytesOut, bytesOut, `${method} ${path}`)
        }
      }))

    it.effect("time on the app's clock, to the first byte and to the end", () =>
      Effect.gen(function*() {
        const slow = Stream.concat(
          Stream.succeed(chunk),
          Stream.fromEffect(Effect.as(Effect.sleep("3 seconds"), chunk))
        )
        const app = yield* App.listen(
          Route.get("/", Effect.delay(Effect.succeed(HttpServerResponse.stream(slow)), "2 seconds"))
        )
        yield* TestClock.setTime(1_000_000)
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/"))
        while ((yield* app.active) === 0) yield* Effect.promise(() => new Promise(setImmediate))
        yield* TestClock.adjust("2 seconds")
        yield* client.read("0123456789")
        yield* TestClock.adjust("3 seconds")
        yield* client.read("0\r\n\r\n")
        const { duration, firstByteAfter, startedAt } = yield* app.exchange(0)
        assert.deepStrictEqual([startedAt, firstByteAfter, duration], [1_000_000, 2000, 5000])
      }))
  })

  describe("says what was asked and answered", () => {
    it.effect("the request as it came, and the fields as they went", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(Route.get(
          "/a/:id",
          Effect.succeed(HttpServerResponse.text("x", {
            headers: { "x-answer": "42" }
          }))
        ))
        const client = yield* RawClient.connect(app.port)
        yield* client.request(get("/a/%7e?secret=1", "X-Case: Kept", "x-case: twice"))
        const exchange = yield* app.exchange(0)
        assert.strictEqual(exchange.method, "GET")
        assert.strictEqual(exchange.target, "/a/%7e?secret=1")
        assert.strictEqual(exchange.path, "/a/%7e")
        assert.strictEqual(exchange.route, "/a/:id")
        assert.strictEqual(exchange.httpVersion, "1.1")
        assert.strictEqual(exchange.peerAddress, "127.0.0.1")
        assert.isFalse(exchange.secure)
        assert.deepStrictEqual(exchange.requestFields, ["Host", "test", "X-Case", "Kept", "x-case", "twice"])
        const answer = exchange.responseFields.indexOf("x-answer")
        assert.strictEqual(exchange.responseFields[answer + 1], "42")
      }))

    it.effect("what was annotated, and the cause that was noted", () =>
      Effect.gen(function*() {
        const cause = Cause.fail("the warehouse is closed")
        const handler = Effect.gen(function*() {
          yield* Exchange.annotate("user.id", 7)
          yield* Exchange.noteCause(cause)
          return HttpServerResponse.empty({ status: 502 })
        })
        const app = yield* App.make(Route.get("/", handler))
        yield* app.fetch("/")
        const exchange = yield* app.exchange(0)
        assert.deepStrictEqual([...exchange.attributes], [["user.id", 7]])
        assert.strictEqual(exchange.cause, cause)
      }))

    it.effect("edits of the head that a handler registers run first", () =>
      Effect.gen(function*() {
        const edge = Middleware.head("edge", (head) => head.append("x-by", "edge"))
        const app = yield* App.make(
          Route.get("/", Effect.andThen(Exchange.editHead((head) => head.append("x-by", "handler")), ok)),
          { edge }
        )
        assert.strictEqual((yield* app.fetch("/")).headers.get("x-by"), "handler, edge")
      }))

    it.effect("onHead calls back once the head is written, at once when it has been, unless taken back", () =>
      Effect.gen(function*() {
        const calls: Array<string> = []
        const watch = Effect.map(Exchange.current, (exchange) => {
          Exchange.onHead(exchange, () => calls.push("first"))
          Exchange.onHead(exchange, () => calls.push("never"))()
          calls.push("handler")
        })
        const app = yield* App.listen(Route.get("/", Effect.andThen(watch, ok)))
        yield* app.text("/")
        const exchange = yield* app.exchange(0)
        Exchange.onHead(exchange, () => calls.push("late"))
        assert.deepStrictEqual(calls, ["handler", "first", "late"])
      }))

    it.effect("onEnd calls back once the body has been written, at once when it has been, unless taken back", () =>
      Effect.gen(function*() {
        const calls: Array<string> = []
        const body = Stream.concat(
          Stream.succeed(chunk),
          Stream.fromEffect(Effect.sync(() => {
            calls.push("body")
            return chunk
          }))
        )
        const watch = Effect.map(Exchange.current, (exchange) => {
          Exchange.onEnd(exchange, () => calls.push("ended"))
          Exchange.onEnd(exchange, () => calls.push("never"))()
          Exchange.onHead(exchange, () => calls.push("head"))
        })
        const app = yield* App.listen(Route.get("/", Effect.as(watch, HttpServerResponse.stream(body))))
        yield* app.text("/")
        const exchange = yield* app.exchange(0)
        Exchange.onEnd(exchange, () => calls.push("late"))
        assert.deepStrictEqual(calls, ["head", "body", "ended", "late"])
      }))
  })
})
