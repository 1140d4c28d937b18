import { assert, describe, it } from "@effect/vitest"
import type { App } from "@sluice/core/testing"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as Proxy from "../src/Proxy.ts"
import { answer, both, get, Origin, proxied } from "./utils/proxied.ts"
import { echo, open } from "./utils/tunnel.ts"

/** The Close frames of 1001, as a server and as a client sends them. */
const toClient = "\x88\x02\x03\xe9"
const toUpstream = "\x88\x82\0\0\0\0\x03\xe9"

const endOf = Effect.fnUntraced(function*(app: App.App, tag: string) {
  const ended = yield* app.exchange(0)
  assert.strictEqual((yield* app.exchanges).length, 1)
  assert.propertyVal(Cause.squash(ended.cause!), "_tag", tag)
  assert.deepStrictEqual(ended.outcome, { _tag: "TimedOut", clock: tag })
})

describe("Tunnel, clocks", () => {
  both("B178 a tunnel without a byte is closed on both sides", (path) =>
    Effect.gen(function*() {
      const { app, client, end } = yield* open(path, { proxy: { clocks: { tunnelIdle: "10 seconds" } } })
      yield* TestClock.adjust("9999 millis")
      yield* echo(client, end, "\x81\x80ping")
      yield* TestClock.adjust("9999 millis")
      assert.strictEqual((yield* app.exchanges).length, 0)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* client.ended).unread, toClient)
      assert.strictEqual((yield* end.ended).unread, toUpstream)
      yield* end.end
      yield* endOf(app, "TunnelIdleTimeout")
    }))

  for (const from of ["client", "upstream"] as const) {
    both(`B178 bytes from one side alone keep a tunnel open (${from})`, (path) =>
      Effect.gen(function*() {
        const { app, client, end } = yield* open(path, { proxy: { clocks: { tunnelIdle: "10 seconds" } } })
        for (let i = 0; i < 5; i++) {
          yield* TestClock.adjust("9 seconds")
          yield* from === "client" ? echo(client, end, "\x81\x80mask") : echo(end, client, "\x81\0")
        }
        assert.strictEqual((yield* app.exchanges).length, 0)
        yield* TestClock.adjust("10 seconds")
        yield* client.ended
        yield* end.ended
        yield* end.end
        yield* endOf(app, "TunnelIdleTimeout")
      }))
  }

  both("B178 without settings a tunnel may be idle for an hour", (path) =>
    Effect.gen(function*() {
      const { app, client, end } = yield* open(path)
      yield* TestClock.adjust("59 minutes")
      yield* echo(client, end, "\x81\x80mask")
      yield* TestClock.adjust("60 minutes")
      yield* client.ended
      yield* end.ended
      yield* end.end
      yield* endOf(app, "TunnelIdleTimeout")
    }))

  both("B178 an infinite clock is off", (path) =>
    Effect.gen(function*() {
      const { client, end } = yield* open(path, { proxy: { clocks: { tunnelIdle: "Infinity" } } })
      yield* TestClock.adjust("100 days")
      yield* echo(client, end, "\x81\x80mask")
      yield* echo(end, client, "\x81\0")
    }))

  both("B178 what does not end within five seconds is destroyed", (path) =>
    Effect.gen(function*() {
      const setup = { allowHalfOpen: true, proxy: { clocks: { tunnelIdle: "10 seconds" } } } as const
      const { app, client, end } = yield* open(path, setup)
      yield* TestClock.adjust("10 seconds")
      yield* client.ended
      yield* end.ended
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual((yield* app.exchanges).length, 0)
      yield* TestClock.adjust("1 seconds")
      yield* endOf(app, "TunnelIdleTimeout")
    }))

  both("a tunnel that is busy ends when it may be open no longer", (path) =>
    Effect.gen(function*() {
      const { app, client, end } = yield* open(path, { proxy: { clocks: { tunnelMaxDuration: "1 minute" } } })
      yield* TestClock.adjust("50 seconds")
      yield* echo(client, end, "\x81\x80mask")
      assert.strictEqual((yield* app.exchanges).length, 0)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* client.ended).unread, toClient)
      assert.strictEqual((yield* end.ended).unread, toUpstream)
      yield* end.end
      yield* endOf(app, "TunnelMaxDuration")
    }))

  both(
    "no Close frame goes into a frame that is under way, nor behind another Close",
    (path) =>
      Effect.gen(function*() {
        const { app, client, end } = yield* open(path, { proxy: { clocks: { tunnelMaxDuration: "1 minute" } } })
        // Sixteen bits of length, of which the payload has two more bytes than came.
        yield* echo(end, client, "\x82\x7e\x00\x04ab")
        yield* echo(client, end, toUpstream)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* client.ended).unread, "")
        assert.strictEqual((yield* end.ended).unread, "")
        yield* end.end
        yield* endOf(app, "TunnelMaxDuration")
      })
  )

  both("another protocol gets no Close frame", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path, { proxy: { clocks: { tunnelIdle: "10 seconds" } } })
      yield* client.send(get("/", "Connection: upgrade", "Upgrade: foo/2"))
      const end = yield* origin
      yield* end.nextRequestHead
      yield* end.send(answer("101 X", ["Connection: upgrade", "Upgrade: foo/2"]))
      yield* client.responseHead
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* client.ended).unread, "")
      assert.strictEqual((yield* end.ended).unread, "")
      yield* end.end
      yield* endOf(app, "TunnelIdleTimeout")
    }))

  both("B222 a client whose upstream has ended is given the time to end, too", (path) =>
    Effect.gen(function*() {
      const { app, client, drain, end } = yield* open(path, { allowHalfOpen: true })
      yield* end.end
      assert.strictEqual((yield* client.ended).unread, "")
      const draining = yield* Effect.forkChild(drain)
      assert.strictEqual((yield* end.ended).unread, toUpstream)
      yield* client.send("\x81\x80mask")
      assert.strictEqual((yield* app.exchanges).length, 0)
      yield* client.end
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
      yield* Fiber.join(draining)
    }))

  both(
    "B222 a side that has ended already gets no Close frame when the server drains",
    (path) =>
      Effect.gen(function*() {
        const { app, client, drain, end } = yield* open(path)
        yield* client.end
        yield* end.ended
        const draining = yield* Effect.forkChild(drain)
        assert.strictEqual((yield* client.ended).unread, toClient)
        yield* end.end
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
        yield* Fiber.join(draining)
      })
  )

  both("B182 no clock of a tunnel outlives it", (path) =>
    Effect.gen(function*() {
      const clocks = { tunnelIdle: "10 seconds", tunnelMaxDuration: "1 minute" } as const
      const { app, client, end } = yield* open(path, { proxy: { clocks } })
      yield* client.end
      yield* end.ended
      yield* end.end
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
    }))

  for (const name of ["total", "requestBodyIdle", "writeIdle", "tunnelIdle", "tunnelMaxDuration"] as const) {
    it(`clocks.${name} must be positive`, () => {
      for (const wrong of [0, "-1 seconds"] as const) {
        assert.throws(() => Proxy.forward(Origin, { clocks: { [name]: wrong } }), RangeError, `clocks.${name} must be`)
      }
    })
  }
})
