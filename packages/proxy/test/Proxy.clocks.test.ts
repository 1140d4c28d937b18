import { assert, describe, it } from "@effect/vitest"
import * as Deadline from "@sluice/core/Deadline"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Route from "@sluice/core/Route"
import { App, LeakCounter, RawClient } from "@sluice/core/testing"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import type { Socket } from "node:net"
import * as Proxy from "../src/Proxy.ts"
import { answer, both, bothLive, count, eventually, get, ok, Origin, proxied, raw } from "./utils/proxied.ts"
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

/** How exchange 0 ended, by which clock; every exchange ends exactly once. */
const endOf = Effect.fnUntraced(function*(app: App.App, tag: string) {
  const ended = yield* app.exchange(0)
  assert.strictEqual((yield* app.exchanges).length, 1)
  assert.propertyVal(Cause.squash(ended.cause!), "_tag", tag)
  assert.deepStrictEqual(ended.outcome, { _tag: "TimedOut", clock: tag })
})

/** In bytes: more than the system buffers for two connections. */
const large = 64 * 1024 * 1024

/** Until a socket has written nothing for many turns of the event loop. */
const stalled = (socket: Socket): Effect.Effect<void> =>
  Effect.suspend(() => {
    let last = -1
    let still = 0
    return eventually(() => {
      const taken = socket.bytesWritten - socket.writableLength
      still = taken === last ? still + 1 : 0
      last = taken
      return still > 2000
    })
  })

/** A response that is too large for the system to keep, and a client that has not read any of it. */
const unread = Effect.fnUntraced(function*(path: Path, clocks: Proxy.Clocks) {
  const { app, client, origin } = yield* proxied(path, { proxy: { clocks } })
  client.socket.pause()
  yield* client.send(get("/"))
  const connection = yield* origin
  yield* connection.nextRequest
  yield* connection.send(answer("200 OK", [`Content-Length: ${large}`]))
  connection.socket.write(Buffer.alloc(large))
  yield* stalled(connection.socket)
  return { app, client, connection }
})

