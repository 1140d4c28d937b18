import { assert, describe } from "@effect/vitest"
import * as Deadline from "@sluice/core/Deadline"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { answer, both, eventually, get, ok, proxied, raw } from "./utils/proxied.ts"
import type { Path } from "./utils/proxied.ts"

const streaming = Effect.fnUntraced(function*(path: Path, setup: Parameters<typeof proxied>[1]) {
  const parts = yield* proxied(path, setup)
  yield* parts.client.send(get("/"))
  const connection = yield* parts.origin
  yield* connection.nextRequest
  yield* connection.send(answer("200 OK", ["Content-Length: 100"], "abc"))
  yield* parts.client.read("abc")
  return { ...parts, connection }
})

describe("Proxy, clocks", () => {
  both("B171 no response head is a 504 of its own", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path, { upstream: { clocks: { responseHead: "30 seconds" } } })
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual((yield* app.exchanges).length, 0)
      yield* TestClock.adjust("1 seconds")
      const got = yield* client.response()
      assert.strictEqual(got.status, 504)
      assert.strictEqual(got.get("proxy-status"), "sluice; error=http_response_timeout")
      const ended = yield* app.exchange(0)
      assert.propertyVal(Cause.squash(ended.cause!), "_tag", "UpstreamHeadersTimeout")
      assert.strictEqual(ended.outcome._tag, "TimedOut")
      yield* connection.ended
    }))

  both("B172 an idle response body is an abort", (path) =>
    Effect.gen(function*() {
      const { app, client, connection } = yield* streaming(path, { upstream: { clocks: { bodyIdle: "10 seconds" } } })
      yield* TestClock.adjust("10 seconds")
      yield* client.ended
      yield* connection.ended
      const ended = yield* app.exchange(0)
      assert.propertyVal(Cause.squash(ended.cause!), "_tag", "UpstreamBodyTimeout")
      assert.strictEqual(ended.outcome._tag, "TimedOut")
      assert.strictEqual(ended.status, 200)
    }))

  both("B173 a slow body that moves survives the idle clock", (path) =>
    Effect.gen(function*() {
      const { client, connection } = yield* streaming(path, { upstream: { clocks: { bodyIdle: "10 seconds" } } })
      for (let i = 0; i < 5; i++) {
        yield* TestClock.adjust("9 seconds")
        yield* connection.send("x")
        yield* client.read("x")
      }
    }))

  both("B176 the total clock is a 504 before the head", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path, { proxy: { total: "5 seconds" } })
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* client.response()).status, 504)
      const ended = yield* app.exchange(0)
      assert.propertyVal(Cause.squash(ended.cause!), "_tag", "UpstreamTotalTimeout")
      yield* connection.ended
    }))

  both("B176 the total clock is an abort after the head, counted from the request", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path, { proxy: { total: "5 seconds" } })
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* TestClock.adjust("3 seconds")
      yield* connection.send(answer("200 OK", ["Content-Length: 100"], "abc"))
      yield* client.read("abc")
      yield* TestClock.adjust("2 seconds")
      yield* client.ended
      yield* connection.ended
      const ended = yield* app.exchange(0)
      assert.propertyVal(Cause.squash(ended.cause!), "_tag", "UpstreamTotalTimeout")
      assert.strictEqual(ended.outcome._tag, "TimedOut")
    }))

  both("B175 an upstream that does not take the request is a 504", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path, { upstream: { clocks: { send: "10 seconds" } } })
      const size = 64 * 1024 * 1024
      yield* client.send(raw("POST /", [`Content-Length: ${size}`]))
      const connection = yield* origin
      yield* connection.nextRequestHead
      connection.socket.pause()
      client.socket.write(Buffer.alloc(size))
      let last = -1
      let turns = 0
      yield* eventually(() => {
        turns = client.socket.bytesWritten === last ? turns + 1 : 0
        last = client.socket.bytesWritten
        return turns > 2000
      })
      yield* TestClock.adjust("11 seconds")
      const got = yield* client.response()
      assert.strictEqual(got.status, 504)
      const ended = yield* app.exchange(0)
      assert.propertyVal(Cause.squash(ended.cause!), "_tag", "UpstreamSendTimeout")
    }))

  both("B182 no clock outlives its exchange", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path, { proxy: { total: "5 seconds" } })
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* connection.send(ok)
      assert.strictEqual((yield* client.response()).status, 200)
      yield* TestClock.adjust("10 minutes")
      yield* client.send(get("/"))
      yield* app.exchange(0)
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
    }))

  both("a timeout in the stack interrupts the upstream call", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.around("timeout", (handler) =>
        Deadline.enforce(handler, { clock: "handler", after: "2 seconds", orElse: () => Effect.die(late) }), {
        response: "none"
      })
      const { client, origin } = yield* proxied(path, { stack })
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* client.response()).status, 503)
      yield* connection.ended
    }))
})

const late = Problem.toResponse({ status: 503 })
