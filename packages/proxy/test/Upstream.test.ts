import { assert, describe, it } from "@effect/vitest"
import * as Fields from "@sluice/core/Fields"
import * as Route from "@sluice/core/Route"
import { App, RawClient, RawServer } from "@sluice/core/testing"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { once } from "node:events"
import { PassThrough } from "node:stream"
import * as Proxy from "../src/Proxy.ts"
import * as ProxyError from "../src/ProxyError.ts"
import * as Transport from "../src/Transport.ts"
import type * as Upstream from "../src/Upstream.ts"
import { both, get, ok, Origin, proxied } from "./utils/proxied.ts"

const routes = Route.all("/api/*", Proxy.forward(Origin, { stripPrefix: "/api" }))

const nextTurn = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

/** An app in process whose upstream is the layer. */
const app = Effect.fnUntraced(function*(layer: Layer.Layer<Origin>) {
  return yield* Effect.provideContext(App.make(routes), yield* Layer.build(layer))
})

describe("Upstream.layerMock", () => {
  it.effect("answers in process, and sees what an upstream would see", () =>
    Effect.gen(function*() {
      const mock = Origin.layerMock((request) =>
        Effect.map(request.text, (text) =>
          HttpServerResponse.jsonUnsafe({
            line: `${request.method} ${request.path}${request.query}`,
            text,
            header: request.headers["x-a"],
            via: Fields.getAll(request.fields, "Via")
          }, { status: 201, headers: { "x-mock": "1" } }))
      )
      const { fetch } = yield* app(mock)
      const response = yield* fetch("/api/a%2Fb?c=%zz", { method: "POST", body: "hello", headers: { "x-a": "1" } })
      assert.strictEqual(response.status, 201)
      assert.strictEqual(response.headers.get("x-mock"), "1")
      assert.deepStrictEqual(yield* Effect.promise(() => response.json()), {
        line: "POST /a%2Fb?c=%zz",
        text: "hello",
        header: "1",
        via: ["1.1 sluice"]
      })
    }))

  it.effect("may fail as an upstream fails", () =>
    Effect.gen(function*() {
      const { exchange, fetch } = yield* app(
        Origin.layerMock(() => Effect.fail(new ProxyError.UpstreamConnectTimeout()))
      )
      const response = yield* fetch("/api/")
      assert.strictEqual(response.status, 504)
      assert.strictEqual(response.headers.get("proxy-status"), "sluice; error=connection_timeout")
      assert.include(String((yield* exchange(0)).cause), "UpstreamConnectTimeout")
    }))

  it.effect("streams on the test clock", () =>
    Effect.gen(function*() {
      const parts = Stream.make("one ", "two").pipe(
        Stream.mapEffect((part) => Effect.delay(Effect.succeed(new TextEncoder().encode(part)), "1 minute"))
      )
      const { text } = yield* app(Origin.layerMock(() => Effect.succeed(HttpServerResponse.stream(parts))))
      const minutes = Effect.forever(Effect.andThen(nextTurn, TestClock.adjust("1 minute")))
      assert.strictEqual(yield* Effect.raceFirst(text("/api/"), minutes), "one two")
    }))

  it.effect("is interrupted when the client leaves", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const mock = Origin.layerMock(() =>
        Effect.onInterrupt(
          Effect.andThen(Deferred.succeed(asked, undefined), Effect.never),
          () => Deferred.succeed(interrupted, undefined)
        )
      )
      const services = yield* Layer.build(mock)
      const listening = yield* Effect.provideContext(App.listen(routes), services)
      const client = yield* RawClient.connect(listening.port)
      yield* client.send(get("/api/"))
      yield* Deferred.await(asked)
      yield* client.reset
      yield* Deferred.await(interrupted)
    }))
})

