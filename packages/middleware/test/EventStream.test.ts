import { describe, expect, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import { App, RawClient } from "@sluice/core/testing"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import * as Compression from "../src/Compression.ts"
import * as EventStream from "../src/EventStream.ts"
import { refused, until } from "./kit.ts"
import { ask } from "./utils/ask.ts"

interface Dispatched {
  readonly type: string
  readonly data: string
  readonly lastEventId: string
}

/** The interpretation of a stream by the WHATWG's rules: https://html.spec.whatwg.org/#event-stream-interpretation */
const interpret = (
  text: string
): { readonly events: ReadonlyArray<Dispatched>; readonly retry: number | undefined } => {
  const events: Array<Dispatched> = []
  let retry: number | undefined
  let lastEventId = ""
  let type = ""
  let data: Array<string> = []
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\r|\n/)
  for (const line of lines.slice(0, -1)) {
    if (line === "") {
      if (data.length > 0) events.push({ type: type === "" ? "message" : type, data: data.join("\n"), lastEventId })
      type = ""
      data = []
      continue
    }
    const colon = line.indexOf(":")
    const field = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "")
    if (field === "data") data.push(value)
    else if (field === "event") type = value
    else if (field === "id" && !value.includes("\0")) lastEventId = value
    else if (field === "retry" && /^\d+$/.test(value)) retry = Number(value)
  }
  return { events, retry }
}

const pieces = [
  "\n",
  "\r",
  "\r\n",
  ":",
  " ",
  "data",
  "id: 9",
  "event: x",
  "retry: 1",
  "\uFEFF",
  "é",
  "\u2028",
  "a",
  "\0"
]
const text = fc.array(fc.oneof(fc.constantFrom(...pieces), fc.string({ unit: "binary" }))).map((_) => _.join(""))
const line = text.map((_) => _.replace(/[\r\n\0]/g, ""))
const event = fc.record({ data: text, event: line, id: line }, { requiredKeys: ["data"] })

/** A route whose events are what is offered. */
const offered = (options?: EventStream.Options) =>
  Effect.map(Queue.unbounded<EventStream.Event>(), (queue) => {
    const left = Deferred.makeUnsafe<void>()
    const events = Stream.ensuring(Stream.fromQueue(queue), Deferred.succeed(left, undefined))
    return { queue, left: Deferred.await(left), route: Route.get("/", EventStream.response(events, options)) }
  })

const get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

/** A client that has read the head and the opening line. */
const listen = (port: number) =>
  Effect.gen(function*() {
    const client = yield* RawClient.connect(port)
    yield* client.send(get)
    const head = yield* client.responseHead
    yield* client.read(":\n\n\r\n")
    return { client, head }
  })

describe("EventStream.encode", () => {
  it("whatever is in an event, a client reads that event and no other", () => {
    fc.assert(fc.property(fc.array(event, { minLength: 1 }), (sent) => {
      let lastEventId = ""
      const expected = sent.map(({ data, event, id }) => {
        lastEventId = id ?? lastEventId
        return {
          type: event === undefined || event === "" ? "message" : event,
          data: data.replace(/\r\n|\r/g, "\n"),
          lastEventId
        }
      })
      expect(interpret(sent.map(EventStream.encode).join(":\n\n"))).toEqual({ events: expected, retry: undefined })
    }))
  })

  it("each event ends with a blank line, and has none before that", () => {
    fc.assert(fc.property(event, (event) => {
      expect(EventStream.encode(event).search(/\n\n|\r/)).toBe(EventStream.encode(event).length - 2)
    }))
  })

  it("refuses ids and names that would break out of their line", () => {
    for (const bad of ["a\nb", "a\rb", "\r\n", "7\n\ndata: forged", "\0"]) {
      expect(refused(() => EventStream.encode({ data: "", id: bad }))).toContain(
        "RangeError: id must have no line break"
      )
      expect(refused(() => EventStream.encode({ data: "", event: bad }))).toContain("RangeError: event must have no")
    }
  })
})

