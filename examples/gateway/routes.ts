/**
 * What the gateway answers and what it proxies. Nothing runs here: main.ts provides the real services, and the `testing`
 * example provides others.
 */
import { Cancellation, Middleware, Problem, Route } from "@sluice/core"
import { AccessLog, Reporting, RequestId, Timeout } from "@sluice/middleware"
import { Proxy, Upstream } from "@sluice/proxy"
import { Context, Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"

/** The upstreams. Where they are is a Layer's business. */
export class Orders extends Upstream.Service<Orders>()("gateway/Orders") {}
export class Stock extends Upstream.Service<Stock>()("gateway/Stock") {}

/** A service of the application, for handlers to ask for. */
export class Prices extends Context.Service<Prices, {
  readonly of: (sku: string) => Effect.Effect<number, UnknownSku | PriceListUnreadable>
}>()("gateway/Prices") {}

/** 404, and the body says which. */
export class UnknownSku extends Problem.TaggedError<UnknownSku>()("UnknownSku", {
  status: 404,
  title: "There is no such article"
}, { sku: Schema.String }) {}

/** 500, and the body says nothing: the cause is for the report. */
export class PriceListUnreadable extends Problem.Opaque<{ readonly cause: unknown }>()("PriceListUnreadable", {
  status: 500
}) {}

/** Around everything, outermost first. */
export const edge = Middleware.stack(
  AccessLog.make({
    format: ({ bytesOut, duration, method, outcome, path, status }) =>
      `${method} ${path} ${status ?? "-"} ${outcome} ${bytesOut} bytes ${Math.round(duration)} ms`
  }),
  Reporting.make(),
  RequestId.make()
)

/** Around each route. It counts until there is a response: event streams and WebSockets go on. */
const api = Timeout.make("1 second")

// RequestId comes from the edge; without `below` these routes would not compile.
const route = Route.below(edge)

const quote = Effect.gen(function*() {
  const { sku = "" } = yield* HttpRouter.params
  const prices = yield* Prices
  return HttpServerResponse.jsonUnsafe({
    sku,
    price: yield* prices.of(sku),
    requestId: yield* RequestId.RequestId
  })
})

const slow = Cancellation.onCancel(
  Effect.as(Effect.sleep("1 minute"), HttpServerResponse.text("nobody waits for this\n")),
  (cancellation) => Effect.log(`/slow was stopped: ${cancellation._tag}`)
)

export const Routes = Layer.mergeAll(
  route.get("/quote/:sku", api, quote),
  route.get("/slow", api, slow),
  route.all("/orders/*", api, Proxy.forward(Orders)),
  route.all("/stock/*", api, Proxy.forward(Stock, { stripPrefix: "/stock" }))
)
