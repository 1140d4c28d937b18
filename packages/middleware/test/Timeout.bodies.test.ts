import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import { assert, describe, it } from "@effect/vitest"
import * as Handler from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Reporter from "@sluice/core/Reporter"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import { RawClient } from "@sluice/core/testing"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Readable } from "node:stream"
import * as Reporting from "../src/Reporting.ts"
import * as Timeout from "../src/Timeout.ts"
import { exchanges, refused, reports, settled, start, turn, until } from "./kit.ts"

const ok = HttpServerResponse.text("ok")
const head = "POST / HTTP/1.1\r\nhost: a\r\n"
const get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

/** Drains the body and says how much of it came. */
const drain = () => {
  const seen = { bytes: 0 }
  const handler = Effect.as(
    Effect.flatMap(
      HttpServerRequest.HttpServerRequest,
      (request) =>
        Stream.runForEach(request.stream, (chunk) =>
          Effect.sync(() => {
            seen.bytes += chunk.length
          }))
    ),
    ok
  )
  return { seen, handler }
}

const connect = (server: Server.Server["Service"]) => Effect.orDie(RawClient.connect(server.port))

describe("Timeout.requestBody", () => {
  it.effect("C31 a byte a second is not idle, but takes too long: 408 and Connection: close", () =>
    Effect.gen(function*() {
      const { handler, seen } = drain()
      const { ended, observer } = exchanges()
      const edge = Middleware.stack(observer, Timeout.requestBody({ idle: "2 seconds", total: "5 seconds" }))
      const server = yield* start(Server.layer(Route.post("/", handler), { edge }))
      const client = yield* connect(server)
      yield* client.send(`${head}content-length: 100\r\n\r\n`)
      for (let sent = 1; sent <= 5; sent++) {
        yield* client.send("x")
        yield* until(() => seen.bytes === sent)
        yield* TestClock.adjust("1 second")
      }
      const answer = yield* client.response()
      assert.strictEqual(answer.status, 408)
      assert.strictEqual(answer.get("connection"), "close")
      assert.include(answer.text, "\"clock\":\"requestBodyTotal\",\"after\":5000")
      yield* client.ended
      yield* settled(server)
      assert.deepStrictEqual(ended[0].outcome, { _tag: "TimedOut", clock: "requestBodyTotal" })
    }))

  it.effect("C31 a pause that is too long is a 408, whoever reads", () =>
    Effect.gen(function*() {
      const text = Effect.as(Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ text }) => text), ok)
      const began = yield* Queue.unbounded<void>()
      const node = Handler.fromNodeHandler((request: IncomingMessage, response: ServerResponse, next) => {
        request.on("error", next).resume().on("end", () => response.end("ok"))
      })
      const says = Middleware.around("began", (handler) => Effect.andThen(Queue.offer(began, undefined), handler), {
        response: "none"
      })
      const through = Middleware.stack(Timeout.requestBody({ idle: "2 seconds" }), says)
      const routes = Layer.mergeAll(Route.post("/text", through, text), Route.post("/node", through, node))
      const { ended, observer } = exchanges()
      const server = yield* start(Server.layer(routes, { edge: observer }))
      for (const path of ["/text", "/node"]) {
        const client = yield* connect(server)
        yield* client.send(`${head.replace("/", path)}content-length: 100\r\n\r\n`)
        yield* Queue.take(began)
        yield* TestClock.adjust("1999 millis")
        yield* turn
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* client.response()).status, 408, path)
        yield* client.ended
      }
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome), [
        { _tag: "TimedOut", clock: "requestBodyIdle" },
        { _tag: "TimedOut", clock: "requestBodyIdle" }
      ])
    }))

  it.effect("a handler may take its time, before it reads and after the body came", () =>
    Effect.gen(function*() {
      const slow = yield* Queue.unbounded<void>()
      const handler = Effect.gen(function*() {
        const request = yield* HttpServerRequest.HttpServerRequest
        yield* Queue.offer(slow, undefined)
        yield* Effect.sleep("1 minute")
        const text = yield* request.text
        yield* Queue.offer(slow, undefined)
        yield* Effect.sleep("1 minute")
        return HttpServerResponse.text(text)
      })
      const edge = Timeout.requestBody({ idle: "1 second", total: "1 second" })
      const server = yield* start(Server.layer(Route.post("/", handler), { edge }))
      const client = yield* connect(server)
      yield* client.send(`${head}content-length: 3\r\n\r\nabc`)
      for (let i = 0; i < 2; i++) {
        yield* Queue.take(slow)
        yield* TestClock.adjust("1 minute")
      }
      assert.strictEqual((yield* client.response()).text, "abc")
      assert.strictEqual((yield* client.request(get.replace("GET", "DELETE"))).status, 405)
    }))

  it.effect("what has come and waits for its reader does not count as a pause", () =>
    Effect.gen(function*() {
      const size = 4 * 1024 * 1024
      const reached = yield* Deferred.make<Readable>()
      const handler = Effect.gen(function*() {
        const request = yield* HttpServerRequest.HttpServerRequest
        const message: Readable = NodeHttpServerRequest.toIncomingMessage(request)
        yield* Deferred.succeed(reached, message)
        let first = true
        yield* Stream.runForEach(request.stream, () => {
          if (!first) return Effect.void
          first = false
          return Effect.sleep("1 minute")
        })
        return ok
      })
      const edge = Timeout.requestBody({ idle: "1 second" })
      const server = yield* start(Server.layer(Route.post("/", handler), { edge }))
      const client = yield* connect(server)
      yield* client.send(`${head}content-length: ${size}\r\n\r\n`)
      yield* Effect.forkChild(client.send(new Uint8Array(size)))
      const message = yield* Deferred.await(reached)
      yield* until(() => message.readableLength >= message.readableHighWaterMark)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* client.response()).status, 200)
    }))

  it.effect("an inner one is in force, and what it doesn't set is the outer one's", () =>
    Effect.gen(function*() {
      const { handler, seen } = drain()
      const edge = Timeout.requestBody({ idle: "2 seconds", total: "5 seconds" })
      const through = Timeout.requestBody({ idle: Infinity })
      const server = yield* start(Server.layer(Route.post("/", through, handler), { edge }))
      const client = yield* connect(server)
      yield* client.send(`${head}content-length: 100\r\n\r\nx`)
      yield* until(() => seen.bytes === 1)
      yield* TestClock.adjust("4 seconds")
      yield* client.send("y")
      yield* until(() => seen.bytes === 2)
      yield* TestClock.adjust("1 second")
      assert.include((yield* client.response()).text, "requestBodyTotal")
    }))
})

