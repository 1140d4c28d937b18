import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { PassThrough } from "node:stream"
import * as Body from "../src/Body.ts"
import type * as Transport from "../src/Transport.ts"
import * as Http1 from "../src/transport/Http1.ts"
import { shop } from "./utils/certificates.ts"
import { answering, call, collect, exchange, settle, type Upstream, upstream } from "./utils/upstream.ts"

const run = <A, E>(effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>, options?: Http1.Options) =>
  Effect.provide(effect, Http1.layer(options))

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

/** One connection at a time. */
const single: Http1.Options = { maxConnectionsPerEndpoint: 1 }

/** Starts an exchange that has got as far as it can when this returns. */
const start = (to: Upstream | Transport.Endpoint, target: string, overrides: Partial<Transport.OutgoingRequest> = {}) =>
  Effect.forkChild(call(to, { target, ...overrides }), { startImmediately: true })

/** An upstream that answers nothing by itself. */
const silent = upstream({})

const asked = (up: Upstream, n: number, target: string) =>
  up.until(n, (text) => text.includes(`${target} HTTP/1.1\r\n`) && text.endsWith("\r\n\r\n"))

/** The targets that were asked for on a connection, in order. */
const targets = (up: Upstream, n: number) =>
  [...(up.received[n] ?? "").matchAll(/\S+ (\S+) HTTP\/1\.1\r\n/g)].map((match) => match[1])

