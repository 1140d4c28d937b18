/**
 * The gateway's routes, tested without a port, a socket or a wait: its upstreams are mocks, its services are the test's, its
 * reports stay in memory, and its clock is `TestClock`.
 */
import { assert, it } from "@effect/vitest"
import * as Gateway from "@sluice-examples/gateway/routes"
import { Cancellation, Fields, Reporter } from "@sluice/core"
import { App } from "@sluice/core/testing"
import { ProxyError, type Upstream } from "@sluice/proxy"
import { Deferred, Effect, Fiber, Layer, Queue, Stream } from "effect"
import { HttpServerResponse } from "effect/http"
import { TestClock } from "effect/testing"

type Mock = (
  request: Upstream.MockRequest
) => Effect.Effect<HttpServerResponse.HttpServerResponse, ProxyError.Uncommitted>

const unexpected: Mock = ({ path }) => Effect.die(new Error(`nobody should ask for ${path}`))

/** All that the gateway needs. A test says what it wants of the upstreams. */
const services = (mocks: { readonly orders?: Mock; readonly stock?: Mock } = {}) =>
  Layer.mergeAll(
    Gateway.Orders.layerMock(mocks.orders ?? unexpected),
    Gateway.Stock.layerMock(mocks.stock ?? unexpected),
    Layer.succeed(Gateway.Prices)({
      of: (sku) =>
        sku === "torn"
          ? Effect.fail(new Gateway.PriceListUnreadable({ cause: new Error("page 3 is torn") }))
          : sku === "silk"
          ? Effect.succeed(100)
          : Effect.fail(new Gateway.UnknownSku({ sku }))
    }),
    Reporter.layerMemory
  )

const gateway = App.make(Gateway.Routes, { edge: Gateway.edge })

const json = (response: Response) => Effect.promise((): Promise<unknown> => response.json())

const reports = Effect.flatMap(Reporter.Memory, (memory) => memory.reports)

it.effect("a handler works with the services of the test", () =>
  Effect.gen(function*() {
    const { fetch } = yield* gateway
    const response = yield* fetch("/quote/silk")
    assert.deepStrictEqual(yield* json(response), {
      sku: "silk",
      price: 100,
      requestId: response.headers.get("x-request-id")
    })
  }).pipe(Effect.provide(services())))

it.effect("a typed error is a 404, and not reported", () =>
  Effect.gen(function*() {
    const { exchange, fetch } = yield* gateway
    const response = yield* fetch("/quote/velvet")
    assert.strictEqual(response.status, 404)
    assert.deepInclude(yield* json(response), { sku: "velvet" })
    assert.strictEqual((yield* exchange(0)).route, "/quote/:sku")
    assert.deepStrictEqual(yield* reports, [])
  }).pipe(Effect.provide(services())))

it.effect("a failure is a 500 without details, and reported with its cause", () =>
  Effect.gen(function*() {
    const { exchange, fetch } = yield* gateway
    const response = yield* fetch("/quote/torn")
    assert.strictEqual(response.status, 500)
    assert.notInclude(JSON.stringify(yield* json(response)), "torn")
    yield* exchange(0)
    const [report] = yield* reports
    assert.deepInclude(report, { status: 500, route: "/quote/:sku" })
    assert.strictEqual(report.requestId, response.headers.get("x-request-id") ?? "")
    assert.deepInclude(report.error, { cause: new Error("page 3 is torn") })
  }).pipe(Effect.provide(services())))

it.effect("a mocked upstream sees what a real one would", () =>
  Effect.gen(function*() {
    const asked = yield* Queue.unbounded<Upstream.MockRequest>()
    const stock: Mock = (request) => Effect.as(Queue.offer(asked, request), HttpServerResponse.text("12 left"))
    const { fetch, text } = yield* Effect.provide(gateway, services({ stock }))

    assert.strictEqual(yield* text("/stock/tea?in=Leeds"), "12 left")
    const get = yield* Queue.take(asked)
    assert.deepInclude(get, { method: "GET", path: "/tea", query: "?in=Leeds" })
    assert.strictEqual(Fields.get(get.fields, "via"), "1.1 sluice")

    const response = yield* fetch("/stock/tea", {
      method: "POST",
      body: "more",
      headers: { "x-request-id": "forged", connection: "x-request-id" }
    })
    const post = yield* Queue.take(asked)
    assert.strictEqual(yield* post.text, "more")
    assert.notStrictEqual(post.headers["x-request-id"], "forged")
    assert.strictEqual(post.headers["x-request-id"], response.headers.get("x-request-id") ?? "")
  }))

