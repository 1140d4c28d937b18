import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { PassThrough, Readable } from "node:stream"
import * as Body from "../src/Body.ts"
import type * as Transport from "../src/Transport.ts"
import * as Http1 from "../src/transport/Http1.ts"
import { shop } from "./utils/certificates.ts"
import { canHang, deafPort } from "./utils/deaf.ts"
import { answering, call, exchange, recorder, settle, upstream } from "./utils/upstream.ts"

const run = <A, E>(effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>, options?: Http1.Options) =>
  Effect.provide(effect, Http1.layer(options))

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"

/** Nothing has come of it a second before its clock runs out, and then it fails. */
const failsAfter = Effect.fnUntraced(function*<E, F>(fiber: Fiber.Fiber<E, F>, seconds: number) {
  yield* TestClock.adjust((seconds - 1) * 1000)
  yield* settle
  assert.isUndefined(fiber.pollUnsafe())
  yield* TestClock.adjust("1 second")
  return yield* Fiber.join(fiber)
})

const failure = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.forkChild(Effect.flip(effect), { startImmediately: true })

/** An upload that never ends. */
const endless = () => {
  const piece = Buffer.alloc(1024 * 1024)
  return new Readable({
    read() {
      this.push(piece)
    }
  })
}

describe("Http1 clocks", () => {
  it.effect("the resolve clock", () =>
    run(Effect.gen(function*() {
      const asked = yield* Deferred.make<string>()
      const lookup = (hostname: string) => Deferred.doneUnsafe(asked, Effect.succeed(hostname))
      const endpoint = { protocol: "https:", hostname: "shop.test", port: 443, tls: { lookup } } as const
      const fiber = yield* failure(call(endpoint, { clocks: { resolve: "7 seconds", connect: 1, tls: 1 } }))
      assert.strictEqual(yield* Deferred.await(asked), "shop.test")
      const error = yield* failsAfter(fiber, 7)
      assert.deepInclude(error, {
        _tag: "UpstreamResolveTimeout",
        status: 504,
        proxyStatus: "dns_timeout",
        bytesSent: 0
      })
    })))

  it.effect.skipIf(!canHang)("B168 the connect clock, where nobody answers", () =>
    run(Effect.gen(function*() {
      const port = yield* deafPort
      const endpoint = { protocol: "http:", hostname: "127.0.0.1", port } as const
      const fiber = yield* failure(call(endpoint, { clocks: { connect: "6 seconds", resolve: 1, tls: 1 } }))
      const error = yield* failsAfter(fiber, 6)
      assert.deepInclude(error, { _tag: "UpstreamConnectTimeout", status: 504, bytesSent: 0 })
    })))

  it.effect("B169 the TLS clock, where nobody shakes hands", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({})
      const endpoint = { ...up.endpoint, protocol: "https:" } as const
      const fiber = yield* failure(call(endpoint, { clocks: { tls: "8 seconds", resolve: 1 } }))
      yield* up.until(0, (text) => text !== "")
      const error = yield* failsAfter(fiber, 8)
      assert.deepInclude(error, { _tag: "UpstreamTlsTimeout", status: 504, bytesSent: 0 })
      yield* up.closed(1)
    })))

  it.effect("each phase of connecting has the whole of its clock, and none is left over", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({ tls: shop, onRequest: (socket) => socket.write(ok) })
      const found = yield* Deferred.make<() => void>()
      const tls: Transport.Endpoint["tls"] = {
        ca: shop.cert,
        servername: "shop.test",
        lookup: (_hostname, _options, callback) =>
          Deferred.doneUnsafe(
            found,
            Effect.succeed(() => callback(null, [{ address: "127.0.0.1", family: 4 }]))
          )
      }
      const endpoint = { ...up.endpoint, hostname: "shop.test", tls }
      const fiber = yield* Effect.forkChild(call(endpoint, { clocks: {} }), { startImmediately: true })
      const find = yield* Deferred.await(found)
      yield* TestClock.adjust("4900 millis")
      find()
      yield* up.until(0, (text) => text.endsWith("\r\n\r\n"))
      assert.strictEqual((yield* Fiber.join(fiber)).text, "abc")
      yield* TestClock.adjust("1 hour")
    })))

  it.effect("B165 a name without an address", () =>
    run(Effect.gen(function*() {
      // A label this long never leaves the machine; it fails as any other name below .invalid does (RFC 6761, 6.4).
      const endpoint = { protocol: "http:", hostname: `${"x".repeat(64)}.invalid`, port: 80 } as const
      const error = yield* Effect.flip(call(endpoint))
      assert.deepInclude(error, { _tag: "UpstreamResolveError", status: 502, phase: "resolve", bytesSent: 0 })
    })))

  it.effect("B171 the response head clock", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({})
      const fiber = yield* Effect.forkChild(Effect.flip(call(up)))
      yield* up.until(0, (text) => text.endsWith("\r\n\r\n"))
      yield* TestClock.adjust("29 seconds")
      up.sockets[0]?.write("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n")
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "UpstreamHeadersTimeout")
      yield* up.closed(1)
    })))

  it.effect("B171 a slow upload does not count against the upstream", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({})
      const stream = new PassThrough()
      const fiber = yield* Effect.forkChild(Effect.flip(call(up, { method: "POST", body: Body.oneShot(stream, 6) })))
      stream.write("abc")
      yield* up.until(0, (text) => text.endsWith("abc"))
      yield* TestClock.adjust("5 minutes")
      assert.isUndefined(fiber.pollUnsafe())
      stream.end("def")
      yield* up.until(0, (text) => text.endsWith("abcdef"))
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "UpstreamHeadersTimeout")
    })))

  it.effect("B175 an upstream that does not read", () =>
    run(Effect.gen(function*() {
      const deaf = yield* upstream({ onConnection: (socket) => socket.pause() })
      const fiber = yield* failure(call(deaf, { method: "POST", body: Body.oneShot(endless()) }))
      yield* deaf.accepted(1)
      yield* settle
      yield* settle
      assert.deepInclude(yield* failsAfter(fiber, 20), { _tag: "UpstreamSendTimeout", status: 504 })
    })))

  it.effect("B172 the body idle clock; B173 a slow body that goes on survives it", () =>
    run(Effect.gen(function*() {
      const up = yield* answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\na")
      const response = yield* exchange(up)
      const { consumer, log } = recorder()
      response.body.consume(consumer)
      for (const byte of "bcde") {
        yield* TestClock.adjust("50 seconds")
        up.sockets[0]?.write(byte)
        yield* settle
      }
      assert.deepStrictEqual(log, ["a", "b", "c", "d", "e"])
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(log.length, 5)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(log.slice(5), ["UpstreamBodyTimeout"])
      yield* up.closed(1)
    })))

  it.effect("B172 while the consumer is waited for, the body idle clock stands still", () =>
    run(Effect.gen(function*() {
      const up = yield* answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\na")
      const { consumer, log } = recorder((text) => text !== "a")
      const control = (yield* exchange(up)).body.consume(consumer)
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(log, ["a"])
      control.resume()
      yield* TestClock.adjust("59 seconds")
      assert.deepStrictEqual(log, ["a"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(log, ["a", "UpstreamBodyTimeout"])
    })))

  it.effect("B182 clocks are stopped on success", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      const { consumer, log } = recorder()
      ;(yield* exchange(up)).body.consume(consumer)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(log, ["abc", "end 0"])
    })))

  it.effect("B175 a body in memory that the upstream does not take", () =>
    run(Effect.gen(function*() {
      const deaf = yield* upstream({ onConnection: (socket) => socket.pause() })
      const body = Body.replayable(Buffer.alloc(64 * 1024 * 1024))
      const fiber = yield* failure(call(deaf, { method: "PUT", body, clocks: { send: "9 seconds", responseHead: 1 } }))
      yield* deaf.accepted(1)
      yield* settle
      const error = yield* failsAfter(fiber, 9)
      assert.deepInclude(error, { _tag: "UpstreamSendTimeout", status: 504 })
    })))

  it.effect("B171 the response head clock begins when a body in memory has been taken", () =>
    run(Effect.gen(function*() {
      const taken = yield* Deferred.make<void>()
      const body = Body.replayable(Buffer.alloc(16 * 1024 * 1024))
      const up = yield* upstream({
        onConnection: (socket) => {
          let bytes = 0
          socket.removeAllListeners("data").on("data", (data: Buffer) => {
            bytes += data.length
            if (bytes > body.bytes.length) Deferred.doneUnsafe(taken, Effect.void)
          }).pause()
        }
      })
      const fiber = yield* failure(call(up, { method: "PUT", body }))
      yield* up.accepted(1)
      yield* TestClock.adjust("19 seconds")
      up.sockets[0]?.resume()
      yield* Deferred.await(taken)
      yield* settle
      const error = yield* failsAfter(fiber, 30)
      assert.deepInclude(error, { _tag: "UpstreamHeadersTimeout", status: 504 })
    })))
})
