import { Result } from "effect"
import { ImpossibleStep, type Order, OrderChanged, type Status, steps } from "../domain/Order.ts"
import type { Expected } from "./Orders.ts"

/** What an order becomes, or why it does not. */
export const advance = (
  order: Order,
  to: Status,
  expected: Expected
): Result.Result<Order, OrderChanged | ImpossibleStep> => {
  if (expected !== "any" && !expected.includes(order.version)) {
    return Result.fail(new OrderChanged({ version: order.version }))
  }
  const possible = steps[order.status]
  return possible.includes(to)
    ? Result.succeed({ ...order, status: to, version: order.version + 1 })
    : Result.fail(new ImpossibleStep({ from: order.status, to, possible }))
}
