import { assert, describe, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as TestClock from "effect/testing/TestClock"
import { createSocket } from "node:dgram"
import * as Metrics from "../src/Metrics.ts"
import * as StatsD from "../src/StatsD.ts"
import { logs, refused, send, settled, start, until } from "./kit.ts"

const own = Effect.provideServiceEffect(Metric.MetricRegistry, Effect.sync(() => new Map()))

/** What an agent reads in a line: the grammar of StatsD with the tags of DogStatsD. */
const grammar = /^([^:|@#\s]+):(-?\d+(?:\.\d+)?)\|(c|g)(?:\|#([^|\s]+))?$/

interface Point {
  readonly name: string
  readonly value: number
  readonly type: string
  readonly tags: Readonly<Record<string, string>>
}

const parse = (line: string): Point => {
  const [, name, value, type, tags = ""] = grammar.exec(line) ?? assert.fail(`no line of StatsD: ${line}`)
  const pairs = tags.split(",").filter((tag) => tag !== "").map((tag): [string, string] => {
    const colon = tag.indexOf(":")
    return [tag.slice(0, colon), tag.slice(colon + 1)]
  })
  return { name, value: Number(value), type, tags: Object.fromEntries(pairs) }
}

/** An agent on a UDP port. */
const agent = Effect.gen(function*() {
  const datagrams: Array<string> = []
  const socket = yield* Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createSocket>>((resume) => {
      const socket = createSocket("udp4")
      socket.on("message", (bytes) => datagrams.push(bytes.toString()))
      socket.bind(0, "127.0.0.1", () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.close())
  )
  const points = () => datagrams.flatMap((datagram) => datagram.split("\n")).map(parse)
  return { port: socket.address().port, datagrams, points }
})

const orders = Metric.counter("orders", { incremental: true })
const stock = Metric.gauge("stock")

describe("StatsD", () => {
  it.effect("sends what was added since the last time, at each interval and at the end", () =>
    own(Effect.gen(function*() {
      const { points, port } = yield* agent
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Layer.build(StatsD.layer({ port, flushInterval: "5 seconds", prefix: "shop", tags: { env: "test" } }))
        yield* Metric.update(Metric.withAttributes(orders, { kind: "a|b, c" }), 3)
        yield* Metric.update(stock, -1.5)
        yield* TestClock.adjust("5 seconds")
        yield* until(() => points().length === 2)
        yield* Metric.update(Metric.withAttributes(orders, { kind: "a|b, c" }), 4)
        yield* TestClock.adjust("5 seconds")
        yield* until(() => points().length === 4)
        yield* TestClock.adjust("5 seconds")
        yield* until(() => points().length === 5)
        yield* Metric.update(Metric.withAttributes(orders, { kind: "a|b, c" }), 1)
      }))
      yield* until(() => points().length === 7)
      const counted = points().filter(({ type }) => type === "c")
      const tags = { env: "test", kind: "a_b__c" }
      assert.deepStrictEqual(counted, [3, 4, 1].map((value) => ({ name: "shop.orders", value, type: "c", tags })))
      assert.deepStrictEqual(points()[1], { name: "shop.stock", value: -1.5, type: "g", tags: { env: "test" } })
    })))

  it.effect("C59 sends the measurements of requests", () =>
    own(Effect.gen(function*() {
      const { points, port } = yield* agent
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Layer.build(StatsD.layer({ port }))
        const route = Route.get("/orders/:id", Effect.succeed(HttpServerResponse.text("hello")))
        const server = yield* start(Server.layer(route, { edge: Metrics.make() }))
        yield* send(server, "/orders/7")
        yield* send(server, "/orders/8")
        yield* settled(server)
      }))
      yield* until(() => points().some(({ name }) => name === "http.server.active_requests"))
      const tags = {
        "http.request.method": "GET",
        "http.route": "/orders/:id",
        "http.response.status_code": "200",
        "url.scheme": "http",
        "network.protocol.version": "1.1"
      }
      const count = { name: "http.server.request.duration.count", value: 2, type: "c", tags }
      yield* until(() => points().some(({ name }) => name === count.name))
      assert.deepInclude(points(), count)
      assert.deepInclude(points(), { ...count, name: "http.server.response.body.size.sum", value: 10 })
      const bucket = { ...count, name: "http.server.response.body.size.bucket", tags: { ...tags, le: "100" } }
      assert.deepInclude(points(), bucket)
    })))

  it.effect("fills datagrams up to their size, and no further", () =>
    own(Effect.gen(function*() {
      const { datagrams, points, port } = yield* agent
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Layer.build(StatsD.layer({ port, maxDatagramSize: 50 }))
        for (let i = 10; i < 30; i++) yield* Metric.update(Metric.gauge(`gauge${i}`), i)
      }))
      yield* until(() => points().length === 20)
      // `gauge10:10|g` is 12 bytes: three with two line ends are 38, four would be 51.
      assert.deepStrictEqual(datagrams.map(({ length }) => length), [38, 38, 38, 38, 38, 38, 25])
    })))

  it.effect("plain StatsD gets attributes in names, and 0 before a negative gauge", () =>
    own(Effect.gen(function*() {
      const { datagrams, port } = yield* agent
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Layer.build(StatsD.layer({ port, format: "statsd" }))
        yield* Metric.update(Metric.withAttributes(orders, { route: "/orders/:id" }), 3)
        yield* Metric.update(stock, -2)
      }))
      yield* until(() => datagrams.length === 1)
      assert.strictEqual(datagrams[0], "orders._orders__id:3|c\nstock:0|g\nstock:-2|g")
    })))

  it.effect("an agent that can't be reached changes nothing, and is logged once", () => {
    const { layer, lines } = logs()
    return own(Effect.gen(function*() {
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Layer.build(StatsD.layer({ host: "nowhere.invalid", flushInterval: "1 second" }))
        yield* Metric.update(stock, 1)
        yield* TestClock.adjust("1 second")
        yield* until(() => lines.length === 1)
        yield* TestClock.adjust("1 second")
      }))
      assert.match(lines.map(({ message }) => message).join(), /^metrics can't be sent to nowhere\.invalid:8125: /)
    })).pipe(Effect.provide(layer))
  })

  it("refuses options that make no sense", () => {
    assert.strictEqual(
      refused(() => StatsD.layer({ port: 65_536 })),
      "RangeError: port must be at most 65535, got 65536"
    )
    assert.strictEqual(
      refused(() => StatsD.layer({ flushInterval: 0 })),
      "RangeError: flushInterval must be a positive duration, got 0"
    )
  })
})