describe("Http1 connection limit", () => {
  it.effect("B249 no more connections than that, and everyone has a turn", () =>
    run(
      Effect.gen(function*() {
        let most = 0
        let at = 0
        const up = yield* upstream({
          onRequest: (socket) => {
            most = Math.max(most, ++at)
            setImmediate(() => {
              at -= 1
              socket.write(ok)
            })
          }
        })
        const all = yield* Effect.all(Array.from({ length: 30 }, () => call(up)), { concurrency: "unbounded" })
        assert.isTrue(all.every(({ text }) => text === "abc"))
        assert.strictEqual(up.sockets.length, 3)
        assert.isAtMost(most, 3)
      }),
      { maxConnectionsPerEndpoint: 3 }
    ))

  it.effect("B249 who waits is served in order, on the connection that became free", () =>
    run(
      Effect.gen(function*() {
        const up = yield* silent
        const order = ["/a", "/b", "/c", "/d"]
        const fibers = yield* Effect.forEach(order, (target) => start(up, target))
        for (const target of order) {
          yield* asked(up, 0, target)
          up.sockets[0]?.write(ok)
        }
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(targets(up, 0), order)
        assert.strictEqual(up.sockets.length, 1)
      }),
      single
    ))

  it.effect("B249 one more than may wait is a 503 at once", () =>
    run(
      Effect.gen(function*() {
        const up = yield* silent
        const waiting = [yield* start(up, "/a"), yield* start(up, "/b"), yield* start(up, "/c")]
        const error = yield* Effect.flip(call(up))
        assert.deepInclude(error, { _tag: "UpstreamSaturated", status: 503, phase: "queue", bytesSent: 0 })
        for (const target of ["/a", "/b", "/c"]) {
          yield* asked(up, 0, target)
          up.sockets[0]?.write(ok)
        }
        yield* Fiber.joinAll(waiting)
      }),
      { ...single, maxQueued: 2 }
    ))

  it.effect("B249 none waits when none may", () =>
    run(
      Effect.gen(function*() {
        const up = yield* answering(ok)
        const part = yield* exchange(up)
        assert.strictEqual((yield* collect(part)).text, "abc")
        const held = yield* start({ ...up.endpoint, hostname: "127.0.0.1" }, "/a")
        assert.strictEqual((yield* Effect.flip(call(up)))._tag, "UpstreamSaturated")
        yield* Fiber.join(held)
        assert.strictEqual((yield* call(up)).text, "abc")
        assert.strictEqual(up.sockets.length, 1)
      }),
      { ...single, maxQueued: 0 }
    ))

  it.effect("B170 waiting for too long is a 503; the place is free again, the exchange ahead goes on", () =>
    run(
      Effect.gen(function*() {
        const up = yield* silent
        const first = yield* start(up, "/a")
        yield* asked(up, 0, "/a")
        const second = yield* Effect.forkChild(Effect.flip(call(up)), { startImmediately: true })
        yield* TestClock.adjust("4 seconds")
        assert.isUndefined(second.pollUnsafe())
        yield* TestClock.adjust("1 second")
        const error = yield* Fiber.join(second)
        assert.deepInclude(error, { _tag: "QueueTimeout", status: 503, phase: "queue", bytesSent: 0 })
        const third = yield* start(up, "/c", { clocks: { queue: "9 seconds" } })
        yield* TestClock.adjust("8 seconds")
        up.sockets[0]?.write(ok)
        yield* asked(up, 0, "/c")
        // B182: the clock of the queue has stopped, whatever comes after it.
        yield* TestClock.adjust("20 seconds")
        up.sockets[0]?.write(ok)
        assert.strictEqual((yield* Fiber.join(third)).text, "abc")
        yield* Fiber.join(first)
        assert.deepStrictEqual(targets(up, 0), ["/a", "/c"])
      }),
      { ...single, maxQueued: 1 }
    ))

  it.effect("B158 B249 one who leaves frees its place in line, and takes no connection", () =>
    run(
      Effect.gen(function*() {
        const up = yield* silent
        const first = yield* start(up, "/a")
        const second = yield* start(up, "/b")
        const scope = yield* Scope.make()
        const third = yield* Effect.forkChild(Scope.provide(exchange(up, { target: "/c" }), scope), {
          startImmediately: true
        })
        assert.strictEqual((yield* Effect.flip(call(up)))._tag, "UpstreamSaturated")
        yield* Fiber.interrupt(second)
        yield* Scope.close(scope, Exit.void)
        const fourth = yield* start(up, "/d")
        yield* asked(up, 0, "/a")
        up.sockets[0]?.write(ok)
        yield* asked(up, 0, "/d")
        up.sockets[0]?.write(ok)
        yield* Fiber.joinAll([first, fourth])
        yield* Fiber.interrupt(third)
        assert.deepStrictEqual(targets(up, 0), ["/a", "/d"])
        assert.strictEqual(up.sockets.length, 1)
      }),
      { ...single, maxQueued: 2 }
    ))

  const ends: ReadonlyArray<
    readonly [string, (up: Upstream, first: Fiber.Fiber<unknown, unknown>) => Effect.Effect<unknown>]
  > = [
    ["is reset", (up) => Effect.sync(() => up.sockets[0]?.resetAndDestroy())],
    [
      "may not be used again",
      (up) => Effect.sync(() => up.sockets[0]?.write(ok.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")))
    ],
    ["is given up by its client", (_up, first) => Fiber.interrupt(first)],
    ["is given up by its client within the body", (up, first) =>
      Effect.gen(function*() {
        up.sockets[0]?.write(ok.slice(0, -1))
        yield* settle
        yield* Fiber.interrupt(first)
      })],
    ["runs out of time", () => TestClock.adjust("30 seconds")]
  ]
  for (const [name, end] of ends) {
    it.effect(`B249 a connection that ${name} makes room for the first in line`, () =>
      run(
        Effect.gen(function*() {
          const up = yield* silent
          const clocks = { queue: Infinity, responseHead: "30 seconds" } as const
          const first = yield* start(up, "/a", { method: "POST", clocks })
          yield* asked(up, 0, "/a")
          const second = yield* start(up, "/b", { clocks })
          const third = yield* start(up, "/c", { clocks })
          yield* end(up, first)
          yield* asked(up, 1, "/b")
          up.sockets[1]?.write(ok)
          yield* asked(up, 1, "/c")
          up.sockets[1]?.write(ok)
          yield* Fiber.joinAll([second, third])
          yield* Fiber.await(first)
          assert.strictEqual(up.sockets.length, 2)
        }),
        single
      ))
  }

  for (const side of ["upstream", "proxy"] as const) {
    it.effect(`B249 a tunnel is a connection until it is closed by the ${side}`, () =>
      run(
        Effect.gen(function*() {
          const up = yield* upstream({
            onRequest: (socket, head) => socket.write(head.includes("Upgrade") ? switched : ok)
          })
          const scope = yield* Scope.make()
          const { tunnel } = yield* Scope.provide(exchange(up, { upgrade: "websocket" }), scope)
          tunnel?.resume().on("error", () => {})
          const waiting = yield* start(up, "/b")
          yield* settle
          assert.strictEqual(up.sockets.length, 1)
          if (side === "proxy") yield* Scope.close(scope, Exit.void)
          else up.sockets[0]?.resetAndDestroy()
          assert.strictEqual((yield* Fiber.join(waiting)).text, "abc")
          assert.strictEqual(up.sockets.length, 2)
          yield* Scope.close(scope, Exit.void)
        }),
        single
      ))
  }

  it.effect("B249 an upgrade takes the place of an idle connection that it can't use, also when it waits", () =>
    run(
      Effect.gen(function*() {
        const up = yield* answering(ok)
        yield* call(up)
        yield* call(up, { upgrade: "websocket" })
        assert.strictEqual(up.sockets.length, 2)
        const all = [yield* start(up, "/a"), yield* start(up, "/b", { upgrade: "websocket" }), yield* start(up, "/c")]
        yield* Fiber.joinAll(all)
        assert.deepStrictEqual([1, 2].map((n) => targets(up, n)), [["/", "/a"], ["/b", "/c"]])
      }),
      { ...single, maxQueued: 2 }
    ))

  it.effect("B249 a connection that can't be made hands its place on", () =>
    run(
      Effect.gen(function*() {
        const up = yield* silent
        const endpoint: Transport.Endpoint = { ...up.endpoint, protocol: "https:" }
        const clocks = { tls: "4 seconds" } as const
        const first = yield* Effect.forkChild(Effect.flip(call(endpoint, { clocks })), { startImmediately: true })
        const second = yield* Effect.forkChild(Effect.flip(call(endpoint, { clocks })), { startImmediately: true })
        yield* up.until(0, (text) => text !== "")
        assert.strictEqual(up.sockets.length, 1)
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual((yield* Fiber.join(first))._tag, "UpstreamTlsTimeout")
        yield* up.until(1, (text) => text !== "")
        assert.isUndefined(second.pollUnsafe())
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual((yield* Fiber.join(second))._tag, "UpstreamTlsTimeout")

        const refused = yield* Effect.scoped(Effect.map(silent, (gone) => gone.endpoint))
        const errors = yield* Effect.all(Array.from({ length: 5 }, () => Effect.flip(call(refused))), {
          concurrency: "unbounded"
        })
        assert.isTrue(errors.every(({ _tag }) => _tag === "UpstreamConnectError"))
      }),
      single
    ))

  it.effect("B234 B249 a request that is sent again keeps its place", () =>
    run(
      Effect.gen(function*() {
        const up = yield* upstream({
          onRequest: (socket, _head, n, connection) =>
            connection === 0 && n === 1 ? socket.resetAndDestroy() : socket.write(ok)
        })
        yield* call(up)
        const all = [yield* start(up, "/a"), yield* start(up, "/b")]
        yield* Fiber.joinAll(all)
        assert.deepStrictEqual(targets(up, 1), ["/a", "/b"])
        assert.strictEqual(up.sockets.length, 2)
      }),
      { ...single, maxQueued: 1 }
    ))

  it.effect("closing the layer ends the wait", () =>
    Effect.gen(function*() {
      const up = yield* silent
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Http1.layer(single), scope)
      const fibers = yield* Effect.provideContext(
        Effect.all([start(up, "/a"), start(up, "/b"), start(up, "/c")]),
        context
      )
      yield* asked(up, 0, "/a")
      yield* Scope.close(scope, Exit.void)
      const errors = yield* Effect.forEach(fibers, (fiber) => Effect.flip(Fiber.join(fiber)))
      const tags = errors.map(({ _tag }) => _tag)
      assert.deepStrictEqual(tags, ["UpstreamClosedBeforeResponse", "UpstreamConnectError", "UpstreamConnectError"])
      assert.strictEqual(up.sockets.length, 1)
    }))

  it.effect("B248 B249 endpoints do not share it, and TLS settings make another endpoint", () =>
    run(
      Effect.gen(function*() {
        const held = [yield* silent, yield* silent]
        yield* Effect.forEach(held, (up) => start(up, "/a"))
        yield* Effect.forEach(held, (up) => asked(up, 0, "/a"))
        const secure = yield* upstream({ tls: shop })
        const first = { ca: shop.cert }
        yield* start({ ...secure.endpoint, tls: first }, "/a")
        yield* asked(secure, 0, "/a")
        yield* start({ ...secure.endpoint, tls: { ca: shop.cert } }, "/b")
        yield* asked(secure, 1, "/b")
        const third = yield* Effect.flip(call({ ...secure.endpoint, tls: first }))
        assert.strictEqual(third._tag, "UpstreamSaturated")
      }),
      { ...single, maxQueued: 0 }
    ))

  it("options that make no sense are refused when they are given", () => {
    assert.throws(() => Http1.layer({ maxConnectionsPerEndpoint: 0 }), RangeError, "maxConnectionsPerEndpoint")
    assert.throws(() => Http1.layer({ maxConnectionsPerEndpoint: 1.5 }), RangeError, "maxConnectionsPerEndpoint")
    assert.throws(() => Http1.layer({ maxQueued: -1 }), RangeError, "maxQueued")
    Http1.layer({ maxConnectionsPerEndpoint: Infinity, maxQueued: 0 })
  })
})

describe("Http1 reuse", () => {
  it.effect("B246 an endpoint is the same after all its connections have closed, whatever object names it", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({
        onRequest: (socket, head) =>
          socket.write(head.startsWith("GET /close") ? ok.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n") : ok)
      })
      const [one, two] = [{ ...up.endpoint }, { ...up.endpoint }]
      yield* call(one, { target: "/close" })
      yield* call(two, { target: "/close" })
      yield* call(one)
      yield* call(two)
      yield* call(one)
      assert.strictEqual(up.sockets.length, 3)
    })))

  const spoilt: ReadonlyArray<readonly [string, string, Partial<Transport.OutgoingRequest>]> = [
    ["bytes after the response", `${ok}HTTP/1.1 200 OK\r\n`, {}],
    ["a body in answer to HEAD", ok, { method: "HEAD" }],
    ["Connection: close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", {}],
    ["HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", {}],
    ["a malformed response", "HTTP/1.1 2OO\r\n\r\n", {}]
  ]
  for (const [name, response, overrides] of spoilt) {
    it.effect(`B247 a connection is not used again after ${name}`, () =>
      run(Effect.gen(function*() {
        const up = yield* answering(response)
        yield* Effect.exit(call(up, overrides))
        yield* Effect.exit(call(up, overrides))
        assert.strictEqual(up.sockets.length, 2)
        yield* up.closed(2)
      })))
  }

  it.effect("B247 a connection is not used again after an upload that was not finished", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      const stream = new PassThrough()
      stream.write("ab")
      assert.strictEqual((yield* call(up, { method: "POST", body: Body.oneShot(stream, 3) })).text, "abc")
      yield* up.closed(1)
      yield* call(up)
      assert.strictEqual(up.sockets.length, 2)
    })))

  it.effect("B187 B247 a connection is not used again after a body that was announced and never asked for", () =>
    run(Effect.gen(function*() {
      const up = yield* silent
      const expecting = {
        method: "POST",
        fields: ["Host", "shop.test", "Expect", "100-continue"],
        body: Body.oneShot(new PassThrough(), 3),
        expectContinue: true
      }
      const fiber = yield* start(up, "/a", expecting)
      yield* asked(up, 0, "/a")
      up.sockets[0]?.write(ok.slice(0, -1))
      yield* settle
      // The answer is on its way for longer than the body would have waited for a 100.
      yield* TestClock.adjust("5 seconds")
      up.sockets[0]?.write(ok.slice(-1))
      assert.strictEqual((yield* Fiber.join(fiber)).text, "abc")
      yield* up.closed(1)
    })))

  it.effect("B247 a connection is not used again after a body in memory that was not taken", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({
        onConnection: (socket, n) => {
          if (n > 0) return
          socket.removeAllListeners("data").pause()
          socket.write(ok)
        },
        onRequest: (socket) => socket.write(ok)
      })
      const body = Body.replayable(Buffer.alloc(64 * 1024 * 1024))
      assert.strictEqual((yield* call(up, { method: "PUT", body })).text, "abc")
      assert.strictEqual((yield* call(up)).text, "abc")
      assert.strictEqual(up.sockets.length, 2)
    })))

  it.effect("B237 what has a response head is not sent again", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({
        onRequest: (socket, _head, n) => n === 0 ? socket.write(ok) : socket.end(ok.slice(0, -1))
      })
      yield* call(up)
      const error = yield* Effect.flip(call(up))
      assert.deepInclude(error, { _tag: "UpstreamBodyTruncated", text: "ab" })
      assert.strictEqual(up.sockets.length, 1)
    })))

  it.effect("B238 what nobody waits for is not sent again", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({ onRequest: (socket, _head, n) => void (n === 0 && socket.write(ok)) })
      yield* call(up)
      const fiber = yield* start(up, "/gone")
      yield* asked(up, 0, "/gone")
      // Both in one turn: the connection dies, and the client leaves before that is heard.
      up.sockets[0]?.resetAndDestroy()
      yield* Fiber.interrupt(fiber)
      yield* up.closed(1)
      yield* settle
      assert.strictEqual(up.sockets.length, 1)
    })))
})
