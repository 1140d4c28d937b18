import { Effect, Option, PubSub, Stream } from "effect"
import type { OrderEvent } from "../domain/Order.ts"

/** Reads at most `limit` events after one, oldest first. */
export type ReadEvents<E> = (after: number, limit: number) => Effect.Effect<ReadonlyArray<OrderEvent>, E>

const pageSize = 100

/**
 * Events come from where they are stored; what is published here only says that there are more. So none is lost between
 * reading and listening, and a slow client holds nothing in memory.
 */
export const makeFeed = Effect.map(PubSub.sliding<void>(1), (changes) => ({
  changed: Effect.asVoid(PubSub.publish(changes, undefined)),
  eventsAfter: <E>(id: number, read: ReadEvents<E>): Stream.Stream<OrderEvent, E> =>
    Stream.unwrap(Effect.map(PubSub.subscribe(changes), (subscription) =>
      Stream.paginate(
        id,
        Effect.fnUntraced(function*(after: number) {
          const events = yield* read(after, pageSize)
          if (events.length === 0) yield* PubSub.take(subscription)
          return [events, Option.some(events.at(-1)?.id ?? after)] as const
        })
      )))
}))
