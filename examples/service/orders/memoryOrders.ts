import { Effect, Layer, Ref, Result } from "effect"
import { type Order, type OrderEvent, OrderId, OrderNotFound } from "../domain/Order.ts"
import { advance } from "./advance.ts"
import { makeFeed } from "./eventFeed.ts"
import { Orders } from "./Orders.ts"

interface State {
  readonly orders: ReadonlyArray<Order>
  readonly events: ReadonlyArray<OrderEvent>
}

/** Puts an order in its place, which its id says, and notes what has become of it. */
const put = ({ events, orders }: State, order: Order): State => ({
  orders: [...orders.slice(0, order.id - 1), order, ...orders.slice(order.id)],
  events: [...events, { id: events.length + 1, order: order.id, status: order.status }]
})

const find = ({ orders }: State, id: OrderId): Result.Result<Order, OrderNotFound> =>
  Result.fromNullishOr(orders[id - 1], () => new OrderNotFound({ order: id }))

/** Orders that are gone when the program ends: for tests. */
export const layer = Layer.effect(Orders)(Effect.gen(function*() {
  const state = yield* Ref.make<State>({ orders: [], events: [] })
  const feed = yield* makeFeed
  return {
    list: (after, limit) => Effect.map(Ref.get(state), ({ orders }) => orders.slice(after, after + limit)),
    get: (id) => Effect.flatMap(Ref.get(state), (current) => Effect.fromResult(find(current, id))),
    place: (order, placedBy) =>
      Effect.tap(
        Ref.modify(state, (current) => {
          const id = OrderId.make(current.orders.length + 1)
          const placed: Order = { id, ...order, status: "placed", version: 1, placedBy }
          return [placed, put(current, placed)]
        }),
        feed.changed
      ),
    advance: (id, to, expected) =>
      Effect.tap(
        Effect.flatten(Ref.modify(state, (current) => {
          const changed = Result.flatMap(find(current, id), (order) => advance(order, to, expected))
          return [Effect.fromResult(changed), Result.isSuccess(changed) ? put(current, changed.success) : current]
        })),
        feed.changed
      ),
    newestEvent: Effect.map(Ref.get(state), ({ events }) => events.length),
    eventsAfter: (id) =>
      feed.eventsAfter(
        id,
        (after, limit) => Effect.map(Ref.get(state), ({ events }) => events.slice(after, after + limit))
      )
  }
}))
