import { assert, describe } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import type { RawConnection } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { answer, both, eventually, get, lines, proxied, roundTrip } from "./utils/proxied.ts"
import type { Path, Setup } from "./utils/proxied.ts"

const handshake = (...fields: ReadonlyArray<string>): string =>
  get("/chat", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", ...fields)

const switching = (...fields: ReadonlyArray<string>): string =>
  answer("101 Switching Protocols", ["Connection: Upgrade", "Upgrade: WebSocket", ...fields])

/** A tunnel that is open, and both its ends. */
const open = Effect.fnUntraced(function*(path: Path, setup: Setup = {}, early = "", glued = "") {
  const parts = yield* proxied(path, setup)
  yield* parts.client.send(handshake("Sec-WebSocket-Protocol: chat, b", "Sec-WebSocket-Extensions: x; y=1") + early)
  const end = yield* parts.origin
  const seen = yield* end.nextRequestHead
  yield* end.send(
    switching("Sec-WebSocket-Accept: abc", "X-Hop: 1", "Connection: X-Hop", "Keep-Alive: timeout=1") + glued
  )
  const got = yield* parts.client.responseHead
  return { ...parts, end, seen, got }
})

const echo = Effect.fnUntraced(
  function*(from: RawConnection.RawConnection, to: RawConnection.RawConnection, text: string) {
    yield* from.send(text)
    assert.strictEqual(yield* to.read(text), text)
  }
)

describe("Tunnel", () => {
  both("B202, B219 switches, and relays bytes both ways", (path) =>
    Effect.gen(function*() {
      const { app, client, end, got, seen } = yield* open(path)
      assert.deepStrictEqual(lines(seen, "connection"), ["Upgrade"])
      assert.deepStrictEqual(lines(seen, "upgrade"), ["websocket"])
      assert.strictEqual(seen.get("sec-websocket-protocol"), "chat, b")
      assert.strictEqual(seen.get("sec-websocket-extensions"), "x; y=1")
      assert.strictEqual(got.status, 101)
      assert.deepStrictEqual(lines(got, "connection"), ["Upgrade"])
      assert.deepStrictEqual(lines(got, "upgrade"), ["WebSocket"])
      assert.strictEqual(got.get("sec-websocket-accept"), "abc")
      assert.strictEqual(got.get("via"), "1.1 sluice")
      yield* echo(client, end, "\x81\x80ping")
      yield* echo(end, client, "\x81\x00pong")
      yield* client.end
      yield* end.ended
      yield* end.end
      yield* client.ended
      const ended = yield* app.exchange(0)
      assert.strictEqual(ended.status, 101)
      assert.deepStrictEqual(ended.outcome, { _tag: "Completed" })
    }))

  both("B19 hop-by-hop fields of a 101 are not relayed", (path) =>
    Effect.gen(function*() {
      const { got } = yield* open(path)
      assert.strictEqual(got.get("x-hop"), undefined)
      assert.strictEqual(got.get("keep-alive"), undefined)
    }))

  both("B202 head edits apply to a 101", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.head("mark", (head) => head.set("X-Status", String(head.status)))
      const { app, client, got } = yield* open(path, { stack })
      assert.strictEqual(got.get("x-status"), "101")
      yield* client.reset
      assert.include((yield* app.exchange(0)).responseFields, "X-Status")
    }))

  both("B203 bytes that came with the handshake arrive after the switch", (path) =>
    Effect.gen(function*() {
      const { client, end } = yield* open(path, {}, "early")
      yield* client.send("-later")
      assert.strictEqual(yield* end.read("-later"), "early-later")
    }))

  both("B204 bytes that came with the 101 arrive", (path) =>
    Effect.gen(function*() {
      const { client, end } = yield* open(path, {}, "", "glued")
      yield* end.send("-later")
      assert.strictEqual(yield* client.read("-later"), "glued-later")
    }))

  both("B205 a refusal is an ordinary response", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.head("mark", (head) => head.set("X-Mark", "1"))
      const fields = ["Set-Cookie: a=1; foo", "X-A: 1", "set-cookie: b=2", "Content-Length: 2"]
      const { app, got } = yield* roundTrip(path, handshake(), answer("403 Nope", fields, "no"), { stack })
      assert.strictEqual(got.startLine, "HTTP/1.1 403 Nope")
      assert.strictEqual(got.text, "no")
      assert.deepStrictEqual(lines(got, "set-cookie"), ["a=1; foo", "b=2"])
      assert.strictEqual(got.get("x-mark"), "1")
      const ended = yield* app.exchange(0)
      assert.strictEqual(ended.status, 403)
      assert.deepStrictEqual(ended.outcome, { _tag: "Completed" })
    }))

  for (
    const [name, response] of [
      ["B206 a switch to another protocol", answer("101 X", ["Connection: Upgrade", "Upgrade: other"])],
      ["B206 a switch to no protocol", answer("101 X")]
    ] as const
  ) {
    both(`${name} is a 502`, (path) =>
      Effect.gen(function*() {
        const { got, origin } = yield* roundTrip(path, handshake(), response)
        assert.strictEqual(got.status, 502)
        yield* origin.ended
      }))
  }

  both("B207 a switch that nobody asked for is a 502", (path) =>
    Effect.gen(function*() {
      const { got, origin } = yield* roundTrip(path, get("/"), switching())
      assert.strictEqual(got.status, 502)
      yield* origin.ended
    }))

  both("B209 any protocol is tunnelled", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(get("/", "Connection: upgrade", "Upgrade: foo/2"))
      const end = yield* origin
      assert.deepStrictEqual(lines(yield* end.nextRequestHead, "upgrade"), ["foo/2"])
      yield* end.send(answer("101 X", ["Connection: upgrade", "Upgrade: foo/2"]))
      assert.strictEqual((yield* client.responseHead).get("upgrade"), "foo/2")
      yield* echo(client, end, "a")
    }))

  both("B211 h2c is not relayed", (path) =>
    Effect.gen(function*() {
      const request = get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAM")
      const { got, seen } = yield* roundTrip(path, request)
      for (const name of ["connection", "upgrade", "http2-settings"]) assert.strictEqual(seen.get(name), undefined)
      assert.strictEqual(got.text, "ok")
    }))

  both("B213 a client that has ended still receives", (path) =>
    Effect.gen(function*() {
      const { client, end } = yield* open(path)
      yield* client.end
      yield* end.ended
      yield* echo(end, client, "still")
      yield* end.end
      assert.strictEqual((yield* client.ended).ending, "FIN")
    }))

  both("B213 an upstream that has ended still receives", (path) =>
    Effect.gen(function*() {
      const { client, end } = yield* open(path, { allowHalfOpen: true })
      yield* end.end
      assert.strictEqual((yield* client.ended).ending, "FIN")
      yield* echo(client, end, "still")
      yield* client.end
      yield* end.ended
    }))

  both("B213 what is on its way when both have ended arrives", (path) =>
    Effect.gen(function*() {
      const { client, end } = yield* open(path, { allowHalfOpen: true })
      yield* end.end
      yield* client.ended
      const size = 8 * 1024 * 1024
      client.socket.end(Buffer.alloc(size, 0x61))
      let bytes = 0
      end.socket.removeAllListeners("data").on("data", (chunk: Buffer) => (bytes += chunk.length))
      yield* eventually(() => bytes === size)
    }))

  both("B214 a client that resets before the 101 cancels the handshake", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path)
      yield* client.send(handshake())
      const end = yield* origin
      yield* end.nextRequestHead
      yield* client.reset
      yield* end.ended
      assert.strictEqual((yield* app.exchange(0)).outcome._tag, "ClientAborted")
    }))

  for (const how of ["end", "reset"] as const) {
    both(`B215 an upstream that dies before the 101 is a 502 (${how})`, (path) =>
      Effect.gen(function*() {
        const { client, origin } = yield* proxied(path)
        yield* client.send(handshake())
        const end = yield* origin
        yield* end.nextRequestHead
        yield* end[how]
        const got = yield* client.response()
        assert.strictEqual(got.status, 502)
        assert.strictEqual(got.get("proxy-status"), "sluice; error=connection_terminated")
      }))
  }

  both("B216 an upstream that resets takes the client with it", (path) =>
    Effect.gen(function*() {
      const { app, client, end } = yield* open(path)
      yield* end.reset
      yield* client.ended
      const ended = yield* app.exchange(0)
      assert.deepStrictEqual(ended.outcome, { _tag: "Failed", phase: "tunnel" })
      assert.include(String(ended.cause), "TunnelError")
    }))

  both("B216 a client that resets takes the upstream with it", (path) =>
    Effect.gen(function*() {
      const { app, client, end } = yield* open(path)
      yield* client.reset
      yield* end.ended
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "ClientAborted", phase: "tunnel" })
    }))

  both("B222 a server that drains sends Close 1001 both ways, and ends in order", (path) =>
    Effect.gen(function*() {
      const { app, client, drain, end } = yield* open(path, { allowHalfOpen: true })
      const draining = yield* Effect.forkChild(drain)
      assert.strictEqual(yield* client.read("\x03\xe9"), "\x88\x02\x03\xe9")
      assert.strictEqual(yield* end.read("\x03\xe9"), "\x88\x82\0\0\0\0\x03\xe9")
      yield* client.ended
      yield* end.ended
      yield* client.send("\x88\x82\0\0\0\0\x03\xe9")
      yield* client.end
      yield* end.end
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
      yield* Fiber.join(draining)
    }))

  both("B222 what does not end is destroyed at the drain deadline", (path) =>
    Effect.gen(function*() {
      const setup = { allowHalfOpen: true, listen: { drain: { deadline: "5 seconds" } } } as const
      const { app, client, drain, end } = yield* open(path, setup)
      const draining = yield* Effect.forkChild(drain)
      yield* client.ended
      yield* end.ended
      assert.strictEqual((yield* app.exchanges).length, 0)
      yield* TestClock.adjust("5 seconds")
      yield* app.exchange(0)
      yield* Fiber.join(draining)
    }))
})
