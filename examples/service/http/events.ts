/** Order events as they come, for `EventSource` (https://html.spec.whatwg.org/#server-sent-events). */
import { EventStream } from "@sluice/middleware"
import { Effect, Option, Stream } from "effect"
import type { OrderEvent } from "../domain/Order.ts"
import { Orders } from "../orders/Orders.ts"

const encode = ({ id, order, status }: OrderEvent): EventStream.Event => ({
  event: "order",
  id: String(id),
  data: JSON.stringify({ order, status })
})

/** A client that comes back says what it saw last, and gets what it missed. */
export const events = Effect.gen(function*() {
  const orders = yield* Orders
  const last = Option.filter(yield* EventStream.lastEventId, (id) => /^\d{1,15}$/.test(id))
  const seen = Option.isSome(last) ? Number(last.value) : yield* orders.newestEvent
  return yield* EventStream.response(Stream.map(orders.eventsAfter(seen), encode), { retry: "500 millis" })
})
