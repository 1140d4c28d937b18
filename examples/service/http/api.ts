/** The contract's handlers, and the stacks that they are mounted through. */
import { Middleware } from "@sluice/core"
import { ContentType, Etag, IdempotencyKey, RateLimit, Timeout } from "@sluice/middleware"
import { Effect, Layer } from "effect"
import { HttpApiBuilder, HttpApiMiddleware, HttpApiSchema } from "effect/http-api"
import { byToken, byTokenOrSession, type Trust } from "../auth/authenticate.ts"
import { Principal, scoped } from "../auth/Principal.ts"
import { DatabaseUnavailable } from "../database/Database.ts"
import type { Order } from "../domain/Order.ts"
import { Orders } from "../orders/Orders.ts"
import { ChangingApi, PlacingApi, ReadingApi } from "./contract.ts"
import { etagOf, IfMatch, requireIfMatch } from "./IfMatch.ts"

/**
 * The contract says nothing of a database, so its failure leaves past the contract, as a defect: being a problem, it is
 * answered as one all the same (503), and reported with its cause.
 */
const pastContract = <A, E, R>(
  effect: Effect.Effect<A, E | DatabaseUnavailable, R>
): Effect.Effect<A, Exclude<E, DatabaseUnavailable>, R> =>
  effect.pipe(Effect.catch((error): Effect.Effect<never, Exclude<E, DatabaseUnavailable>> =>
    // Sound: what is no `DatabaseUnavailable` is one of the others.
    error instanceof DatabaseUnavailable ? Effect.die(error) : Effect.fail(error as Exclude<E, DatabaseUnavailable>)
  ))

const tagged = (order: Order) => HttpApiSchema.withHeaders({ body: order, headers: { etag: etagOf(order.version) } })

const Reading = HttpApiBuilder.group(ReadingApi, "reading", (handlers) =>
  handlers.handleAll({
    list: ({ query: { after = 0, limit = 20 } }) =>
      Effect.flatMap(Orders, (orders) => pastContract(orders.list(after, limit))),
    get: ({ params }) => Effect.flatMap(Orders, (orders) => Effect.map(pastContract(orders.get(params.id)), tagged))
  }))

const Placing = HttpApiBuilder.group(PlacingApi, "placing", (handlers) =>
  handlers.handle(
    "place",
    Effect.fnUntraced(function*({ payload }) {
      const { sub } = yield* Principal
      const orders = yield* Orders
      const order = yield* pastContract(orders.place(payload, sub))
      const headers = { etag: etagOf(order.version), location: `/orders/${order.id}` }
      return HttpApiSchema.withHeaders({ body: order, headers })
    })
  ))

const Changing = HttpApiBuilder.group(ChangingApi, "changing", (handlers) =>
  handlers.handle(
    "advance",
    Effect.fnUntraced(function*({ params, payload }) {
      const orders = yield* Orders
      return tagged(yield* pastContract(orders.advance(params.id, payload.status, yield* IfMatch)))
    })
  ))

/** How many orders one person places in a minute, wherever: they all count in one. */
export const placingLimit = RateLimit.make({
  name: "orders",
  limit: 30,
  window: "1 minute",
  key: Effect.map(Principal, ({ sub }) => sub)
})

/** An order that is sent twice with the same `Idempotency-Key` is placed once, and answered twice. */
const once = IdempotencyKey.make({ scope: () => Effect.map(Principal, ({ sub }) => sub), required: false })

/** What a request with a field, a parameter or a body that the contract does not allow gets: 400, with what is wrong. */
const Details = HttpApiMiddleware.layerProblemDetails({ includeDetails: true })

/** The three parts of the API, each through its stack. */
export const makeApi = (trust: Trust) => {
  const timeout = Timeout.make("5 seconds")
  const json = ContentType.make(["application/json"])
  const reading = Middleware.stack(timeout, byTokenOrSession(trust), scoped("orders:read"), Etag.make())
  const writing = Middleware.stack(timeout, byToken(trust), scoped("orders:write"), json)
  const placing = Middleware.stack(writing, once, placingLimit)
  const changing = Middleware.stack(writing, requireIfMatch)
  return Layer.mergeAll(
    HttpApiBuilder.layer(ReadingApi).pipe(
      Layer.provide(Reading),
      Layer.provide(Middleware.toRouterMiddleware(reading).layer)
    ),
    HttpApiBuilder.layer(PlacingApi).pipe(
      Layer.provide(Placing),
      Layer.provide(Middleware.toRouterMiddleware(placing).layer)
    ),
    HttpApiBuilder.layer(ChangingApi).pipe(
      Layer.provide(Changing),
      Layer.provide(Middleware.toRouterMiddleware(changing).layer)
    )
  ).pipe(Layer.provide(Details))
}
