import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { answer, both, eventually, get, proxied } from "./utils/proxied.ts"
import type { Path, Setup } from "./utils/proxied.ts"

const type = "Content-Type: text/event-stream; charset=utf-8"

/** A stream of events that has begun, and a server that drains. */
const draining = Effect.fnUntraced(
  function*(path: Path, sent: string, fields: ReadonlyArray<string> = [type], setup: Setup = {}) {
    const parts = yield* proxied(path, { listen: { drain: { deadline: "5 seconds" } }, ...setup })
    yield* parts.client.send(get("/"))
    const events = yield* parts.origin
    yield* events.nextRequest
    yield* events.send(answer("200 OK", fields, sent))
    const head = yield* parts.client.responseHead
    if (sent !== "") yield* parts.client.read(sent)
    const drain = yield* Effect.forkChild(parts.drain)
    yield* Effect.yieldNow
    return { ...parts, events, head, drain }
  }
)

const lastChunk = "0\r\n\r\n"

/** What was left of the body when the connection ended, without its chunks; it must have ended in order. */
const rest = (unread: string): string => {
  let text = ""
  // The line break behind the chunk whose bytes were read.
  for (let left = unread.replace(/^\r\n/, "");;) {
    const [line] = left.split("\r\n", 1)
    const size = Number.parseInt(line, 16)
    assert.isNotNaN(size, JSON.stringify(unread))
    const from = line.length + 2
    if (size === 0) {
      assert.strictEqual(left.slice(from), "\r\n")
      return text
    }
    text += left.slice(from, from + size)
    left = left.slice(from + size + 2)
  }
}

const completed = { _tag: "Completed" }

describe("Proxy, a stream of events when the server drains", () => {
  for (
    const [name, sent] of [
      ["LF", "data: 1\n\n"],
      ["CR LF", "data: 1\r\n\r\n"],
      ["CR", "data: 1\r\r"],
      ["LF, CR LF", "data: 1\n\r\n"],
      ["CR, CR LF", "data: 1\r\r\n"],
      ["CR LF, CR", "data: 1\r\n\r"],
      ["a comment", ":\n\n"],
      ["no event yet", ""]
    ] as const
  ) {
    both(`it ends in order between two events, and its upstream with it (${name})`, (path) =>
      Effect.gen(function*() {
        const { app, client, drain, events, head } = yield* draining(path, sent)
        assert.strictEqual(head.get("transfer-encoding"), "chunked")
        assert.strictEqual(rest((yield* client.ended).unread), "")
        yield* events.ended
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, completed)
        yield* Fiber.join(drain)
      }))
  }

  for (
    const [name, sent, more, last] of [
      ["LF", "data: 1\n", "\ndata: 2\n\n", "\n"],
      ["CR LF", "data: 1\r\n", "\r\ndata: 2\r\n\r\n", "\r\n"],
      ["within CR LF", "data: 1\r\n\r", "\ndata: 2\r\n\r\n", ""],
      ["within a line", "da", "ta: 1\n\ndata: 2\n\n", "ta: 1\n\n"],
      ["one byte more", "data: 1\n", "\n", "\n"]
    ] as const
  ) {
    both(`within an event it goes on to the end of that (${name})`, (path) =>
      Effect.gen(function*() {
        const { app, client, drain, events } = yield* draining(path, sent)
        if (last !== "") {
          yield* Effect.forEach(Array.from({ length: 20 }), () => eventually(() => true))
          assert.strictEqual((yield* app.exchanges).length, 0)
          yield* events.send(more)
        }
        assert.strictEqual(rest((yield* client.ended).unread), last)
        yield* events.ended
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, completed)
        yield* Fiber.join(drain)
      }))
  }

  both("nothing behind the end is relayed, also when it came along", (path) =>
    Effect.gen(function*() {
      const { app, client, drain, origin } = yield* proxied(path)
      yield* client.send(get("/"))
      const events = yield* origin
      yield* events.nextRequest
      yield* events.send(answer("200 OK", [type, "Transfer-Encoding: chunked"], "7\r\ndata: 1\r\n"))
      yield* client.responseHead
      yield* client.read("data: 1")
      const stopping = yield* Effect.forkChild(drain)
      yield* Effect.yieldNow
      yield* events.send("2\r\n\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n")
      assert.strictEqual(rest((yield* client.ended).unread), "\n\n")
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, completed)
      yield* Fiber.join(stopping)
    }))

  both("an event that does not end is cut off at the deadline", (path) =>
    Effect.gen(function*() {
      const { app, client, drain } = yield* draining(path, "data: 1\n")
      yield* TestClock.adjust("5 seconds")
      assert.notInclude((yield* client.ended).unread, lastChunk)
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Drained", phase: "responseBody" })
      yield* Fiber.join(drain)
    }))

  for (
    const [name, fields] of [
      ["events that are encoded", [type, "Content-Encoding: gzip"]],
      ["another type", ["Content-Type: text/event-streams"]],
      ["no type", []]
    ] as const
  ) {
    both(`${name}: cut off at the deadline, since no end of theirs is known`, (path) =>
      Effect.gen(function*() {
        const { app, client, drain } = yield* draining(path, "data: 1\n\n", fields)
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual((yield* app.exchanges).length, 0)
        yield* TestClock.adjust("1 seconds")
        assert.notInclude((yield* client.ended).unread, lastChunk)
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Drained", phase: "responseBody" })
        yield* Fiber.join(drain)
      }))
  }

  both("events of a known length arrive in full", (path) =>
    Effect.gen(function*() {
      const { app, client, drain, events } = yield* draining(path, "data: 1\n\n", [type, "Content-Length: 18"])
      yield* events.send("data: 2\n\n")
      yield* client.read("data: 2\n\n")
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, completed)
      yield* Fiber.join(drain)
    }))

  both("one that begins while the server drains ends at once", (path) =>
    Effect.gen(function*() {
      const { app, client, drain, origin } = yield* proxied(path)
      yield* client.send(get("/"))
      const events = yield* origin
      yield* events.nextRequest
      const stopping = yield* Effect.forkChild(drain)
      yield* Effect.yieldNow
      yield* events.send(answer("200 OK", [type]))
      const got = yield* client.response()
      assert.isTrue(got.complete)
      assert.strictEqual(got.status, 200)
      assert.strictEqual(got.get("connection"), "close")
      yield* events.ended
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, completed)
      yield* Fiber.join(stopping)
    }))
})
