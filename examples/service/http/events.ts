/** Order events as they come, for `EventSource` (https://html.spec.whatwg.org/#server-sent-events). */
import { Effect, Stream } from "effect"
import { Sse } from "effect/encoding"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import type { OrderEvent } from "../domain/Order.ts"
import { Orders } from "../orders/Orders.ts"

const encode = ({ id, order, status }: OrderEvent): string =>
  Sse.encoder.write({ _tag: "Event", event: "order", id: String(id), data: JSON.stringify({ order, status }) })

/** How long a client waits before it comes back, in milliseconds. */
const retry = "retry: 500\n\n"

/** Keeps what stands in between from taking the connection for dead. */
const heartbeats = Stream.drop(Stream.tick("15 seconds"), 1).pipe(Stream.map(() => ": nothing new\n\n"))

/** A client that comes back says what it saw last, and gets what it missed. */
export const events = Effect.gen(function*() {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const orders = yield* Orders
  const last = headers["last-event-id"] ?? ""
  const seen = /^\d{1,15}$/.test(last) ? Number(last) : yield* orders.newestEvent
  const stream = Stream.succeed(retry).pipe(
    Stream.concat(Stream.merge(Stream.map(orders.eventsAfter(seen), encode), heartbeats)),
    Stream.encodeText
  )
  return HttpServerResponse.stream(stream, {
    contentType: "text/event-stream",
    headers: { "cache-control": "no-store" }
  })
})
