import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { answer, both, get, ok, proxied, roundTrip } from "./utils/proxied.ts"

const lines = (count: number): ReadonlyArray<string> => Array.from({ length: count }, (_, i) => `X-${i}: ${i}`)

describe("Proxy, limits", () => {
  const refused = [
    ["fields by number", 431, get("/", ...lines(101))],
    ["fields by size", 431, get("/", `X-A: ${"x".repeat(17_000)}`)],
    ["B72 a long target", 414, get(`/${"x".repeat(8192)}`)]
  ] as const
  for (const [name, status, request] of refused) {
    both(`B257 ${name}: ${status}, and the upstream is not contacted`, (path) =>
      Effect.gen(function*() {
        const { client, upstream } = yield* proxied(path)
        yield* client.send(request + get("/smuggled"))
        assert.strictEqual((yield* client.response()).status, status)
        assert.strictEqual((yield* client.ended).unread, "")
        assert.strictEqual(yield* upstream.accepted, 0)
      }))
  }

  both("B258 more than a thousand fields of a request all arrive", (path) =>
    Effect.gen(function*() {
      const listen = { node: { limits: { headBytes: 1_000_000, fieldCount: 5000 } } }
      const { seen } = yield* roundTrip(path, get("/", ...lines(3000)), ok, { listen })
      for (let i = 0; i < 3000; i++) assert.strictEqual(seen.get(`x-${i}`), String(i))
    }))

  both("B258 a thousand fields of a response all arrive", (path) =>
    Effect.gen(function*() {
      const { got } = yield* roundTrip(path, get("/"), answer("200 OK", ["Content-Length: 2", ...lines(999)], "ok"))
      for (let i = 0; i < 999; i++) assert.strictEqual(got.get(`x-${i}`), String(i))
      assert.strictEqual(got.text, "ok")
    }))

  const oversized = [
    ["fields by number", answer("200 OK", ["Content-Length: 2", ...lines(1000)], "ok")],
    ["fields by size", answer("200 OK", [`X-A: ${"x".repeat(70_000)}`, "Content-Length: 2"], "ok")],
    ["a field that does not end", `HTTP/1.1 200 OK\r\nX-A: ${"x".repeat(70_000)}`]
  ] as const
  for (const [name, response] of oversized) {
    both(
      `B259 a response beyond the limits (${name}) is a 502, and the client is served on`,
      (path) =>
        Effect.gen(function*() {
          const { client, got, origin, upstream } = yield* roundTrip(path, get("/"), response)
          assert.strictEqual(got.status, 502)
          yield* origin.ended
          yield* client.send(get("/next"))
          const next = yield* upstream.nextConnection
          yield* next.nextRequest
          yield* next.send(ok)
          assert.strictEqual((yield* client.response()).text, "ok")
        })
    )
  }
})

describe("Proxy, when its server drains", () => {
  both("B261 what is in flight finishes and says close, and what is new is refused", (path) =>
    Effect.gen(function*() {
      const { client, connect, drain, origin } = yield* proxied(path)
      yield* client.send(get("/"))
      const upstream = yield* origin
      yield* upstream.nextRequest
      const drained = yield* Deferred.make<void>()
      const draining = yield* Effect.forkChild(Effect.andThen(drain, Deferred.succeed(drained, undefined)), {
        startImmediately: true
      })
      assert.strictEqual((yield* Effect.flip(connect))._tag, "ConnectError")
      assert.isFalse(yield* Deferred.isDone(drained))
      yield* upstream.send(ok)
      const response = yield* client.response()
      assert.deepStrictEqual([response.text, response.get("connection")], ["ok", "close"])
      assert.strictEqual((yield* client.ended).ending, "FIN")
      yield* Fiber.join(draining)
    }))

  both(
    "B261 at the deadline a call without a response is a 503, and its upstream connection closes",
    (path) =>
      Effect.gen(function*() {
        const { app, client, drain, origin } = yield* proxied(path, { listen: { drain: { deadline: "3 seconds" } } })
        yield* client.send(get("/"))
        const upstream = yield* origin
        yield* upstream.nextRequest
        const draining = yield* Effect.forkChild(drain, { startImmediately: true })
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual((yield* client.response()).status, 503)
        yield* upstream.ended
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Drained", phase: "handler" })
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(draining)
      })
  )
})