describe("Upstream.layerTransport", () => {
  it.effect("a transport that never answers is interrupted, and its scope closed, when the client leaves", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const log: Array<string> = []
      const closed = yield* Deferred.make<void>()
      const silent = Layer.succeed(Transport.Transport)({
        exchange: () =>
          Effect.gen(function*() {
            yield* Effect.addFinalizer(() => {
              log.push("scope closed")
              return Deferred.succeed(closed, undefined)
            })
            yield* Deferred.succeed(asked, undefined)
            return yield* Effect.onInterrupt(Effect.never, () => Effect.sync(() => log.push("interrupted")))
          })
      })
      const origin = Origin.layerTransport({ targets: ["http://origin.test"] }).pipe(Layer.provide(silent))
      const listening = yield* Effect.provideContext(App.listen(routes), yield* Layer.build(origin))
      const client = yield* RawClient.connect(listening.port)
      yield* client.send(get("/api/"))
      yield* Deferred.await(asked)
      yield* client.reset
      yield* Deferred.await(closed)
      assert.deepStrictEqual(log, ["interrupted", "scope closed"])
      assert.deepStrictEqual((yield* listening.exchange(0)).outcome, { _tag: "ClientAborted", phase: "handler" })
    }))

  /** Answers in its caller's own turn, and without a fiber. */
  const immediate = (answer: (consumer: Transport.ResponseConsumer<ProxyError.TransportError>) => void) => {
    const aborted: Array<number> = []
    let started = 0
    const transport = Layer.succeed(Transport.Transport)({
      exchange: () => Effect.die("is not used"),
      start: (_, __, ___, consumer) => {
        const number = started++
        answer(consumer)
        return { abort: () => void aborted.push(number) }
      }
    })
    const ask = Effect.fnUntraced(function*(...targets: ReadonlyArray<string>) {
      const origin = Layer.provide(Origin.layerTransport({ targets }), transport)
      const { port } = yield* Effect.provideContext(App.listen(routes), yield* Layer.build(origin))
      const client = yield* RawClient.connect(port)
      return yield* client.request(get("/api/"))
    })
    return { aborted, ask }
  }

  const whole = (text: string): Transport.UpstreamResponse => ({
    status: 200,
    reason: "OK",
    httpVersion: "1.1",
    fields: ["Content-Length", String(text.length)],
    body: {
      length: text.length,
      consume: (consumer) => {
        consumer.onData(new TextEncoder().encode(text), () => {})
        consumer.onEnd([])
        return { resume: () => {}, cancel: () => {} }
      }
    }
  })

  it.effect("a transport that is driven by callbacks may call back at once", () =>
    Effect.gen(function*() {
      const { aborted, ask } = immediate((consumer) => consumer.onResponse(whole("at once")))
      assert.strictEqual((yield* ask("http://one.test")).text, "at once")
      assert.deepStrictEqual(aborted, [])
    }))

  it.effect("of a transport that is driven by callbacks the next target is asked when the first can't be reached", () =>
    Effect.gen(function*() {
      const error = new ProxyError.UpstreamConnectError({ upstream: "http://one.test", code: "ECONNREFUSED" })
      let calls = 0
      const { ask } = immediate((consumer) =>
        calls++ === 0 ? consumer.onFailure(error) : consumer.onResponse(whole("the second"))
      )
      assert.strictEqual((yield* ask("http://one.test", "http://two.test")).text, "the second")
      assert.strictEqual(calls, 2)
    }))

  it.effect("a transport that switches although nobody has asked is given up", () =>
    Effect.gen(function*() {
      const { aborted, ask } = immediate((consumer) =>
        consumer.onResponse({ ...whole(""), status: 101, tunnel: new PassThrough() })
      )
      assert.strictEqual((yield* ask("http://one.test")).status, 502)
      assert.deepStrictEqual(aborted, [0])
    }))

  it.effect("gives a transport of one's own everything that is sent", () =>
    Effect.gen(function*() {
      const sent: Array<readonly [Transport.Endpoint, Transport.OutgoingRequest]> = []
      const recording = Layer.succeed(Transport.Transport)({
        exchange: (endpoint, request) =>
          Effect.sync(() => {
            sent.push([endpoint, request])
            return {
              status: 200,
              reason: "OK",
              httpVersion: "1.1" as const,
              fields: ["X-A", "1"],
              body: {
                length: undefined,
                consume: (consumer: Transport.BodyConsumer) => {
                  consumer.onData(new TextEncoder().encode("recorded"), () => {})
                  consumer.onEnd([])
                  return { resume: () => {}, cancel: () => {} }
                }
              }
            }
          })
      })
      const origin = Origin.layerTransport({
        targets: ["http://one.test:81/base", "https://[::1]"],
        clocks: { connect: "1 second", responseHead: "2 seconds", bodyIdle: "3 seconds" },
        tls: { servername: "x" }
      }).pipe(Layer.provide(recording))
      const { text } = yield* app(origin)
      assert.strictEqual(yield* text("/api/a?b"), "recorded")
      assert.strictEqual(yield* text("/api/c"), "recorded")
      const [[first, one], [second, two]] = sent
      assert.deepStrictEqual(first, { protocol: "http:", hostname: "one.test", port: 81 })
      assert.deepStrictEqual(second, { protocol: "https:", hostname: "::1", port: 443, tls: { servername: "x" } })
      assert.strictEqual(one.target, "/base/a?b")
      assert.deepStrictEqual(one.fields.slice(0, 2), ["Host", "one.test:81"])
      assert.strictEqual(one.body._tag, "Empty")
      assert.deepInclude(one.clocks, { connect: 1000, responseHead: 2000, bodyIdle: 3000, tls: 5000, continue: 1000 })
      assert.strictEqual(two.target, "/c")
      assert.deepStrictEqual(two.fields.slice(0, 2), ["Host", "[::1]"])
    }))

  both("B169 a TLS handshake that does not come to its end is a 504", (path) =>
    Effect.gen(function*() {
      const silent = yield* RawServer.make(() => Effect.void)
      const target = silent.url.replace("http:", "https:")
      const { app, client } = yield* proxied(path, { target, upstream: { clocks: { tls: "4 seconds" } } })
      yield* client.send(get("/"))
      const connection = yield* silent.nextConnection
      yield* connection.read(/./s)
      yield* TestClock.adjust("4 seconds")
      const got = yield* client.response()
      assert.strictEqual(got.status, 504)
      assert.propertyVal(Cause.squash((yield* app.exchange(0)).cause!), "_tag", "UpstreamTlsTimeout")
    }))

  it.effect("several targets are taken in turn", () =>
    Effect.gen(function*() {
      const one = yield* RawServer.make(RawServer.answering(ok))
      const two = yield* RawServer.make(RawServer.answering(ok.replace("\r\n\r\nok", "\r\n\r\n22")))
      const { text } = yield* app(Origin.layer({ targets: [one.url, two.url] }))
      assert.deepStrictEqual([yield* text("/api/"), yield* text("/api/"), yield* text("/api/")], ["ok", "22", "ok"])
    }))
})

