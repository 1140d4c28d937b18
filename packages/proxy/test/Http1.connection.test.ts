import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import type { Duplex } from "node:stream"
import { PassThrough, Readable } from "node:stream"
import * as Body from "../src/Body.ts"
import { BufferPool, releaser } from "../src/internal/http1/bufferPool.ts"
import type * as Transport from "../src/Transport.ts"
import * as Http1 from "../src/transport/Http1.ts"
import { other, shop } from "./utils/certificates.ts"
import { answering, call, collect, exchange, recorder, settle, type Upstream, upstream } from "./utils/upstream.ts"

const run = <A, E>(effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>, options?: Http1.Options) =>
  Effect.provide(effect, Http1.layer(options))

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
const noContent = "HTTP/1.1 204 No Content\r\n\r\n"

/** A stream whose bytes come some turns of the event loop later. */
const later = (text: string) => {
  const stream = new PassThrough()
  Effect.runFork(Effect.andThen(settle, Effect.sync(() => stream.end(text))))
  return stream
}

const closedBy = (up: Upstream, n: number) => up.closed(n)

describe("Http1 connections", () => {
  it.effect("B14 B246 the pool key is the endpoint's value, not its object", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      yield* call({ ...up.endpoint })
      yield* call({ ...up.endpoint })
      assert.strictEqual(up.sockets.length, 1)
    })))

  it.effect("concurrent exchanges have a connection each, and at most maxIdlePerEndpoint are kept", () =>
    run(
      Effect.gen(function*() {
        const up = yield* answering(ok)
        yield* Effect.all(Array.from({ length: 5 }, () => call(up)), { concurrency: "unbounded" })
        assert.strictEqual(up.sockets.length, 5)
        yield* closedBy(up, 3)
        yield* Effect.all([call(up), call(up)], { concurrency: "unbounded" })
        assert.strictEqual(up.sockets.length, 5)
      }),
      { maxIdlePerEndpoint: 2 }
    ))

  it.effect("leak: closing the layer's scope closes idle connections and those in use", () =>
    Effect.gen(function*() {
      const up = yield* upstream({
        onRequest: (socket, head) => socket.write(head.startsWith("GET /part") ? "HTTP/1.1 200 OK\r\n\r\npart" : ok)
      })
      const failed = yield* run(Effect.gen(function*() {
        yield* Effect.all([call(up), call(up), call(up)], { concurrency: "unbounded" })
        const { consumer, log } = recorder()
        const response = yield* exchange(up, { target: "/part" })
        response.body.consume(consumer)
        return log
      }))
      yield* up.closed(up.sockets.length)
      yield* settle
      assert.deepStrictEqual(failed.slice(0, 1), ["part"])
    }))

  it.effect("B247 B250 idle connections go after the idle timeout, on the layer's clock", () =>
    run(
      Effect.gen(function*() {
        const up = yield* answering(ok)
        yield* call(up)
        yield* TestClock.adjust("9 seconds")
        yield* call(up)
        assert.strictEqual(up.sockets.length, 1)
        yield* TestClock.adjust("11 seconds")
        yield* up.closed(1)
        yield* call(up)
        assert.strictEqual(up.sockets.length, 2)
      }),
      { idleTimeout: "10 seconds" }
    ))

  it.effect("B250 Keep-Alive: timeout, less a second, is sooner", () =>
    run(Effect.gen(function*() {
      const up = yield* answering("HTTP/1.1 200 OK\r\nKeep-Alive: max=5, timeout=5\r\nContent-Length: 0\r\n\r\n")
      yield* call(up)
      yield* TestClock.adjust("3900 millis")
      yield* call(up)
      assert.strictEqual(up.sockets.length, 1)
      yield* TestClock.adjust("4 seconds")
      yield* up.closed(1)
    })))

  it.effect("an idle connection that the upstream closes, or that says something unasked, is not used again", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      yield* call(up)
      up.sockets[0]?.end()
      yield* up.closed(1)
      yield* settle
      yield* call(up)
      assert.strictEqual(up.sockets.length, 2)
      up.sockets[1]?.write("HTTP/1.1 408 Request Timeout\r\n\r\n")
      yield* up.closed(2)
      yield* call(up)
      assert.strictEqual(up.sockets.length, 3)
    })))

  /** The first connection dies on its second request; others answer. */
  const stale = (die: "end" | "reset") =>
    upstream({
      onRequest: (socket, _head, n, connection) => {
        if (connection > 0 || n === 0) socket.write(ok)
        else if (die === "end") socket.end()
        else socket.resetAndDestroy()
      }
    })

  for (const die of ["end", "reset"] as const) {
    for (
      const [name, overrides] of [
        ["GET", {}],
        ["HEAD", { method: "HEAD" }],
        ["OPTIONS", { method: "OPTIONS" }],
        ["PUT without a body", { method: "PUT", body: Body.zeroLength }],
        ["PUT with a body in memory", { method: "PUT", body: Body.replayable(Buffer.from("abc")) }]
      ] as const
    ) {
      it.effect(`B234 a reused connection that dies (${die}): ${name} is sent again once, on a fresh one`, () =>
        run(Effect.gen(function*() {
          const up = yield* stale(die)
          yield* call(up)
          const { status } = yield* call(up, overrides)
          assert.strictEqual(status, 200)
          assert.strictEqual(up.sockets.length, 2)
        })))
    }

    it.effect(`B235 a reused connection that dies (${die}): POST is not sent again`, () =>
      run(Effect.gen(function*() {
        const up = yield* stale(die)
        yield* call(up)
        const error = yield* Effect.flip(call(up, { method: "POST", body: Body.replayable(Buffer.from("abc")) }))
        assert.deepInclude(error, { _tag: "UpstreamClosedBeforeResponse", reused: true, healthStrike: false })
        assert.strictEqual(up.sockets.length, 1)
      })))
  }

  for (
    const [name, body] of [
      ["in memory", () => Body.replayable(Buffer.from("abc"))],
      ["that has not begun to flow", () => Body.oneShot(later("abc"), 3)]
    ] as const
  ) {
    it.effect(`B234 a POST with a body ${name} of which nothing could be sent is sent on a fresh connection`, () =>
      run(Effect.gen(function*() {
        const up = yield* upstream({ onRequest: (socket) => socket.write(ok) })
        yield* call(up)
        yield* settle
        // In this very turn: the connection is dead in the system and still idle in the pool.
        up.sockets[0]?.resetAndDestroy()
        const { status } = yield* call(up, { method: "POST", body: body() })
        assert.strictEqual(status, 200)
        yield* up.until(1, (text) => text.startsWith("POST / HTTP/1.1\r\n"))
        assert.strictEqual(up.received[0], "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
      })))
  }

  it("a read buffer goes back once, when its last holder lets go, and no more are kept than the bound", () => {
    const pool = new BufferPool(10, 1)
    const lease = pool.take()
    const first = releaser(lease)
    const second = releaser(lease)
    lease.release()
    first()
    first()
    assert.notStrictEqual(pool.take().buffer, lease.buffer)
    second()
    const spare = pool.take()
    assert.strictEqual(spare.buffer, lease.buffer)
    const another = pool.take()
    another.release()
    spare.release()
    assert.strictEqual(pool.take().buffer, another.buffer)
    assert.notStrictEqual(pool.take().buffer, spare.buffer)
  })

  it.effect("B235 a body that has begun to flow is not sent again, whatever the method", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({
        onConnection: (socket, n) => {
          let requests = 0
          socket.on("data", (data: Buffer) => {
            if (data.includes("GET")) requests += 1
            if (requests === 1 && n === 0 && !data.includes("PUT")) socket.write(ok)
            if (data.includes("xyz")) socket.resetAndDestroy()
          })
        }
      })
      yield* call(up)
      const stream = new PassThrough()
      stream.write("xyz")
      const error = yield* Effect.flip(call(up, { method: "PUT", body: Body.oneShot(stream) }))
      assert.strictEqual(error._tag, "UpstreamWriteError")
      assert.strictEqual(up.sockets.length, 1)
    })))

  it.effect("a fresh connection that dies is an error, also when it is the second try", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({
        onRequest: (socket, _head, n, connection) => connection === 0 && n === 0 ? socket.write(ok) : socket.end()
      })
      yield* call(up)
      const error = yield* Effect.flip(call(up))
      assert.deepInclude(error, { _tag: "UpstreamClosedBeforeResponse", reused: false })
      assert.strictEqual(up.sockets.length, 2)
    })))

  it.effect("a reused connection that dies after a response byte is not tried again", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({
        onRequest: (socket, _head, n) => n === 0 ? socket.write(ok) : socket.end("HTTP/1.1 2")
      })
      yield* call(up)
      assert.deepInclude(yield* Effect.flip(call(up)), { _tag: "UpstreamResponseInvalid", reason: "Incomplete" })
      assert.strictEqual(up.sockets.length, 1)
    })))

  it.effect("B164 connection refused", () =>
    run(Effect.gen(function*() {
      const endpoint = yield* Effect.scoped(Effect.map(answering(ok), (up) => up.endpoint))
      const error = yield* Effect.flip(call(endpoint))
      assert.deepInclude(error, { _tag: "UpstreamConnectError", code: "ECONNREFUSED", bytesSent: 0 })
      assert.strictEqual((yield* Effect.flip(call({ ...endpoint, port: 70_000 })))._tag, "UpstreamConnectError")
    })))

  // -- Aborts ---------------------------------------------------------------------------------------------------------

  it.effect("B153 interruption before the head closes the connection at once", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({})
      const fiber = yield* Effect.forkChild(call(up))
      yield* up.until(0, (text) => text.endsWith("\r\n\r\n"))
      yield* Fiber.interrupt(fiber)
      yield* up.closed(1)
    })))

  it.effect("interruption while connecting", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      const fiber = yield* Effect.forkChild(call(up), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      yield* settle
      assert.isTrue(up.received.every((text) => text === ""))
    })))

  it.effect("B154 closing the scope mid-body closes the connection, and no callback follows", () =>
    run(Effect.gen(function*() {
      const up = yield* answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
      const scope = yield* Scope.make()
      const response = yield* Scope.provide(exchange(up), scope)
      const { consumer, log } = recorder()
      response.body.consume(consumer)
      yield* Scope.close(scope, Exit.void)
      up.sockets[0]?.write("defghij")
      yield* up.closed(1)
      yield* settle
      assert.deepStrictEqual(log, ["abc"])
    })))

  it.effect("B154 closing the scope before the head interrupts who waits for it, in another fiber too", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({})
      const scope = yield* Scope.make()
      const fiber = yield* Effect.forkChild(Scope.provide(exchange(up), scope), { startImmediately: true })
      yield* up.until(0, (text) => text.endsWith("\r\n\r\n"))
      yield* Scope.close(scope, Exit.void)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.hasInterrupts(exit))
      yield* up.closed(1)
    })))

  it.effect("B154 in a scope that is closed nothing is sent", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      const exit = yield* Effect.exit(Scope.provide(exchange(up), scope))
      assert.isTrue(Exit.hasInterrupts(exit))
      assert.strictEqual(up.sockets.length, 0)
    })))

  it.effect("cancel gives a body up", () =>
    run(Effect.gen(function*() {
      const up = yield* answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
      const { consumer, log } = recorder()
      const control = (yield* exchange(up)).body.consume(consumer)
      control.cancel()
      control.cancel()
      control.resume()
      yield* up.closed(1)
      yield* settle
      assert.deepStrictEqual(log, ["abc"])
    })))

  it.effect("B156 a scope that closes after the end does nothing: the connection stays", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok, "")
      for (let i = 0; i < 3; i++) {
        yield* call(up)
        yield* settle
      }
      assert.strictEqual(up.sockets.length, 1)
    })))

  // -- Flow -----------------------------------------------------------------------------------------------------------

  it.effect("a body that is consumed later is whole, and so is one that nobody consumes", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      const response = yield* exchange(up)
      yield* settle
      assert.strictEqual((yield* collect(response)).text, "abc")
      assert.throws(() => response.body.consume(recorder().consumer))
      yield* Effect.scoped(exchange(up))
      yield* up.closed(1)
      yield* call(up)
      assert.strictEqual(up.sockets.length, 2)
    })))

  it.effect("the end of the connection comes after what was held", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({
        onRequest: (socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
      })
      const response = yield* exchange(up)
      yield* settle
      const error = yield* Effect.flip(collect(response))
      assert.deepInclude(error, { _tag: "UpstreamBodyTruncated", text: "abc", expected: 9, received: 3 })
    })))

  for (
    const [name, head, frame] of [
      ["sized", `HTTP/1.1 200 OK\r\nContent-Length: ${512 * 65_536}\r\n\r\n`, (piece: string) => piece],
      ["chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (piece: string) => `10000\r\n${piece}\r\n`]
    ] as const
  ) {
    it.effect(`B227 a consumer that waits stalls a ${name} upstream, and gets everything in the end`, () =>
      run(Effect.gen(function*() {
        const piece = "0123456789abcdef".repeat(4096)
        // More than the system's own buffers ever take.
        const pieces = 512
        let written = 0
        const up = yield* upstream({
          onRequest: (socket) => {
            socket.write(head)
            Readable.from((function*() {
              for (let i = 0; i < pieces; i++) {
                written += 1
                yield Buffer.from(frame(piece), "latin1")
              }
              if (name === "chunked") yield Buffer.from("0\r\n\r\n")
            })()).pipe(socket, { end: false })
          }
        })
        const done = yield* Deferred.make<void>()
        const chunks: Array<string> = []
        const response = yield* exchange(up)
        let refuse = true
        const control = response.body.consume({
          onData: (chunk, release) => {
            chunks.push(Buffer.from(chunk).toString("latin1"))
            release()
            return !refuse
          },
          onEnd: () => Deferred.doneUnsafe(done, Exit.void),
          onError: (error) => Deferred.doneUnsafe(done, Exit.die(error))
        })
        yield* settle
        const before = chunks.length
        assert.isAtMost(before, 1)
        yield* settle
        assert.strictEqual(chunks.length, before)
        assert.isBelow(written, pieces)
        // One at a time for a while, then without a stop.
        for (let i = 0; i < 10; i++) {
          control.resume()
          yield* settle
        }
        refuse = false
        control.resume()
        yield* Deferred.await(done)
        assert.isTrue(chunks.join("") === piece.repeat(pieces))
        yield* call(up).pipe(Effect.timeout("1 second"), Effect.forkChild)
        yield* up.until(0, (text) => text.split("GET").length === 3)
        assert.strictEqual(up.sockets.length, 1)
      })))
  }

  it.effect("chunks that are held on to are not written over", () =>
    run(
      Effect.gen(function*() {
        const body = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251))
        const up = yield* upstream({
          onRequest: (socket) => {
            socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`)
            socket.write(body)
          }
        })
        for (let round = 0; round < 3; round++) {
          const held: Array<readonly [Uint8Array, () => void]> = []
          const response = yield* exchange(up)
          yield* Effect.callback<void>((resume) => {
            response.body.consume({
              onData: (chunk, release) => {
                held.push([chunk, release])
                return true
              },
              onEnd: () => resume(Effect.void),
              onError: (error) => resume(Effect.die(error))
            })
          })
          assert.isTrue(Buffer.concat(held.map(([chunk]) => chunk)).equals(body))
          for (const [, release] of held) {
            release()
            release()
          }
        }
        assert.strictEqual(up.sockets.length, 1)
      }),
      { readBufferBytes: 1000, bufferPoolBytes: 10_000 }
    ))

  it.effect("the fast path: the fiber resumes, and the first chunk arrives, within the read that brought them", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      yield* call(up)
      let turn = 0
      const ticking = { on: true }
      const tick = () => {
        turn += 1
        if (ticking.on) setImmediate(tick)
      }
      tick()
      const turns: Array<number> = []
      const response = yield* exchange(up, { onInformational: () => {} })
      turns.push(turn)
      response.body.consume({
        onData: (_chunk, release) => {
          turns.push(turn)
          release()
          return true
        },
        onEnd: () => turns.push(turn),
        onError: () => {}
      })
      turns.push(turn)
      ticking.on = false
      assert.strictEqual(turns.length, 4)
      assert.strictEqual(new Set(turns).size, 1)
    })))

  // -- Upgrade --------------------------------------------------------------------------------------------------------

  const reading = (duplex: Duplex, length: number) =>
    Effect.callback<string>((resume) => {
      let text = ""
      duplex.on("data", (data: Buffer) => {
        text += data.toString("latin1")
        if (text.length >= length) resume(Effect.succeed(text))
      })
      duplex.resume()
    })

  it.effect("B202 B204 B208 a 101 to the protocol asked for hands the connection over, with the bytes glued to it", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({
        onRequest: (socket) => {
          socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nglued")
          socket.on("data", (data) => socket.write(`<${data.toString()}>`))
        }
      })
      const scope = yield* Scope.make()
      const response = yield* Scope.provide(exchange(up, { upgrade: "websocket" }), scope)
      assert.match(up.received[0] ?? "", /\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n$/)
      assert.strictEqual(response.status, 101)
      assert.strictEqual((yield* collect(response)).text, "")
      const { tunnel } = response
      if (tunnel === undefined) return assert.fail("no tunnel")
      yield* settle
      tunnel.write("ping")
      const text = yield* reading(tunnel, 11)
      assert.strictEqual(text, "glued<ping>")
      yield* Scope.close(scope, Exit.void)
      yield* up.closed(1)
      assert.isTrue(tunnel.destroyed)
    })))

  for (const upgrade of ["Upgrade: other\r\n", "", "Upgrade: websocketx\r\n"]) {
    it.effect(`B206 a 101 with ${upgrade.trim() || "no Upgrade"} is invalid`, () =>
      run(Effect.gen(function*() {
        const up = yield* answering(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n${upgrade}\r\n`)
        assert.deepInclude(yield* Effect.flip(call(up, { upgrade: "websocket" })), {
          _tag: "UpstreamResponseInvalid",
          reason: "ProtocolSwitch"
        })
        yield* up.closed(1)
      })))
  }

  it.effect("B205 a refused upgrade is an ordinary response, and its connection may be used again", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      const { response, text } = yield* call(up, { upgrade: "websocket" })
      assert.deepStrictEqual([text, response.tunnel], ["abc", undefined])
      assert.strictEqual((yield* call(up)).text, "abc")
      assert.strictEqual(up.sockets.length, 1)
    })))

  it.effect("B215 an upstream that dies before the 101", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({ onRequest: (socket) => socket.resetAndDestroy() })
      const error = yield* Effect.flip(call(up, { upgrade: "websocket" }))
      assert.strictEqual(error._tag, "UpstreamClosedBeforeResponse")
    })))

  // -- TLS ------------------------------------------------------------------------------------------------------------

  it.effect("B166 certificates are verified by default; why one was refused is typed", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({ tls: shop, onRequest: (socket) => socket.write(ok) })
      assert.deepInclude(yield* Effect.flip(call(up)), { _tag: "UpstreamTlsError", reason: "SelfSigned" })
      const wrong = { ...up.endpoint, tls: { ca: shop.cert, servername: "other.test" } }
      assert.deepInclude(yield* Effect.flip(call(wrong)), { _tag: "UpstreamTlsError", reason: "AltName" })
      const plain = yield* upstream({ onConnection: (socket) => socket.write(ok) })
      const error = yield* Effect.flip(call({ ...plain.endpoint, protocol: "https:" }))
      assert.deepInclude(error, { _tag: "UpstreamTlsError", reason: "Handshake" })
    })))

  it.effect("B248 bodies over TLS, and TLS settings are part of the pool key", () =>
    run(Effect.gen(function*() {
      const body = "0123456789".repeat(100_000)
      const up = yield* upstream({
        tls: shop,
        onRequest: (socket) => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
      })
      const trusting = { ca: shop.cert }
      const first = { ...up.endpoint, tls: trusting }
      assert.isTrue((yield* call(first)).text === body)
      assert.isTrue((yield* call({ ...first })).text === body)
      assert.strictEqual(up.sockets.length, 1)
      yield* call({ ...up.endpoint, tls: { ca: shop.cert } })
      assert.strictEqual(up.sockets.length, 2)
      const error = yield* Effect.flip(call({ ...up.endpoint, tls: { ca: other.cert } }))
      assert.strictEqual(error._tag, "UpstreamTlsError")
    })))

  it.effect("options that make no sense are refused when they are given", () =>
    Effect.sync(() => {
      assert.throws(() => Http1.layer({ maxHeadBytes: 0 }), RangeError)
      assert.throws(() => Http1.layer({ maxFields: 1.5 }), RangeError)
      assert.throws(() => Http1.layer({ maxIdlePerEndpoint: -1 }), RangeError)
    }))

  it.effect("informational responses before an empty final one, on one connection many times", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(`HTTP/1.1 103 Early Hints\r\n\r\n${noContent}`)
      for (let i = 0; i < 20; i++) assert.strictEqual((yield* call(up)).status, 204)
      assert.strictEqual(up.sockets.length, 1)
    })))
})