describe("EventStream.response", () => {
  it.effect("C96 head and opening line leave before there is an event, and each event as it comes", () =>
    Effect.gen(function*() {
      const { queue, route } = yield* offered()
      const app = yield* App.listen(route, { edge: Compression.make() })
      const client = yield* RawClient.connect(app.port)
      yield* client.send("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n")
      const head = yield* client.responseHead
      expect(["content-type", "cache-control", "x-accel-buffering", "content-encoding"].map(head.get)).toEqual([
        "text/event-stream",
        "no-store",
        "no",
        undefined
      ])
      yield* client.read(":\n\n\r\n")
      for (const id of ["1", "2"]) {
        yield* Queue.offer(queue, { id, data: "a\nb" })
        expect(yield* client.read("\n\n\r\n")).toContain(`\r\nid: ${id}\ndata: a\ndata: b\n\n\r\n`)
      }
    }))

  it.effect("how long to wait before coming back is said first, in whole milliseconds", () =>
    Effect.gen(function*() {
      const events = EventStream.response(Stream.make({ data: "x" }), { retry: "1.5 seconds", heartbeat: "Infinity" })
      const app = yield* App.listen(Route.get("/", events))
      const { complete, text } = yield* ask(app, "GET /")
      expect(complete).toBe(true)
      expect(interpret(text)).toEqual({ events: [{ type: "message", data: "x", lastEventId: "" }], retry: 1500 })
    }))

  it.effect("a comment is sent when nothing was for that long, and only then", () =>
    Effect.gen(function*() {
      const { queue, route } = yield* offered({ heartbeat: "10 seconds" })
      const app = yield* App.listen(route)
      const { client } = yield* listen(app.port)
      const offer = (data: string) => Effect.andThen(Queue.offer(queue, { data }), client.read(`data: ${data}\n\n\r\n`))
      yield* offer("first")
      yield* TestClock.adjust("9 seconds")
      expect(yield* offer("second")).not.toContain(":\n\n")
      yield* TestClock.adjust("9 seconds")
      expect(yield* offer("third")).not.toContain(":\n\n")
      yield* TestClock.adjust("10 seconds")
      expect(yield* client.read("\n\n\r\n")).toBe("3\r\n:\n\n\r\n")
      yield* TestClock.adjust("10 seconds")
      expect(yield* client.read("\n\n\r\n")).toBe("3\r\n:\n\n\r\n")
      expect(yield* offer("fourth")).not.toContain("\n:\n\n")
    }))

  it.effect("a client that doesn't read gets no heap of comments", () =>
    Effect.gen(function*() {
      const { queue, route } = yield* offered({ heartbeat: "10 seconds" })
      const app = yield* App.listen(route)
      const client = yield* RawClient.connect(app.port)
      yield* client.send(get)
      yield* client.read(":\n\n\r\n")
      client.socket.pause()
      const chunks: Array<string> = []
      client.socket.removeAllListeners("data").on("data", (chunk) => chunks.push(chunk.toString("latin1")))
      client.socket.pause()
      yield* Queue.offer(queue, { data: "x".repeat(16 * 1024 * 1024) })
      yield* until(() => client.socket.readableLength > 0)
      for (let i = 0; i < 20; i++) yield* TestClock.adjust("10 seconds")
      yield* Queue.offer(queue, { data: "last" })
      client.socket.resume()
      yield* until(() => chunks.slice(-2).join("").endsWith("data: last\n\n\r\n"))
      expect(chunks.join("").split("\n:\n\n").length - 1).toBeLessThanOrEqual(2)
    }))

  it.effect("C100 when the server drains it ends in order behind a whole event, and the events are let go", () =>
    Effect.gen(function*() {
      const { left, queue, route } = yield* offered()
      const scope = yield* Scope.make()
      const app = yield* Scope.provide(App.listen(route), scope)
      const { client } = yield* listen(app.port)
      yield* Queue.offer(queue, { data: "one" })
      yield* client.read("data: one\n\n\r\n")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      expect(yield* client.read("0\r\n\r\n")).toBe("0\r\n\r\n")
      yield* left
      expect((yield* app.exchange(0)).outcome).toEqual({ _tag: "Completed" })
      yield* Fiber.join(closing)
    }))

  it.effect("the events are let go when the client leaves", () =>
    Effect.gen(function*() {
      const { left, route } = yield* offered()
      const app = yield* App.listen(route)
      const { client } = yield* listen(app.port)
      yield* client.reset
      yield* left
      expect((yield* app.exchange(0)).outcome).toEqual({ _tag: "ClientAborted", phase: "responseBody" })
    }))

  it.effect("an event that would break out, and a stream that fails, cut the response off", () =>
    Effect.gen(function*() {
      const bad = Stream.make({ data: "good" }, { data: "", id: "1\n\ndata: forged" })
      const failing = Stream.concat(Stream.make({ data: "good" }), Stream.fail("no more"))
      const app = yield* App.listen(Layer.merge(
        Route.get("/bad", EventStream.response(bad)),
        Route.get("/failing", EventStream.response(failing))
      ))
      for (const [index, path] of ["/bad", "/failing"].entries()) {
        const { complete, text } = yield* ask(app, `GET ${path}`)
        expect([complete, text]).toEqual([false, expect.not.stringContaining("forged")])
        expect((yield* app.exchange(index)).outcome).toEqual({ _tag: "Failed", phase: "responseBody" })
      }
    }))

  it.effect("what the events need is provided where the response is made", () =>
    Effect.gen(function*() {
      class Word extends Context.Service<Word, string>()("test/Word") {}
      const events = Stream.fromEffect(Effect.map(Word, (data) => ({ data })))
      const made = Effect.provideService(EventStream.response(events), Word, "hello")
      const app = yield* App.listen(Route.get("/", made))
      expect((yield* ask(app, "GET /")).text).toBe(":\n\ndata: hello\n\n")
      expect((yield* ask(app, "HEAD /")).get("content-type")).toBe("text/event-stream")
    }))

  it("refuses nonsense", () => {
    const made = (options: EventStream.Options) => refused(() => EventStream.response(Stream.empty, options))
    expect(made({ heartbeat: 0 })).toContain("RangeError: heartbeat must be")
    expect(made({ heartbeat: -1 })).toContain("RangeError: heartbeat must be")
    expect(made({ retry: "Infinity" })).toContain("RangeError: retry must be")
    expect(made({ retry: -1 })).toContain("RangeError: retry must be")
  })
})

describe("EventStream.lastEventId", () => {
  it.effect("what the client saw last, in UTF-8", () =>
    Effect.gen(function*() {
      const said = Effect.map(EventStream.lastEventId, (id) =>
        HttpServerResponse.text(JSON.stringify(Option.getOrNull(id))))
      const app = yield* App.listen(Route.get("/", said))
      const id = (...fields: ReadonlyArray<string>) =>
        Effect.map(ask(app, "GET /", fields), ({ text }) => text)
      expect(yield* id()).toBe("null")
      expect(yield* id("Last-Event-ID: 17")).toBe(`"17"`)
      expect(yield* id(`Last-Event-ID: ${Buffer.from("é:1").toString("latin1")}`)).toBe(`"é:1"`)
      expect(yield* id("Last-Event-ID: ")).toBe("null")
      expect(yield* id("Last-Event-ID: 1", "Last-Event-ID: 2")).toBe("null")
      const client = yield* RawClient.connect(app.port)
      const invalid = Buffer.from("GET / HTTP/1.1\r\nHost: a\r\nLast-Event-ID: \xff\r\n\r\n", "latin1")
      expect((yield* client.request(invalid)).text).toBe("null")
    }))
})