describe("Upstream.layer", () => {
  /** Where nobody listens. */
  const refusing = Effect.scoped(Effect.map(RawServer.make(() => Effect.void), ({ url }) => url))

  /** A body that can be sent but once. */
  const stream = () =>
    new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode("all "))
        controller.enqueue(new TextEncoder().encode("of it"))
        controller.close()
      }
    })

  for (const method of ["GET", "POST", "DELETE", "PATCH"]) {
    it.effect(`B236 a target that refuses connections is passed over: ${method}, with its body`, () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const up = yield* RawServer.make(({ nextRequest, send }) =>
          nextRequest.pipe(
            Effect.tap((request) => Effect.sync(() => seen.push(`${request.method} ${request.text}`))),
            Effect.andThen(send(ok)),
            Effect.forever
          )
        )
        const { fetch } = yield* app(Origin.layer({ targets: [yield* refusing, yield* refusing, up.url] }))
        for (let i = 0; i < 3; i++) {
          const body = method === "GET" ? undefined : { body: stream(), duplex: "half" as const }
          assert.strictEqual((yield* fetch("/api/x", { method, ...body })).status, 200)
        }
        assert.deepStrictEqual(seen, Array(3).fill(`${method} ${method === "GET" ? "" : "all of it"}`))
      }))
  }

  it.effect("B177 a target that lets the clock of an attempt run out is passed over", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const silent = yield* RawServer.make(({ socket }) =>
        Effect.andThen(
          Effect.promise(() => once(socket, "data")),
          Effect.andThen(Deferred.succeed(asked, undefined), Effect.never)
        )
      )
      const up = yield* RawServer.make(RawServer.answering(ok))
      const targets = [silent.url.replace("http:", "https:"), up.url]
      const { fetch } = yield* app(Origin.layer({ targets, clocks: { tls: "2 seconds" } }))
      const reply = yield* Effect.forkChild(fetch("/api/"))
      yield* Deferred.await(asked)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(reply)).status, 200)
    }))

  it.effect("B236 when none can be reached, the last error is the answer", () =>
    Effect.gen(function*() {
      const targets = [yield* refusing, yield* refusing]
      const { exchange, fetch } = yield* app(Origin.layer({ targets }))
      assert.strictEqual((yield* fetch("/api/")).status, 502)
      const error = Cause.squash((yield* exchange(0)).cause!)
      assert.deepInclude(error, { _tag: "UpstreamConnectError", upstream: targets[1] })
    }))

  it.effect("B236 a target that has got the request is not passed over", () =>
    Effect.gen(function*() {
      const dying = yield* RawServer.make((connection) => Effect.andThen(connection.nextRequest, connection.reset))
      const up = yield* RawServer.make(RawServer.answering(ok))
      const { exchange, fetch } = yield* app(Origin.layer({ targets: [dying.url, up.url] }))
      assert.strictEqual((yield* fetch("/api/")).status, 502)
      const error = Cause.squash((yield* exchange(0)).cause!)
      assert.deepInclude(error, { _tag: "UpstreamClosedBeforeResponse", upstream: dying.url })
    }))

  both("B165 a name without an address is a 502 that does not tell the name", (path) =>
    Effect.gen(function*() {
      const name = `${"orders-".repeat(10)}.invalid`
      const { app, client } = yield* proxied(path, { target: `http://${name}` })
      yield* client.send(get("/"))
      const got = yield* client.response()
      assert.strictEqual(got.status, 502)
      assert.match(got.get("proxy-status") ?? "", /^sluice; error=dns_(error|timeout)$/)
      assert.notInclude([...got.fields, got.text].join(), "orders")
      assert.propertyVal(Cause.squash((yield* app.exchange(0)).cause!), "_tag", "UpstreamResolveError")
    }))

  both(
    "B170 B249 more requests than connections and places in line are a 503, as are those that wait too long",
    (path) =>
      Effect.gen(function*() {
        const { app, client, connect, origin } = yield* proxied(path, {
          upstream: { http1: { maxConnectionsPerEndpoint: 1, maxQueued: 1 }, clocks: { queue: "3 seconds" } }
        })
        yield* client.send(get("/a"))
        const connection = yield* origin
        yield* connection.nextRequest
        const [second, third] = [yield* connect, yield* connect]
        yield* second.send(get("/b"))
        yield* third.send(get("/c"))
        const refused = yield* Effect.raceFirst(
          Effect.as(second.read("HTTP/1.1 503"), second),
          Effect.as(third.read("HTTP/1.1 503"), third)
        )
        assert.propertyVal(Cause.squash((yield* app.exchange(0)).cause!), "_tag", "UpstreamSaturated")
        assert.strictEqual((yield* app.exchange(0)).outcome._tag, "Shed")
        yield* TestClock.adjust("3 seconds")
        yield* (refused === second ? third : second).read("HTTP/1.1 503")
        assert.propertyVal(Cause.squash((yield* app.exchange(1)).cause!), "_tag", "QueueTimeout")
        yield* connection.send(ok)
        assert.strictEqual((yield* client.response()).status, 200)
      })
  )

  both("B158 a client that leaves while it waits for a connection takes none", (path) =>
    Effect.gen(function*() {
      const { app, client, connect, origin } = yield* proxied(path, {
        upstream: { http1: { maxConnectionsPerEndpoint: 1 } }
      })
      yield* client.send(get("/a"))
      const connection = yield* origin
      yield* connection.nextRequest
      const leaving = yield* connect
      yield* leaving.send(get("/b"))
      yield* Effect.repeat(Effect.andThen(nextTurn, app.active), { until: (active) => active === 2 })
      yield* leaving.reset
      assert.strictEqual((yield* app.exchange(0)).outcome._tag, "ClientAborted")
      const last = yield* connect
      yield* last.send(get("/c"))
      yield* connection.send(ok)
      assert.strictEqual((yield* connection.nextRequest).target, "/c")
      yield* connection.send(ok)
      assert.strictEqual((yield* last.response()).status, 200)
      assert.strictEqual((yield* client.response()).status, 200)
    }))
})

