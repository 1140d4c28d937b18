import { assert, describe, it } from "@effect/vitest"
import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Exchange from "@sluice/core/Exchange"
import * as Route from "@sluice/core/Route"
import { App, RawClient } from "@sluice/core/testing"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Readable } from "node:stream"
import { closeable, get } from "./support.ts"

const events = HttpServerResponse.stream(Stream.never, { contentType: "text/event-stream" })

describe("Server, bodies without an end when it drains", () => {
  it.effect("events that begin while it drains end at once", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      const answer = yield* Deferred.make<void>()
      const handler = Effect.andThen(Deferred.succeed(started, undefined), Effect.as(Deferred.await(answer), events))
      const [app, close] = yield* closeable(App.listen(Route.get("/", handler)))
      const client = yield* RawClient.connect(app.port)
      yield* client.send(get("/"))
      yield* Deferred.await(started)
      const closing = yield* Effect.forkChild(close, { startImmediately: true })
      yield* Deferred.succeed(answer, undefined)
      const got = yield* client.response()
      assert.isTrue(got.complete)
      assert.strictEqual(got.status, 200)
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
      yield* Fiber.join(closing)
    }))

  it.effect("whoever asks to be told is told once, and at once when it drains already", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      const answer = yield* Deferred.make<void>()
      const told: Array<string> = []
      const handler = Effect.gen(function*() {
        const exchange = yield* Exchange.current
        DirectResponse.onDrain(exchange, () => told.push("replaced"))
        DirectResponse.onDrain(exchange, () => told.push("early"))
        yield* Deferred.succeed(started, undefined)
        yield* Deferred.await(answer)
        DirectResponse.onDrain(exchange, () => told.push("late"))
        return HttpServerResponse.empty()
      })
      const [app, close] = yield* closeable(App.listen(Route.get("/", handler)))
      const client = yield* RawClient.connect(app.port)
      yield* client.send(get("/"))
      yield* Deferred.await(started)
      const closing = yield* Effect.forkChild(close, { startImmediately: true })
      assert.deepStrictEqual(told, ["early"])
      yield* Deferred.succeed(answer, undefined)
      yield* client.response()
      assert.deepStrictEqual(told, ["early", "late"])
      yield* Fiber.join(closing)
    }))

  for (
    const [name, body] of [
      ["a stream", () => HttpServerResponse.stream(Stream.concat(Stream.succeed(Buffer.from("abc")), Stream.never))],
      ["a Node stream", () => {
        const readable = new Readable({ read: () => {} })
        readable.push("abc")
        return HttpServerResponse.raw(readable)
      }]
    ] as const
  ) {
    it.effect(`${name} that is left at the deadline is cut off, and ends Drained`, () =>
      Effect.gen(function*() {
        const [app, close] = yield* closeable(
          App.listen(Route.get("/", Effect.sync(body)), { drain: { deadline: "5 seconds" } })
        )
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/"))
        yield* client.read("abc")
        const closing = yield* Effect.forkChild(close, { startImmediately: true })
        yield* TestClock.adjust("5 seconds")
        assert.notInclude((yield* client.ended).unread, "0\r\n\r\n")
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Drained", phase: "responseBody" })
        yield* Fiber.join(closing)
      }))
  }
})