/** A body of chunks that the test offers. */
const streamed = (contentType: string) =>
  Effect.map(Queue.unbounded<string>(), (chunks) => ({
    chunks,
    handler: Effect.succeed(HttpServerResponse.stream(Stream.encodeText(Stream.fromQueue(chunks)), { contentType }))
  }))

describe("Timeout.responseBody", () => {
  it.effect("C30 cuts off a stream that stalls, and not one that goes on", () =>
    Effect.gen(function*() {
      const { chunks, handler } = yield* streamed("text/plain")
      const { ended, observer } = exchanges()
      const edge = Middleware.stack(observer, Reporting.make(), Timeout.responseBody({ idle: "2 seconds" }))
      const server = yield* start(Server.layer(Route.get("/", handler), { edge }))
      const client = yield* connect(server)
      yield* client.send(get)
      for (let i = 0; i < 5; i++) {
        yield* Queue.offer(chunks, "tick")
        yield* client.read("tick")
        yield* TestClock.adjust("1500 millis")
      }
      yield* TestClock.adjust("499 millis")
      yield* turn
      assert.strictEqual(yield* server.active, 1)
      yield* TestClock.adjust("1 millis")
      const { unread } = yield* client.ended
      assert.notInclude(unread, "0\r\n\r\n")
      yield* settled(server)
      assert.deepStrictEqual(ended[0].outcome, { _tag: "TimedOut", clock: "responseBodyIdle" })
      const [report, ...more] = yield* reports
      assert.deepStrictEqual([report.error instanceof Timeout.ResponseBodyTimeout, more.length], [true, 0])
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("C30 cuts off a handler that writes by itself, and a whole that takes too long", () =>
    Effect.gen(function*() {
      const node = Handler.fromNodeHandler((_: IncomingMessage, response: ServerResponse) => {
        response.writeHead(200).write("some")
      })
      const { chunks, handler } = yield* streamed("text/plain")
      const { ended, observer } = exchanges()
      const edge = Middleware.stack(observer, Timeout.responseBody({ idle: "2 seconds", total: "3 seconds" }))
      const server = yield* start(
        Server.layer(Layer.mergeAll(Route.get("/node", node), Route.get("/", handler)), { edge })
      )
      const direct = yield* connect(server)
      yield* direct.send(get.replace("/", "/node"))
      yield* direct.read("some")
      yield* TestClock.adjust("2 seconds")
      yield* direct.ended
      const value = yield* connect(server)
      yield* value.send(get)
      for (let i = 0; i < 3; i++) {
        yield* Queue.offer(chunks, "tick")
        yield* value.read("tick")
        yield* TestClock.adjust("1 second")
      }
      yield* value.ended
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome), [
        { _tag: "TimedOut", clock: "responseBodyIdle" },
        { _tag: "TimedOut", clock: "responseBodyTotal" }
      ])
    }))

  it.effect("C30 C96 event streams may be silent, unless that is bounded, too", () =>
    Effect.gen(function*() {
      const events = yield* streamed("text/event-stream")
      const bounded = yield* streamed("text/event-stream")
      const routes = Layer.mergeAll(
        Route.get("/", events.handler),
        Route.get("/bounded", Timeout.responseBody({ idle: "2 seconds", eventStreams: true }), bounded.handler)
      )
      const server = yield* start(Server.layer(routes, { edge: Timeout.responseBody({ idle: "1 second" }) }))
      const client = yield* connect(server)
      yield* client.send(get)
      yield* Queue.offer(events.chunks, "data: 1\n\n")
      yield* client.read("data: 1")
      yield* TestClock.adjust("1 hour")
      yield* Queue.offer(events.chunks, "data: 2\n\n")
      yield* client.read("data: 2")
      const other = yield* connect(server)
      yield* other.send(get.replace("/", "/bounded"))
      yield* Queue.offer(bounded.chunks, "data: 1\n\n")
      yield* other.read("data: 1")
      yield* TestClock.adjust("2 seconds")
      yield* other.ended
    }))

  it.effect("a client that doesn't read is given up, one that reads a little now and then is not", () =>
    Effect.gen(function*() {
      const size = 64 * 1024 * 1024
      const handler = Effect.succeed(HttpServerResponse.uint8Array(new Uint8Array(size)))
      const { ended, observer } = exchanges()
      const edge = Middleware.stack(observer, Timeout.responseBody({ idle: "2 seconds" }))
      const server = yield* start(Server.layer(Route.get("/", handler), { edge }))
      const { socket, ...client } = yield* connect(server)
      yield* client.send(get)
      yield* client.responseHead
      socket.pause()
      yield* turn
      const some = Deferred.makeUnsafe<void>()
      // The first look finds what waits, the next that some of it went.
      yield* TestClock.adjust("2 seconds")
      yield* turn
      assert.strictEqual(yield* server.active, 1)
      socket.once("data", () => {
        socket.pause()
        Deferred.doneUnsafe(some, Effect.void)
      })
      socket.resume()
      yield* Deferred.await(some)
      yield* TestClock.adjust("4 seconds")
      yield* settled(server)
      assert.deepStrictEqual(ended[0].outcome, { _tag: "TimedOut", clock: "responseBodyIdle" })
    }))

  it.effect("leaves whole responses and connections alone", () =>
    Effect.gen(function*() {
      const edge = Timeout.responseBody({ idle: "1 second", total: "1 second" })
      const server = yield* start(Server.layer(Route.get("/", Effect.succeed(ok)), { edge }))
      const client = yield* connect(server)
      assert.strictEqual((yield* client.request(get)).text, "ok")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* client.request(get)).text, "ok")
    }))
})

describe("the clocks of bodies", () => {
  it("refuse nonsense and name themselves", () => {
    for (const make of [Timeout.requestBody, Timeout.responseBody]) {
      assert.include(refused(() => make({})), "RangeError: idle or total must be set")
      assert.include(refused(() => make({ idle: 0 })), "RangeError: idle must be a positive duration, got")
      assert.include(refused(() => make({ total: -1 })), "RangeError: total must be a positive duration, got")
      assert.strictEqual(make({ total: "5 seconds" }).response, "none")
    }
    assert.strictEqual(Timeout.requestBody({ total: "5 seconds" }).label, "Timeout.requestBody(total 5s)")
  })
})
