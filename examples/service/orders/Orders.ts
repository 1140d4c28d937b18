import { Context, type Effect, type Stream } from "effect"
import type { DatabaseUnavailable } from "../database/Database.ts"
import type {
  ImpossibleStep,
  NewOrder,
  Order,
  OrderChanged,
  OrderEvent,
  OrderId,
  OrderNotFound,
  Status
} from "../domain/Order.ts"

/** Which states of an order a change is meant for: those with one of these versions, or whatever it is now. */
export type Expected = ReadonlyArray<number> | "any"

/** Where orders are kept. `sqliteOrders.ts` has the one for a database, `memoryOrders.ts` the one for tests. */
export class Orders extends Context.Service<Orders, {
  /** Orders with greater ids than `after`, by id. */
  readonly list: (after: number, limit: number) => Effect.Effect<ReadonlyArray<Order>, DatabaseUnavailable>
  readonly get: (id: OrderId) => Effect.Effect<Order, OrderNotFound | DatabaseUnavailable>
  readonly place: (order: NewOrder, by: string) => Effect.Effect<Order, DatabaseUnavailable>
  readonly advance: (
    id: OrderId,
    to: Status,
    expected: Expected
  ) => Effect.Effect<Order, OrderNotFound | OrderChanged | ImpossibleStep | DatabaseUnavailable>
  /** The id of the newest event; 0 when there is none. */
  readonly newestEvent: Effect.Effect<number, DatabaseUnavailable>
  /** The events after one, and then those that come, each exactly once. */
  readonly eventsAfter: (id: number) => Stream.Stream<OrderEvent, DatabaseUnavailable>
}>()("service/Orders") {}
