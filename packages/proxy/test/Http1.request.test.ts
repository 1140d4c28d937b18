import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { PassThrough, Readable } from "node:stream"
import * as Body from "../src/Body.ts"
import * as ProxyError from "../src/ProxyError.ts"
import type * as Transport from "../src/Transport.ts"
import * as Http1 from "../src/transport/Http1.ts"
import { answering, call, collect, exchange, upstream } from "./utils/upstream.ts"

const run = <A, E>(effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>) =>
  Effect.provide(effect, Http1.layer())

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

/** Answers once the predicate holds of everything that has come on the connection. */
const answeringOnce = (predicate: (text: string) => boolean, response = ok) => {
  const texts: Array<string> = []
  return upstream({
    onConnection: (socket, n) => {
      texts[n] = ""
      socket.on("data", (data: Buffer) => {
        const before = predicate(texts[n] ?? "")
        texts[n] += data.toString("latin1")
        if (!before && predicate(texts[n] ?? "")) socket.write(response)
      })
    }
  })
}

const bodyOf = (text: string) => text.slice(text.indexOf("\r\n\r\n") + 4)
const headOf = (text: string) => text.slice(0, text.indexOf("\r\n\r\n") + 4)

describe("Http1 requests", () => {
  it.effect("the head is written byte for byte, framing and connection fields are the transport's own", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      yield* call(up, {
        method: "pAtch-X",
        target: "/a%2Fb//..?x=%zz&y=\xe9",
        fields: [
          "x-lower",
          "1",
          "Host",
          "shop.test:8080",
          "X-Latin",
          "\xff\xe9",
          "X-Empty",
          "",
          "Connection",
          "close",
          "Content-Length",
          "99",
          "transfer-encoding",
          "gzip",
          "Keep-Alive",
          "timeout=5",
          "Upgrade",
          "h2c",
          "Proxy-Connection",
          "x"
        ]
      })
      assert.strictEqual(
        up.received[0],
        "pAtch-X /a%2Fb//..?x=%zz&y=\xe9 HTTP/1.1\r\nx-lower: 1\r\nHost: shop.test:8080\r\nX-Latin: \xff\xe9\r\nX-Empty: \r\n\r\n"
      )
    })))

  it.effect("Host is added when it is missing, TE is nominated", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      yield* call(up, { fields: ["TE", "trailers"] })
      const host = `Host: 127.0.0.1:${up.endpoint.port}\r\n`
      assert.strictEqual(up.received[0], `GET / HTTP/1.1\r\nTE: trailers\r\n${host}Connection: TE\r\n\r\n`)
    })))

  const refused: ReadonlyArray<
    readonly [string, Partial<Transport.OutgoingRequest>, ProxyError.UpstreamRequestInvalid["reason"]]
  > = [
    ["CR LF in a value", { fields: ["X", "a\r\nEvil: 1"] }, "FieldValue"],
    ["LF in a value", { fields: ["X", "a\nb"] }, "FieldValue"],
    ["CR in a value", { fields: ["X", "a\rb"] }, "FieldValue"],
    ["NUL in a value", { fields: ["X", "a\0"] }, "FieldValue"],
    ["a value beyond Latin-1", { fields: ["X", "\u0141"] }, "FieldValue"],
    ["a line break in a name", { fields: ["X\r\nY", "a"] }, "FieldName"],
    ["a space in a name", { fields: ["X Y", "a"] }, "FieldName"],
    ["an empty name", { fields: ["", "a"] }, "FieldName"],
    ["a space in the target", { target: "/ HTTP/1.1\r\nX: y" }, "Target"],
    ["an empty target", { target: "" }, "Target"],
    ["a space in the method", { method: "GET /" }, "Method"],
    ["CONNECT", { method: "CONNECT" }, "Method"],
    ["a line break in Upgrade", { upgrade: "a\r\nb" }, "Upgrade"]
  ]
  for (const [name, overrides, reason] of refused) {
    it.effect(`B25 ${name} is refused before anything is sent`, () =>
      run(Effect.gen(function*() {
        const up = yield* answering(ok)
        assert.deepInclude(yield* Effect.flip(call(up, overrides)), { _tag: "UpstreamRequestInvalid", reason })
        assert.strictEqual(up.sockets.length, 0)
      })))
  }

  for (const method of ["GET", "HEAD", "DELETE", "OPTIONS", "POST"]) {
    it.effect(`B76 ${method} without a body has no framing field`, () =>
      run(Effect.gen(function*() {
        const up = yield* answering(ok)
        yield* call(up, { method })
        assert.strictEqual(up.received[0], `${method} / HTTP/1.1\r\nHost: shop.test\r\n\r\n`)
      })))
  }

  it.effect("B77 Content-Length: 0 stays", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(ok)
      yield* call(up, { method: "POST", body: Body.zeroLength })
      assert.match(up.received[0] ?? "", /\r\nContent-Length: 0\r\n\r\n$/)
    })))

  for (const method of ["POST", "GET", "DELETE"]) {
    it.effect(`B73 B78 ${method} with Content-Length arrives byte for byte with the same length`, () =>
      run(Effect.gen(function*() {
        const bytes = Buffer.from("\x00\xff\r\n\r\nabc", "latin1")
        const up = yield* answeringOnce((text) => text.endsWith("abc"))
        yield* call(up, {
          method,
          body: Body.oneShot(Readable.from([bytes.subarray(0, 2), bytes.subarray(2)]), bytes.length)
        })
        yield* call(up, { method, body: Body.replayable(bytes) }).pipe(Effect.forkChild)
        yield* up.until(0, (text) => text.split("abc").length === 3)
        const head = `${method} / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 9\r\n\r\n`
        const once = head + bytes.toString("latin1")
        assert.strictEqual(up.received[0], once + once)
      })))
  }

  it.effect("B74 chunked 1 MiB arrives intact and chunked", () =>
    run(Effect.gen(function*() {
      const piece = Buffer.alloc(65_536, "0123456789abcdef")
      const up = yield* answeringOnce((text) => text.endsWith("\r\n0\r\n\r\n"))
      yield* call(up, { method: "POST", body: Body.oneShot(Readable.from(Array.from({ length: 16 }, () => piece))) })
      const text = up.received[0] ?? ""
      assert.match(headOf(text), /\r\nTransfer-Encoding: chunked\r\n\r\n$/)
      assert.strictEqual(bodyOf(text), `10000\r\n${piece.toString("latin1")}\r\n`.repeat(16) + "0\r\n\r\n")
    })))

  for (const method of ["DELETE", "OPTIONS", "GET"]) {
    it.effect(`B79 B80 B81 chunked ${method} is framed like any other`, () =>
      run(Effect.gen(function*() {
        const up = yield* answeringOnce((text) => text.endsWith("0\r\n\r\n"))
        yield* call(up, { method, body: Body.oneShot(Readable.from([Buffer.from("ab"), Buffer.from(""), "\u00e9"])) })
        assert.strictEqual(
          up.received[0],
          `${method} / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\n\xc3\xa9\r\n0\r\n\r\n`
        )
      })))
  }

  it.effect("B75 the first bytes of a body arrive before its end is there", () =>
    run(Effect.gen(function*() {
      const up = yield* answeringOnce((text) => text.endsWith("end"))
      const stream = new PassThrough()
      const fiber = yield* Effect.forkChild(call(up, { method: "POST", body: Body.oneShot(stream, 8) }))
      stream.write("first")
      yield* up.until(0, (text) => text.endsWith("first"))
      stream.end("end")
      assert.strictEqual((yield* Fiber.join(fiber)).status, 200)
      yield* call(up, { body: Body.replayable(Buffer.from("end")) }).pipe(Effect.forkChild)
      yield* up.until(0, (text) => text.endsWith("\r\n\r\nend"))
      assert.strictEqual(up.sockets.length, 1)
    })))

  it.effect("B83 B84 a body shorter or longer than promised fails, and is never completed", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({})
      const short = yield* Effect.flip(
        call(up, { method: "POST", body: Body.oneShot(Readable.from([Buffer.from("abc")]), 5) })
      )
      assert.deepInclude(short, { _tag: "RequestBodyLengthMismatch", expected: 5, actual: 3 })
      yield* up.closed(1)
      const long = yield* Effect.flip(
        call(up, { method: "POST", body: Body.oneShot(Readable.from([Buffer.from("abc"), Buffer.from("def")]), 5) })
      )
      assert.deepInclude(long, { _tag: "RequestBodyLengthMismatch", expected: 5, actual: 6 })
      yield* up.closed(2)
      assert.isTrue(up.received.every((text) => bodyOf(text).length < 5))
    })))

  it.effect("B155 a client that leaves mid-upload: the upstream never sees a complete request", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({})
      const stream = new PassThrough()
      const fiber = yield* Effect.forkChild(Effect.flip(call(up, { method: "POST", body: Body.oneShot(stream) })))
      stream.write("abc")
      yield* up.until(0, (text) => text.endsWith("3\r\nabc\r\n"))
      stream.destroy()
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "RequestBodyMalformed")
      yield* up.closed(1)
      assert.notInclude(up.received[0], "\r\n0\r\n")
    })))

  it.effect("an error that the body failed with keeps its tag; a body that is gone already is an error as well", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({})
      const limited = new PassThrough()
      const fiber = yield* Effect.forkChild(Effect.flip(call(up, { method: "POST", body: Body.oneShot(limited) })))
      limited.write("abc")
      yield* up.until(0, (text) => text.endsWith("abc\r\n"))
      limited.destroy(new ProxyError.RequestBodyTooLarge({ limit: 3 }))
      assert.deepInclude(yield* Fiber.join(fiber), { _tag: "RequestBodyTooLarge", limit: 3 })
      const gone = new PassThrough()
      gone.destroy(new Error("gone"))
      assert.strictEqual(
        (yield* Effect.flip(call(up, { method: "POST", body: Body.oneShot(gone) })))._tag,
        "RequestBodyMalformed"
      )
    })))

  it.effect("B228 an upstream that does not read stalls the upload", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({ onConnection: (socket) => socket.pause() })
      const piece = Buffer.alloc(65_536)
      let taken = 0
      let stalled = () => {}
      const stream = new Readable({
        read() {
          taken += piece.length
          this.push(taken > 256 * 1024 * 1024 ? null : piece)
          stalled()
        }
      })
      const fiber = yield* Effect.forkChild(call(up, { method: "POST", body: Body.oneShot(stream) }))
      let seen = -1
      // Until ten turns of the event loop have taken nothing more.
      for (let quiet = 0; quiet < 50; quiet = seen === taken ? quiet + 1 : 0) {
        seen = taken
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      assert.isBelow(taken, 32 * 1024 * 1024)
      assert.isAbove(taken, 0)
      yield* Fiber.interrupt(fiber)
      stalled = () => assert.fail("read after the end")
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    })))

  it.effect("B161 an early final response while uploading is delivered at once; the connection is not used again", () =>
    run(Effect.gen(function*() {
      const up = yield* answeringOnce(
        (text) => text.includes("abc"),
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
      )
      const stream = new PassThrough()
      stream.write("abc")
      const { status, text } = yield* call(up, { method: "POST", body: Body.oneShot(stream) })
      assert.deepStrictEqual([status, text], [413, "no"])
      yield* up.closed(1)
      stream.write("more")
      stream.destroy(new Error("nobody hears this"))
    })))

  it.effect("B162 an early 200 streams while the upload goes on", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({
        onConnection: (socket) => {
          let started = false
          socket.on("data", (data: Buffer) => {
            if (!started) socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            started = true
            const last = data.includes("0\r\n\r\n")
            socket.write(last ? "4\r\ndone\r\n0\r\n\r\n" : "4\r\necho\r\n")
            if (last) started = false
          })
        }
      })
      const stream = new PassThrough()
      const response = yield* exchange(up, { method: "POST", body: Body.oneShot(stream) })
      const fiber = yield* Effect.forkChild(collect(response))
      stream.write("more")
      yield* up.until(0, (text) => text.includes("more"))
      stream.end()
      const { text } = yield* Fiber.join(fiber)
      assert.match(text, /^(echo)+done$/)
      yield* call(up, { method: "POST", body: Body.oneShot(Readable.from([Buffer.from("x")])) })
      assert.strictEqual(up.sockets.length, 1)
    })))

  it.effect("B160 RST while uploading", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({ onRequest: (socket) => socket.resetAndDestroy() })
      const stream = new PassThrough()
      const error = yield* Effect.flip(call(up, { method: "POST", body: Body.oneShot(stream) }))
      assert.strictEqual(error._tag, "UpstreamWriteError")
      assert.strictEqual(stream.listenerCount("data"), 0)
    })))
})
