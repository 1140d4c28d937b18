import { assert, describe, it } from "@effect/vitest"
import * as Cancellation from "@sluice/core/Cancellation"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import { App, LeakCounter, RawClient, RawServer } from "@sluice/core/testing"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import type { IncomingMessage } from "node:http"
import type { Socket } from "node:net"
import type { Incoming } from "../src/Incoming.ts"
import * as Proxy from "../src/Proxy.ts"
import * as Upstream from "../src/Upstream.ts"
import { answer, both, bothLive, count, eventually, get, lines, proxied, roundTrip } from "./utils/proxied.ts"
import { echo, handshake, key, malformed, open, switching, version } from "./utils/tunnel.ts"

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

  both("B208 protocol names have no case", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(handshake().replace("Upgrade: websocket", "Upgrade: WebSocket"))
      const end = yield* origin
      assert.strictEqual((yield* end.nextRequestHead).get("upgrade"), "WebSocket")
      yield* end.send(answer("101 X", ["Connection: upgrade", "Upgrade: WEBSOCKET"]))
      assert.strictEqual((yield* client.responseHead).get("upgrade"), "WEBSOCKET")
      yield* echo(client, end, "a")
    }))

  for (
    const [name, status, fields] of [
      ["B208 bytes that are not ASCII", 400, ["Upgrade: web\xf6ocket"]],
      ["B208 a protocol that is no token", 400, ["Upgrade: websocket;v=13"]],
      ["B208 a version that is no token", 400, ["Upgrade: foo/1/2"]],
      ["B208 one of two protocols that is no token", 400, ["Upgrade: foo, b@r"]],
      ["B218 no key", 400, ["Upgrade: websocket", ...version]],
      ["B218 an empty key", 400, ["Upgrade: websocket", ...version, "Sec-WebSocket-Key:"]],
      ["B218 a key of 15 bytes", 400, ["Upgrade: websocket", ...version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"]],
      ["B218 a key that is no Base64", 400, [
        "Upgrade: websocket",
        ...version,
        "Sec-WebSocket-Key: dGhlIHNhbXBs*SBub25jZQ=="
      ]],
      ["B218 two keys", 400, ["Upgrade: websocket", ...version, ...key, ...key]],
      ["B218 no key, WebSocket being one of two protocols", 400, ["Upgrade: foo, WebSocket", ...version]],
      ["B218 no version", 426, ["Upgrade: websocket", ...key]],
      ["B218 another version", 426, ["Upgrade: websocket", "Sec-WebSocket-Version: 8", ...key]],
      ["B218 two versions", 426, ["Upgrade: websocket", ...version, "Sec-WebSocket-Version: 8", ...key]]
    ] as const
  ) {
    both(`${name}: ${status}, and the upstream is not contacted`, (path) =>
      Effect.gen(function*() {
        const { app, client, upstream } = yield* proxied(path)
        yield* client.send(malformed(...fields))
        const got = yield* client.response()
        assert.strictEqual(got.status, status)
        assert.isTrue(got.complete)
        assert.strictEqual(got.get("sec-websocket-version"), status === 426 ? "13" : undefined)
        assert.strictEqual(got.get("upgrade"), status === 426 ? "websocket" : undefined)
        assert.strictEqual(lines(got, "connection").join().toLowerCase().includes("upgrade"), status === 426)
        assert.strictEqual(yield* upstream.accepted, 0)
        assert.propertyVal(Cause.squash((yield* app.exchange(0)).cause!), "_tag", "UpgradeInvalid")
      }))
  }

  both(
    "B218 a key is nothing to other protocols, nor to requests that don't ask for a WebSocket",
    (path) =>
      Effect.gen(function*() {
        const { got, seen } = yield* roundTrip(path, get("/", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 1"))
        assert.strictEqual(seen.get("sec-websocket-key"), "x")
        assert.strictEqual(got.status, 200)
      })
  )

  both("B212 an upgrade over HTTP/1.0 is ignored", (path) =>
    Effect.gen(function*() {
      const { got, seen } = yield* roundTrip(path, handshake().replace("HTTP/1.1", "HTTP/1.0"))
      assert.strictEqual(seen.get("upgrade"), undefined)
      assert.strictEqual(seen.get("connection"), undefined)
      assert.strictEqual(got.status, 200)
      assert.strictEqual(got.text, "ok")
    }))

  both("B191 a 101 to a request that asks for nothing, behind a 103, is a 502", (path) =>
    Effect.gen(function*() {
      const hints = answer("103 Early Hints", ["Link: </a>"])
      const { got, origin } = yield* roundTrip(path, get("/"), hints + switching())
      assert.strictEqual(got.status, 502)
      assert.deepStrictEqual(got.informational.map(({ status }) => status), [103])
      yield* origin.ended
    }))

  both("B213 both sides may end at once", (path) =>
    Effect.gen(function*() {
      const { app, client, end } = yield* open(path)
      yield* Effect.all([client.end, end.end])
      assert.strictEqual((yield* client.ended).ending, "FIN")
      assert.strictEqual((yield* end.ended).ending, "FIN")
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
    }))

  both("B213 a side that has ended takes much more", (path) =>
    Effect.gen(function*() {
      const { client, end } = yield* open(path)
      yield* client.end
      yield* end.ended
      const seen = count(client)
      const size = 8 * 1024 * 1024
      end.socket.end(Buffer.alloc(size, 0x61))
      yield* eventually(() => seen.bytes === size)
    }))

  both(
    "B216 what an upstream said before it broke off gets to the client, which then loses the connection",
    (path) =>
      Effect.gen(function*() {
        const { client, end } = yield* open(path)
        yield* echo(end, client, "last words")
        yield* end.reset
        assert.strictEqual((yield* client.ended).unread, "")
      })
  )

  both("B217 cancelling the handler closes both sides", (path) =>
    Effect.gen(function*() {
      const handlers: Array<Fiber.Fiber<unknown, unknown>> = []
      const stack = Middleware.around("fiber", (handler) =>
        Effect.withFiber((fiber) => {
          handlers.push(fiber)
          return handler
        }), { response: "none" })
      const { app, client, end } = yield* open(path, { stack })
      Cancellation.interrupt(handlers[0], Cancellation.userCancelled("enough"))
      yield* client.ended
      yield* end.ended
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Cancelled", reason: "enough" })
    }))

  both("B219 what subprotocols and extensions are agreed on is left alone", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(handshake("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Extensions: permessage-deflate"))
      const end = yield* origin
      yield* end.nextRequestHead
      const agreed = [
        "Sec-WebSocket-Protocol: A",
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"
      ]
      yield* end.send(switching(...agreed))
      const got = yield* client.responseHead
      assert.deepStrictEqual(lines(got, "sec-websocket-protocol"), ["A"])
      assert.deepStrictEqual(lines(got, "sec-websocket-extensions"), [
        "permessage-deflate; server_no_context_takeover"
      ])
      // A compressed frame (RSV1 set), bit by bit.
      yield* echo(end, client, "\xc1\x03\xaa\x00\xff")
    }))

  bothLive("B220, B182 tunnels that open and close leave nothing behind", (path) =>
    Effect.gen(function*() {
      const { app, connect, upstream } = yield* proxied(path)
      for (let i = 0; i < 200; i++) {
        const client = yield* connect
        yield* client.send(handshake())
        const end = yield* upstream.nextConnection
        yield* end.nextRequestHead
        yield* end.send(switching())
        yield* client.responseHead
        const [first, second] = i % 2 === 0 ? [client, end] : [end, client]
        yield* i % 4 < 2 ? first.end : first.reset
        yield* second.ended
        yield* second.end
        yield* app.exchange(i)
      }
    }))

  it.effect(
    "B221 many routes with tunnels share one server, and each tunnel goes to its own upstream",
    () =>
      LeakCounter.expectNoLeak(Effect.scoped(Effect.gen(function*() {
        const origins = yield* Effect.forEach(
          Array.from({ length: 12 }, (_, i) => i),
          Effect.fnUntraced(function*(i) {
            class One extends Upstream.Service<One>()(`test/${i}`) {}
            const server = yield* RawServer.make(() => Effect.void)
            const context = yield* Layer.build(One.layer({ targets: [server.url] }))
            return { server, context, routes: Route.all(`/${i}/*`, Proxy.forward(One)) }
          })
        )
        const [first, ...rest] = origins.map(({ routes }) => routes)
        const services = Context.mergeAll(...origins.map(({ context }) => context))
        const app = yield* Effect.provideContext(App.listen(Layer.mergeAll(first, ...rest)), services)
        const tunnels = yield* Effect.forEach(origins, ({ server }, i) =>
          Effect.gen(function*() {
            const client = yield* RawClient.connect({ port: app.port })
            yield* client.send(handshake().replace("/chat", `/${i}/chat`))
            const end = yield* server.nextConnection
            yield* end.nextRequestHead
            yield* end.send(switching())
            yield* client.responseHead
            return { client, end }
          }), { concurrency: "unbounded" })
        for (const [i, { client, end }] of tunnels.entries()) {
          yield* echo(client, end, `\x81\x81 up ${i}`)
          yield* echo(end, client, `\x81\x01 down ${i}`)
          yield* client.reset
          yield* end.ended
        }
      }))),
    5000
  )

  both("B232 no side of a tunnel waits to fill a segment", (path) =>
    Effect.gen(function*() {
      const noDelay = new Map<unknown, boolean>()
      const connected = (message: unknown) => {
        const { socket } = message as { readonly socket: Socket }
        noDelay.set("upstream", isNoDelay(socket))
      }
      yield* Effect.acquireRelease(
        Effect.sync(() => subscribe("net.client.socket", connected)),
        () => Effect.sync(() => unsubscribe("net.client.socket", connected))
      )
      const direct = ({ request }: Incoming) => {
        noDelay.set("client", isNoDelay((request.source as IncomingMessage).socket))
        return Effect.succeed(Proxy.proceed())
      }
      yield* open(path, { proxy: { direct } })
      assert.deepStrictEqual(noDelay, new Map([["client", true], ["upstream", true]]))
    }))
})

/** What Node remembers of `setNoDelay`; the system has it when the connection is made. */
const isNoDelay = (socket: Socket): boolean => {
  const key = Object.getOwnPropertySymbols(socket).find(({ description }) => description === "kSetNoDelay")
  return key !== undefined && Reflect.get(socket, key) === true
}
