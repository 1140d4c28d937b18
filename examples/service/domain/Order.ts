import { Problem } from "@sluice/core"
import { Schema } from "effect"

export const OrderId = Schema.Int.check(Schema.isGreaterThan(0)).pipe(Schema.brand("OrderId"))
export type OrderId = typeof OrderId.Type

/** How far an order has come. */
export const Status = Schema.Literals(["placed", "packed", "sent", "cancelled"])
export type Status = typeof Status.Type

/** The steps that an order can take. */
export const steps: { readonly [S in Status]: ReadonlyArray<Status> } = {
  placed: ["packed", "cancelled"],
  packed: ["sent", "cancelled"],
  sent: [],
  cancelled: []
}

export const NewOrder = Schema.Struct({
  sku: Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9-]{0,31}$/)),
  quantity: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100 }))
})
export type NewOrder = typeof NewOrder.Type

export const Order = Schema.Struct({
  id: OrderId,
  ...NewOrder.fields,
  status: Status,
  /** Counts the changes; the entity tag is made of it. */
  version: Schema.Int,
  placedBy: Schema.String
})
export type Order = typeof Order.Type

/** Something that has become of an order. The ids are in the order of events, without gaps that matter. */
export const OrderEvent = Schema.Struct({ id: Schema.Int, order: OrderId, status: Status })
export type OrderEvent = typeof OrderEvent.Type

export class OrderNotFound extends Problem.TaggedError<OrderNotFound>()("OrderNotFound", {
  status: 404,
  title: "There is no such order"
}, { order: OrderId }) {}

export class ImpossibleStep extends Problem.TaggedError<ImpossibleStep>()("ImpossibleStep", {
  status: 409,
  title: "The order can't take this step"
}, { from: Status, to: Status, possible: Schema.Array(Status) }) {}

/** Somebody else has changed the order since the client read it. */
export class OrderChanged extends Problem.TaggedError<OrderChanged>()("OrderChanged", {
  status: 412,
  title: "The order has changed"
}, { version: Schema.Int }) {}