describe("Upstream options", () => {
  const refused: ReadonlyArray<readonly [Upstream.LayerOptions, RegExp]> = [
    [{ targets: [] }, /targets must name at least one/],
    [{ targets: ["ftp://x"] }, /http: or https:/],
    [{ targets: ["http://user@x"] }, /user information/],
    [{ targets: ["nonsense"] }, /Invalid URL/],
    [{ targets: ["http://x"], clocks: { connect: 0 } }, /clocks\.connect must be a positive duration/],
    [{ targets: ["http://x"], clocks: { responseHead: "-1 seconds" } }, /clocks\.responseHead/],
    [{ targets: ["http://x"], clocks: { bodyIdle: 0 } }, /clocks\.bodyIdle/],
    [{ targets: ["http://x"], clocks: { queue: 0 } }, /clocks\.queue/],
    [{ targets: ["http://x"], http1: { maxConnectionsPerEndpoint: 0 } }, /maxConnectionsPerEndpoint/]
  ]
  for (const [options, message] of refused) {
    it(`refuses ${JSON.stringify(options)}`, () => {
      assert.throws(() => Origin.layer(options), message)
    })
  }

  it("nonsense of a proxy is refused when it is made", () => {
    assert.throws(() => Proxy.forward(Origin, { clocks: { total: 0 } }), /clocks.total must be a positive duration/)
    assert.throws(() => Proxy.forward(Origin, { maxRequestBody: -1 }), /maxRequestBody must be a whole number of bytes/)
    assert.throws(() => Proxy.forward(Origin, { maxRequestBody: 1.5 }), /maxRequestBody/)
  })
})
