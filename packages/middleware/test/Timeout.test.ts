import { assert, describe, it } from "@effect/vitest"
import * as Deadline from "@sluice/core/Deadline"
import * as Handler from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { ServerResponse } from "node:http"
import * as Timeout from "../src/Timeout.ts"
import { exchanges, open, refused, send, settled, start, turn, until } from "./kit.ts"

const get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

/** A handler that says when it has been reached and runs `then`. */
const reached = <A, E, R>(then: Effect.Effect<A, E, R>) =>
  Effect.map(Deferred.make<void>(), (deferred) => ({
    reached: Deferred.await(deferred),
    handler: Effect.andThen(Deferred.succeed(deferred, undefined), then)
  }))

const ok = HttpServerResponse.text("done")

describe("Timeout", () => {
  it.effect("C26 answers 503 when the time is up, interrupts the handler and writes nothing more", () =>
    Effect.gen(function*() {
      let finalized = false
      const slow = yield* reached(
        Effect.as(Effect.sleep("1 second"), ok).pipe(Effect.onInterrupt(() =>
          Effect.sync(() => {
            finalized = true
          })
        ))
      )
      const { ended, observer } = exchanges()
      const edge = Middleware.stack(observer, Timeout.make("100 millis"))
      const server = yield* start(Server.layer(Route.get("/", slow.handler), { edge }))
      const client = yield* open(server)
      client.socket.write(get)
      yield* slow.reached
      yield* TestClock.adjust("99 millis")
      assert.strictEqual(client.text(), "")
      yield* TestClock.adjust("1 millis")
      yield* until(() => client.text().endsWith("}"))
      yield* settled(server)
      yield* TestClock.adjust("10 seconds")
      yield* turn
      assert.isTrue(finalized)
      const [head, body, ...rest] = client.text().split("\r\n\r\n")
      assert.match(head, /^HTTP\/1\.1 503 /)
      assert.deepStrictEqual([JSON.parse(body), rest], [{
        type: "about:blank",
        title: "The handler took too long",
        status: 503,
        clock: "handler",
        after: 100
      }, []])
      assert.deepStrictEqual(ended.map(({ outcome, status }) => [status, outcome]), [
        [503, { _tag: "TimedOut", clock: "handler" }]
      ])
    }))

  it.effect("C27 leaves a handler alone that is done in time", () =>
    Effect.gen(function*() {
      const slow = yield* reached(Effect.as(Effect.sleep("90 millis"), ok))
      const server = yield* start(Server.layer(Route.get("/", Timeout.make("100 millis"), slow.handler)))
      const reply = yield* Effect.forkChild(send(server))
      yield* slow.reached
      yield* TestClock.adjust("90 millis")
      assert.deepStrictEqual((yield* Fiber.join(reply)).body, "done")
    }))

  it.live("C27 leaves no timer behind", () =>
    Effect.gen(function*() {
      const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length
      const handler = Effect.as(Effect.yieldNow, ok)
      const fetch = yield* Handler.toWebHandler(Route.get("/", Timeout.make("1 hour"), handler))
      const before = timers()
      for (let i = 0; i < 500; i++) yield* Effect.promise(() => fetch(new Request("http://localhost/")))
      assert.isAtMost(timers(), before)
    }))

  it.effect("C28 does not wait for slow cleaning up", () =>
    Effect.gen(function*() {
      let cleaned = false
      const cleanUp = Effect.andThen(
        Effect.sleep("1 second"),
        Effect.sync(() => {
          cleaned = true
        })
      )
      const slow = yield* reached(Effect.onInterrupt(Effect.as(Effect.never, ok), () => cleanUp))
      const server = yield* start(Server.layer(Route.get("/", Timeout.make("100 millis"), slow.handler)))
      const reply = yield* Effect.forkChild(send(server))
      yield* slow.reached
      yield* TestClock.adjust("100 millis")
      assert.strictEqual((yield* Fiber.join(reply)).status, 503)
      assert.isFalse(cleaned)
      yield* TestClock.adjust("1 second")
      yield* settled(server)
      assert.isTrue(cleaned)
    }))

  it.effect("C29 of two the one that is due first fires, and can be handled between them", () =>
    Effect.gen(function*() {
      const slow = yield* reached(Effect.as(Effect.never, ok))
      const between = Middleware.handle(
        Timeout.HandlerTimeout,
        ({ after }) => Effect.succeed(HttpServerResponse.text(`inner ${after}`))
      )
      const through = Middleware.stack(Timeout.make("100 millis"), between, Timeout.make("50 millis"))
      const server = yield* start(Server.layer(Route.get("/", through, slow.handler)))
      const reply = yield* Effect.forkChild(send(server))
      yield* slow.reached
      yield* TestClock.adjust("50 millis")
      const { body, status } = yield* Fiber.join(reply)
      assert.deepStrictEqual([status, body], [200, "inner 50"])
    }))

  it.effect("C29 an outer one that is due first fires, too", () =>
    Effect.gen(function*() {
      const slow = yield* reached(Effect.as(Effect.never, ok))
      const through = Middleware.stack(Timeout.make("50 millis"), Timeout.make("100 millis"))
      const server = yield* start(Server.layer(Route.get("/", through, slow.handler)))
      const reply = yield* Effect.forkChild(send(server))
      yield* slow.reached
      yield* TestClock.adjust("50 millis")
      assert.include((yield* Fiber.join(reply)).body, "\"after\":50")
    }))

  it.effect("C30 does not cut off a streamed body", () =>
    Effect.gen(function*() {
      const chunks = yield* Queue.unbounded<string>()
      const body = Stream.encodeText(Stream.take(Stream.fromQueue(chunks), 2))
      const handler = Effect.succeed(HttpServerResponse.stream(body))
      const server = yield* start(Server.layer(Route.get("/", Timeout.make("100 millis"), handler)))
      const client = yield* open(server)
      client.socket.write(get)
      yield* Queue.offer(chunks, "first")
      yield* until(() => client.text().includes("first"))
      yield* TestClock.adjust("1 minute")
      yield* Queue.offer(chunks, "second")
      yield* until(() => client.text().endsWith("second\r\n0\r\n\r\n"))
    }))

  it.effect("C30 does not cut off a handler that has written its head by itself", () =>
    Effect.gen(function*() {
      const responses: Array<ServerResponse> = []
      const handler = Handler.fromNodeHandler((_, response) => {
        response.writeHead(200)
        response.write("first")
        responses.push(response)
      })
      const { ended, observer } = exchanges()
      const edge = Middleware.stack(observer, Timeout.make("100 millis"), Timeout.make("200 millis"))
      const server = yield* start(Server.layer(Route.get("/", handler), { edge }))
      const reply = yield* Effect.forkChild(send(server))
      yield* until(() => responses.length === 1)
      yield* TestClock.adjust("1 minute")
      responses[0].end("second")
      assert.strictEqual((yield* Fiber.join(reply)).body, "firstsecond")
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome._tag), ["Completed"])
    }))

  it.effect("C30 cuts off a handler that would write its head too late", () =>
    Effect.gen(function*() {
      const responses: Array<ServerResponse> = []
      const handler = Handler.fromNodeHandler((_, response) => {
        responses.push(response)
      })
      const server = yield* start(Server.layer(Route.get("/", Timeout.make("100 millis"), handler)))
      const reply = yield* Effect.forkChild(send(server))
      yield* until(() => responses.length === 1)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual((yield* Fiber.join(reply)).status, 503)
    }))

  it.effect("C32 Timeout.none is not cut off by those around it", () =>
    Effect.gen(function*() {
      const slow = yield* reached(Effect.as(Effect.sleep("1 minute"), ok))
      const edge = Middleware.stack(Timeout.make("200 millis"), Timeout.make("100 millis"))
      const server = yield* start(Server.layer(Route.get("/", Timeout.none, slow.handler), { edge }))
      const reply = yield* Effect.forkChild(send(server))
      yield* slow.reached
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(reply)).body, "done")
    }))

  it.effect("C32 Timeout.none also stops clocks that have been running for a while", () =>
    Effect.gen(function*() {
      const auth = yield* reached(Effect.sleep("50 millis"))
      const slowAuth = Middleware.around("auth", (handler) => Effect.andThen(auth.handler, handler))
      const slow = yield* reached(Effect.as(Effect.sleep("1 minute"), ok))
      const through = Middleware.stack(slowAuth, Timeout.none)
      const edge = Timeout.make("100 millis")
      const server = yield* start(Server.layer(Route.get("/", through, slow.handler), { edge }))
      const reply = yield* Effect.forkChild(send(server))
      yield* auth.reached
      yield* TestClock.adjust("50 millis")
      yield* slow.reached
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(reply)).body, "done")
    }))

  it.effect("C32 an override may be longer, and fires with its own time", () =>
    Effect.gen(function*() {
      const slow = yield* reached(Effect.as(Effect.never, ok))
      const route = Route.get("/", Timeout.override("1 minute"), slow.handler)
      const server = yield* start(Server.layer(route, { edge: Timeout.make("100 millis") }))
      const reply = yield* Effect.forkChild(send(server))
      yield* slow.reached
      yield* TestClock.adjust("30 seconds")
      yield* turn
      yield* TestClock.adjust("30 seconds")
      assert.include((yield* Fiber.join(reply)).body, "\"after\":60000")
    }))

  it.effect("handlers read what is left, and nothing under Timeout.none", () =>
    Effect.gen(function*() {
      const left = Effect.map(Deadline.remaining, (left) =>
        HttpServerResponse.text(Option.match(left, { onNone: () => "none", onSome: String })))
      const routes = Layer.mergeAll(
        Route.get("/timed", left),
        Route.get("/untimed", Timeout.none, left),
        Route.get("/override", Timeout.override("1 minute"), left)
      )
      const server = yield* start(Server.layer(routes, { edge: Timeout.make("5 seconds") }))
      assert.include((yield* send(server, "/timed")).body, "5000")
      assert.strictEqual((yield* send(server, "/untimed")).body, "none")
      assert.include((yield* send(server, "/override")).body, "60000")
    }))

  it.effect("C33 a client that leaves before the time is up gets no 503", () =>
    Effect.gen(function*() {
      let finalized = false
      const slow = yield* reached(Effect.onInterrupt(Effect.as(Effect.never, ok), () =>
        Effect.sync(() => {
          finalized = true
        })))
      const { ended, observer } = exchanges()
      const edge = Middleware.stack(observer, Timeout.make("100 millis"))
      const server = yield* start(Server.layer(Route.get("/", slow.handler), { edge }))
      const client = yield* open(server)
      client.socket.write(get)
      yield* slow.reached
      client.socket.destroy()
      yield* settled(server)
      yield* TestClock.adjust("1 minute")
      assert.isTrue(finalized)
      assert.strictEqual(client.text(), "")
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome._tag), ["ClientAborted"])
    }))

  it.effect("C34 a handled timeout is a response like any other, and gone from the types", () =>
    Effect.gen(function*() {
      const slow = yield* reached(Effect.as(Effect.never, ok))
      const busy = Middleware.handle(
        Timeout.HandlerTimeout,
        () => Effect.succeed(HttpServerResponse.text("busy", { status: 504 }))
      )
      const through = Middleware.stack(busy, Timeout.make("100 millis"))
      const noErrorIsLeft: [Middleware.Fails<typeof through>] extends [never] ? true : false = true
      assert.isTrue(noErrorIsLeft)
      const server = yield* start(Server.layer(Route.get("/", through, slow.handler)))
      const reply = yield* Effect.forkChild(send(server))
      yield* slow.reached
      yield* TestClock.adjust("100 millis")
      const { body, status } = yield* Fiber.join(reply)
      assert.deepStrictEqual([status, body], [504, "busy"])
    }))

  it.effect("says when to try again", () =>
    Effect.gen(function*() {
      const slow = yield* reached(Effect.as(Effect.never, ok))
      const timeout = Timeout.make("100 millis", { retryAfter: "1500 millis" })
      const server = yield* start(Server.layer(Route.get("/", timeout, slow.handler)))
      const reply = yield* Effect.forkChild(send(server))
      yield* slow.reached
      yield* TestClock.adjust("100 millis")
      assert.strictEqual((yield* Fiber.join(reply)).headers.get("retry-after"), "2")
    }))

  it("refuses nonsense and names itself", () => {
    for (const after of [0, -1, Number.NaN, "0 seconds"] as const) {
      assert.include(refused(() => Timeout.make(after)), "RangeError: after must be a positive duration, got")
    }
    assert.include(refused(() => Timeout.make("1 second", { retryAfter: 0 })), "RangeError: retryAfter must be")
    assert.include(refused(() => Timeout.make("1 second", { retryAfter: Infinity })), "RangeError: retryAfter must be")
    assert.strictEqual(Timeout.make("5 seconds").label, "Timeout(5s)")
    assert.strictEqual(Timeout.make("5 seconds").response, "none")
  })
})