it.effect("an upstream that is down is a 502, and reported", () =>
  Effect.gen(function*() {
    const { exchange, fetch } = yield* gateway
    const response = yield* fetch("/stock/tea")
    assert.strictEqual(response.status, 502)
    assert.strictEqual(response.headers.get("proxy-status"), "sluice; error=connection_refused")
    assert.deepStrictEqual((yield* exchange(0)).outcome, { _tag: "Failed", phase: "handler" })
    const [{ error }] = yield* reports
    assert.instanceOf(error, ProxyError.UpstreamConnectError)
  }).pipe(
    Effect.provide(
      services({ stock: () => Effect.fail(new ProxyError.UpstreamConnectError({ code: "ECONNREFUSED" })) })
    )
  ))

it.effect("a handler is stopped after a second, and not before", () =>
  Effect.gen(function*() {
    const { exchange, fetch } = yield* gateway
    const response = yield* Effect.forkChild(fetch("/slow"), { startImmediately: true })
    yield* TestClock.adjust("999 millis")
    assert.isUndefined(response.pollUnsafe())
    yield* TestClock.adjust("1 millis")
    assert.strictEqual((yield* Fiber.join(response)).status, 503)
    assert.deepInclude(yield* exchange(0), { outcome: { _tag: "TimedOut", clock: "handler" }, duration: 1000 })
  }).pipe(Effect.provide(services())))

it.effect("an upstream that hangs is given up after the same second, and told so", () =>
  Effect.gen(function*() {
    const told = yield* Deferred.make<Cancellation.Cancellation>()
    const orders: Mock = () =>
      Cancellation.onCancel(Effect.never, (cancellation) => Deferred.succeed(told, cancellation))
    const { fetch } = yield* Effect.provide(gateway, services({ orders }))
    const response = yield* Effect.forkChild(fetch("/orders/1"), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    assert.strictEqual((yield* Fiber.join(response)).status, 503)
    assert.deepInclude(yield* Deferred.await(told), { _tag: "DeadlineExceeded", clock: "handler" })
  }))

it.effect("a client that leaves stops the call to the upstream", () =>
  Effect.gen(function*() {
    const told = yield* Deferred.make<Cancellation.Cancellation>()
    const orders: Mock = () =>
      Cancellation.onCancel(Effect.never, (cancellation) => Deferred.succeed(told, cancellation))
    const { exchange, fetch } = yield* Effect.provide(gateway, services({ orders }))
    const client = yield* Effect.forkChild(fetch("/orders/1"), { startImmediately: true })
    yield* Fiber.interrupt(client)
    assert.deepStrictEqual(yield* Deferred.await(told), Cancellation.clientAborted)
    assert.strictEqual((yield* exchange(0)).outcome._tag, "ClientAborted")
  }))

it.effect("an event stream goes on for as long as it likes", () =>
  Effect.gen(function*() {
    const hours = Stream.tick("1 hour").pipe(Stream.take(3), Stream.map(() => "data: another hour\n\n"))
    const orders: Mock = () =>
      Effect.succeed(HttpServerResponse.stream(Stream.encodeText(hours), { contentType: "text/event-stream" }))
    const { text } = yield* Effect.provide(gateway, services({ orders }))
    const body = yield* Effect.forkChild(text("/orders/events"), { startImmediately: true })
    yield* TestClock.adjust("3 hours")
    assert.strictEqual(yield* Fiber.join(body), "data: another hour\n\n".repeat(3))
  }))
