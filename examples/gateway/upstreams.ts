/** Two services that the gateway proxies to, each on a port of its own. */
import { NodeServer, Route, Server } from "@sluice/core"
import { Context, Effect, Layer, Ref, Schedule, ScopedRef, Stream } from "effect"
import { Sse } from "effect/encoding"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import type * as Scope from "effect/Scope"
import type { Socket } from "effect/socket"

const json = HttpServerResponse.jsonUnsafe

const OrderRoutes = Layer.unwrap(Effect.gen(function*() {
  const orders = yield* Ref.make(["coffee"])

  const one = Effect.gen(function*() {
    const { id } = yield* HttpRouter.params
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const sku = (yield* Ref.get(orders))[Number(id) - 1]
    if (sku === undefined) return json({ error: `there is no order ${id}` }, { status: 404 })
    return json({ id: Number(id), sku, requestId: headers["x-request-id"] })
  })

  const order = Effect.gen(function*() {
    const { text } = yield* HttpServerRequest.HttpServerRequest
    const sku = yield* text
    const id = yield* Ref.modify(orders, (all) => [all.length + 1, [...all, sku]])
    return json({ id, sku }, { status: 201, headers: { location: `/orders/${id}` } })
  })

  const events = Stream.fromIterable(["received", "packed", "sent"]).pipe(
    Stream.schedule(Schedule.spaced("300 millis")),
    Stream.map((data, index) => Sse.encoder.write({ _tag: "Event", event: "order", id: String(index + 1), data })),
    Stream.encodeText
  )

  return Layer.mergeAll(
    Route.get("/orders/:id", one),
    Route.post("/orders", order),
    Route.get("/orders/events", Effect.succeed(HttpServerResponse.stream(events, { contentType: "text/event-stream" })))
  )
}))

const stock = new Map([["tea", 12], ["coffee", 3]])

const left = Effect.gen(function*() {
  const { sku = "" } = yield* HttpRouter.params
  return json({ sku, left: stock.get(sku) ?? 0 })
})

/** A WebSocket: says what there is, then answers each name with how much of it is left. */
const live = Effect.gen(function*() {
  const request = yield* HttpServerRequest.HttpServerRequest
  yield* Effect.ignore(talk(yield* request.upgrade)) // it fails when the client goes
  return HttpServerResponse.empty()
})

const talk = Effect.fnUntraced(function*(socket: Socket.Socket) {
  const { pull } = yield* socket.reader
  const { write } = yield* socket.writer
  for (const [sku, left] of stock) yield* write(`${sku}: ${left}`)
  while (true) {
    for (const message of yield* pull) {
      const sku = String(message)
      yield* write(`${sku}: ${stock.get(sku) ?? 0}`)
    }
  }
})

const StockRoutes = Layer.mergeAll(Route.get("/live", live), Route.get("/:sku", left))

/** A service that can be stopped and started again on the same port. */
export interface Running {
  readonly url: string
  readonly stop: Effect.Effect<void>
  readonly start: Effect.Effect<void>
}

const run = (routes: typeof StockRoutes): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.gen(function*() {
    const serve = (port: number) =>
      Layer.build(
        Server.layer(routes, { drain: { deadline: "1 second" } }).pipe(Layer.provide(NodeServer.layer({ port })))
      ).pipe(Effect.orDie, Effect.map(Context.get(Server.Server)))
    const server = yield* ScopedRef.fromAcquire<Server.Server["Service"] | undefined, never, Scope.Scope>(serve(0))
    const { port, url } = ScopedRef.getUnsafe(server)!
    return {
      url,
      stop: ScopedRef.set(server, Effect.succeed(undefined)),
      start: Effect.flatMap(
        ScopedRef.get(server),
        (running) => running === undefined ? ScopedRef.set(server, serve(port)) : Effect.void
      )
    }
  })

export class Upstreams extends Context.Service<Upstreams, {
  readonly orders: Running
  readonly stock: Running
}>()("gateway/Upstreams") {
  static readonly layer = Layer.effect(Upstreams)(Effect.gen(function*() {
    return { orders: yield* run(OrderRoutes), stock: yield* run(StockRoutes) }
  }))
}
