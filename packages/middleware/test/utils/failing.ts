/** A service that fails, and reports it to a sink: what each tracker is sent is the same trouble. */
import { assert } from "@effect/vitest"
import * as Exchange from "@sluice/core/Exchange"
import * as Incident from "@sluice/core/Incident"
import * as Middleware from "@sluice/core/Middleware"
import * as Reporter from "@sluice/core/Reporter"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Reporting from "../../src/Reporting.ts"
import * as RequestId from "../../src/RequestId.ts"
import * as Tracing from "../../src/Tracing.ts"
import { logs, send, settled, start } from "../kit.ts"
import { collector } from "./collector.ts"

export const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"

const failing = Effect.gen(function*() {
  const incident = yield* Incident.Incident
  yield* incident.note({ sku: "a-1", breadcrumbs: ["cart opened", { message: "paid", time: 1000, category: "card" }] })
  yield* Exchange.annotate("user", { id: 7, email: "ada@shop.test", name: "Ada", password: "hidden" })
  const root = new TypeError("no such host")
  const middle = new Error("the database is away", { cause: root })
  // An error that is its own cause must not keep an SDK busy for ever.
  root.cause = middle
  return yield* Effect.die(new RangeError("order 7 is gone", { cause: middle }))
})

/** Sends one request to a service that fails; gives back its answer. */
export const failOnce = Effect.gen(function*() {
  const edge = Middleware.stack(Reporting.make(), Tracing.make(), RequestId.make())
  const server = yield* start(Server.layer(Route.below(edge).get("/orders/:id", failing), { edge }))
  const reply = yield* send(server, "/orders/7?token=secret", {
    headers: {
      authorization: "Bearer secret",
      traceparent: `00-${traceId}-00f067aa0ba902b7-01`,
      "x-request-id": "abc-1"
    }
  })
  yield* settled(server)
  assert.strictEqual(reply.status, 500)
}).pipe(Effect.provide([Tracing.layer, TrustedPeers.layer(TrustedPeers.networks(["loopback"]))]))

const lost = (reason: Reporter.DropReason) => Effect.map(Metric.value(Reporter.dropped(reason)), ({ count }) => count)

/**
 * A tracker that answers 500, one that never answers and one that is not there: the response is the same, the scope closes
 * in time, and what did not arrive is counted.
 */
export const survives = (live: (url: string, policy: Reporter.Policy) => Layer.Layer<Reporter.Reporter>) =>
  Effect.gen(function*() {
    const refusing = yield* collector((response) => response.writeHead(500).end())
    const silent = yield* collector(() => {})
    const gone = yield* Effect.scoped(collector())
    const policy: Reporter.Policy = { flushTimeout: "300 millis", sinkTimeout: "200 millis" }
    for (const { url } of [refusing, silent, gone]) {
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.provide(failOnce, yield* Layer.build(live(url, policy)))
      }))
    }
    assert.strictEqual((yield* lost("sink")) + (yield* lost("deadline")), 3)
    assert.isAbove(refusing.received.length, 0)
    assert.isAbove(silent.received.length, 0)
  }).pipe(
    Effect.scoped,
    Effect.provideServiceEffect(Metric.MetricRegistry, Effect.sync(() => new Map())),
    Effect.provide(logs().layer)
  )

/** What listens to the process and to promises: an SDK that was told not to must add nothing. */
export const handlers = (): Record<string, number> =>
  Object.fromEntries(
    ["uncaughtException", "unhandledRejection", "uncaughtExceptionMonitor", "SIGTERM", "exit"].map((name) => [
      name,
      process.listenerCount(name)
    ])
  )