const turns = (n: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    let left = n
    return eventually(() => --left === 0)
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
      const { app, client, origin } = yield* proxied(path, { proxy: { clocks: { total: "5 seconds" } } })
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
      const { app, client, origin } = yield* proxied(path, { proxy: { clocks: { total: "5 seconds" } } })
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
      yield* stalled(client.socket)
      yield* TestClock.adjust("11 seconds")
      const got = yield* client.response()
      assert.strictEqual(got.status, 504)
      const ended = yield* app.exchange(0)
      assert.propertyVal(Cause.squash(ended.cause!), "_tag", "UpstreamSendTimeout")
    }))

  both("B182 no clock outlives its exchange", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path, { proxy: { clocks: { total: "5 seconds" } } })
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

  for (const [how, maxRequestBody] of [["as it is", Infinity], ["measured", 1000]] as const) {
    for (
      const [framing, sent, relayed] of [
        ["Content-Length: 10", "abc", "abc"],
        ["Transfer-Encoding: chunked", "3\r\nabc\r\n", "3\r\nabc\r\n"]
      ] as const
    ) {
      both(
        `B174 a client that stops within its body is a 408 and a close (${how}, ${framing})`,
        (path) =>
          Effect.gen(function*() {
            const clocks = { requestBodyIdle: "10 seconds" } as const
            const { app, client, origin } = yield* proxied(path, { proxy: { clocks, maxRequestBody } })
            yield* client.send(raw("POST /", [framing], sent))
            const connection = yield* origin
            yield* connection.nextRequestHead
            yield* connection.read(relayed)
            yield* TestClock.adjust("9 seconds")
            assert.strictEqual((yield* app.exchanges).length, 0)
            yield* TestClock.adjust("1 seconds")
            const got = yield* client.response()
            assert.strictEqual(got.status, 408)
            assert.strictEqual(got.get("connection"), "close")
            assert.strictEqual(got.get("proxy-status"), "sluice; error=http_request_error")
            assert.strictEqual((yield* client.ended).unread, "")
            assert.strictEqual((yield* connection.ended).unread, "")
            yield* endOf(app, "RequestBodyTimeout")
          })
      )
    }
  }

  both("B174 a client that is slow but moves survives", (path) =>
    Effect.gen(function*() {
      const clocks = { requestBodyIdle: "10 seconds" } as const
      const { client, origin } = yield* proxied(path, { proxy: { clocks } })
      yield* client.send(raw("POST /", ["Content-Length: 6"], "a"))
      const connection = yield* origin
      yield* connection.nextRequestHead
      yield* connection.read("a")
      for (let i = 0; i < 5; i++) {
        yield* TestClock.adjust("9 seconds")
        yield* client.send("b")
        yield* connection.read("b")
      }
      yield* TestClock.adjust("30 seconds")
      yield* connection.send(ok)
      assert.strictEqual((yield* client.response()).status, 200)
    }))

  both("B174 once the head is out, it is an abort", (path) =>
    Effect.gen(function*() {
      const clocks = { requestBodyIdle: "10 seconds" } as const
      const { app, client, origin } = yield* proxied(path, { proxy: { clocks } })
      yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], "1\r\na\r\n"))
      const connection = yield* origin
      yield* connection.read("1\r\na\r\n")
      yield* connection.send(answer("200 OK", ["Transfer-Encoding: chunked"], "1\r\nA\r\n"))
      yield* client.read("1\r\nA\r\n")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* client.ended).unread, "")
      assert.strictEqual((yield* connection.ended).unread, "")
      const ended = yield* app.exchange(0)
      const error = Cause.squash(ended.cause!)
      assert.deepInclude(error, { _tag: "UpstreamBodyTruncated", reason: "Request" })
      assert.propertyVal((error as Error).cause, "_tag", "RequestBodyTimeout")
      assert.deepStrictEqual(ended.outcome, { _tag: "Failed", phase: "responseBody" })
    }))

  both(
    "B174 while it is the upstream that does not take the body, the client is not late",
    (path) =>
      Effect.gen(function*() {
        const clocks = { requestBodyIdle: "10 seconds" } as const
        const upstream = { clocks: { responseHead: "Infinity", send: "Infinity" } } as const
        const { app, client, origin } = yield* proxied(path, { proxy: { clocks }, upstream })
        const size = 32 * 1024 * 1024
        yield* client.send(raw("POST /", [`Content-Length: ${size}`]))
        const connection = yield* origin
        yield* connection.nextRequestHead
        connection.socket.pause()
        client.socket.write(Buffer.alloc(size))
        yield* stalled(client.socket)
        yield* TestClock.adjust("1 hour")
        assert.strictEqual((yield* app.exchanges).length, 0)
        const seen = count(connection)
        connection.socket.resume()
        yield* eventually(() => seen.bytes === size)
        yield* connection.send(ok)
        assert.strictEqual((yield* client.response()).status, 200)
      })
  )

  both("B174 a body that was not asked for is not late, and one that was is", (path) =>
    Effect.gen(function*() {
      const clocks = { requestBodyIdle: "10 seconds" } as const
      const upstream = { clocks: { continue: "1 minute", responseHead: "Infinity" } } as const
      const { app, client, origin } = yield* proxied(path, { proxy: { clocks }, upstream })
      yield* client.send(raw("POST /", ["Content-Length: 10", "Expect: 100-continue"]))
      const connection = yield* origin
      yield* connection.nextRequestHead
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* app.exchanges).length, 0)
      yield* TestClock.adjust("1 seconds")
      yield* client.read("HTTP/1.1 100 Continue\r\n\r\n")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* client.response()).status, 408)
      yield* connection.ended
      yield* endOf(app, "RequestBodyTimeout")
    }))

  both("B174 an infinite clock is off", (path) =>
    Effect.gen(function*() {
      const clocks = { requestBodyIdle: "Infinity" } as const
      const { client, origin } = yield* proxied(path, { proxy: { clocks } })
      yield* client.send(raw("POST /", ["Content-Length: 2"], "a"))
      const connection = yield* origin
      yield* connection.read("a")
      yield* TestClock.adjust("100 days")
      yield* client.send("b")
      yield* connection.read("b")
      yield* connection.send(ok)
      assert.strictEqual((yield* client.response()).status, 200)
    }))

  bothLive(
    "B174 where the server's own clock is up first, its 408 is the only answer",
    (path) =>
      Effect.gen(function*() {
        const clocks = { requestHead: "50 millis", request: "50 millis", checkInterval: "10 millis" } as const
        const { app, client, origin } = yield* proxied(path, { listen: { node: { clocks } } })
        yield* client.send(raw("POST /", ["Content-Length: 10"], "abc"))
        const connection = yield* origin
        assert.strictEqual((yield* client.response()).status, 408)
        assert.strictEqual((yield* client.ended).unread, "")
        yield* connection.ended
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "TimedOut", clock: "request" })
        assert.strictEqual((yield* app.exchanges).length, 1)
      })
  )

  bothLive("B174, B182 on the real clock, too", (path) =>
    Effect.gen(function*() {
      const clocks = { requestBodyIdle: "50 millis" } as const
      const { app, client, connect, origin, upstream } = yield* proxied(path, { proxy: { clocks } })
      yield* client.send(raw("POST /", ["Content-Length: 10"], "abc"))
      const connection = yield* origin
      assert.strictEqual((yield* client.response()).status, 408)
      assert.strictEqual((yield* client.ended).unread, "")
      yield* connection.ended
      yield* endOf(app, "RequestBodyTimeout")
      const second = yield* connect
      yield* second.send(raw("POST /", ["Content-Length: 3"], "abc"))
      const fresh = yield* upstream.nextConnection
      yield* fresh.nextRequest
      yield* fresh.send(ok)
      assert.strictEqual((yield* second.response()).status, 200)
    }))

  bothLive(
    "B182 the clock of a request body ends with it, whether all of it was taken or not",
    (path) =>
      Effect.gen(function*() {
        const { client, origin } = yield* proxied(path)
        yield* client.send(raw("POST /", ["Content-Length: 3"], "abc"))
        const connection = yield* origin
        yield* connection.nextRequest
        yield* connection.send(ok)
        assert.strictEqual((yield* client.response()).status, 200)
        yield* client.send(raw("POST /", ["Content-Length: 1000000"], "abc"))
        yield* connection.read("abc")
        yield* connection.send(answer("413 Content Too Large", ["Content-Length: 2"], "no"))
        assert.strictEqual((yield* client.response()).status, 413)
        yield* connection.ended
      })
  )

  both("B180 a client that stops reading is cut off, and its upstream with it", (path) =>
    Effect.gen(function*() {
      const { app, client, connection } = yield* unread(path, { writeIdle: "10 seconds" })
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual((yield* app.exchanges).length, 0)
      yield* TestClock.adjust("11 seconds")
      yield* connection.ended
      yield* endOf(app, "DownstreamWriteTimeout")
      const seen = count(client)
      client.socket.resume()
      yield* client.ended
      assert.isBelow(seen.bytes, large)
    }))

  both("B180 a client that is slow but reads survives", (path) =>
    Effect.gen(function*() {
      const { app, client, connection } = yield* unread(path, { writeIdle: "10 seconds" })
      const seen = count(client)
      for (let i = 0; i < 4; i++) {
        client.socket.pause()
        yield* stalled(connection.socket)
        yield* TestClock.adjust("9 seconds")
        const before = seen.bytes
        client.socket.resume()
        yield* eventually(() => seen.bytes > before + large / 8)
      }
      yield* app.exchange(0)
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
    }))

  both("B180 an infinite clock is off", (path) =>
    Effect.gen(function*() {
      const { app } = yield* unread(path, { writeIdle: "Infinity" })
      yield* TestClock.adjust("100 days")
      assert.strictEqual((yield* app.exchanges).length, 0)
    }))

  it.effect("B180 it counts also for what is left when the upstream has done its part", () =>
    LeakCounter.expectNoLeak(Effect.scoped(Effect.gen(function*() {
      const whole = HttpServerResponse.uint8Array(new Uint8Array(large))
      const services = yield* Layer.build(Origin.layerMock(() => Effect.succeed(whole)))
      const clocks = { writeIdle: "10 seconds" } as const
      const listening = App.listen(Route.all("/*", Proxy.forward(Origin, { clocks })))
      const app = yield* Effect.provideContext(listening, services)
      const client = yield* RawClient.connect({ port: app.port })
      yield* client.send(get("/"))
      yield* client.responseHead
      client.socket.pause()
      for (let i = 0; i < 2; i++) {
        yield* turns(200)
        yield* TestClock.adjust("10 seconds")
      }
      yield* endOf(app, "DownstreamWriteTimeout")
    }))))

  both("B179 events without end, when the upstream's idle clock is off", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path, { upstream: { clocks: { bodyIdle: "Infinity" } } })
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* connection.send(answer("200 OK", ["Content-Type: text/event-stream"], "data: 1\n\n"))
      yield* client.read("data: 1\n\n")
      yield* TestClock.adjust("100 days")
      yield* connection.send("data: 2\n\n")
      yield* client.read("data: 2\n\n")
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
