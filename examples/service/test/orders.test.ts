/** What orders do, wherever they are kept. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import * as Database from "../database/Database.ts"
import { OrderId } from "../domain/Order.ts"
import * as MemoryOrders from "../orders/memoryOrders.ts"
import { Orders } from "../orders/Orders.ts"
import * as SqliteOrders from "../orders/sqliteOrders.ts"
import { tea } from "./kit.ts"

const implementations = {
  memory: MemoryOrders.layer,
  SQLite: SqliteOrders.layer.pipe(Layer.provide(Database.layer(":memory:")))
}

for (const [name, layer] of Object.entries(implementations)) {
  describe(`orders in ${name}`, () => {
    it.effect("a change is for the versions that it names, and takes only a step that there is", () =>
      Effect.gen(function*() {
        const orders = yield* Orders
        const placed = yield* orders.place(tea, "ann")
        const packed = yield* orders.advance(placed.id, "packed", [placed.version])
        assert.deepStrictEqual(packed, { ...placed, status: "packed", version: 2 })
        const late = yield* Effect.flip(orders.advance(placed.id, "cancelled", [placed.version]))
        assert.deepInclude(late, { _tag: "OrderChanged", version: 2 })
        const back = yield* Effect.flip(orders.advance(placed.id, "placed", "any"))
        assert.deepInclude(back, { _tag: "ImpossibleStep", possible: ["sent", "cancelled"] })
        assert.deepStrictEqual(yield* orders.get(placed.id), packed)
        const missing = yield* Effect.flip(orders.advance(OrderId.make(9), "sent", "any"))
        assert.strictEqual(missing._tag, "OrderNotFound")
      }).pipe(Effect.provide(layer)))

    it.effect("a page of the list begins after an order", () =>
      Effect.gen(function*() {
        const orders = yield* Orders
        for (let n = 0; n < 5; n++) yield* orders.place(tea, "ann")
        assert.deepStrictEqual((yield* orders.list(2, 2)).map(({ id }) => Number(id)), [3, 4])
      }).pipe(Effect.provide(layer)))

    it.effect("events are those that were missed and then those that come, each once and in order", () =>
      Effect.gen(function*() {
        const orders = yield* Orders
        // More than one page of them.
        for (let n = 0; n < 250; n++) yield* orders.place(tea, "ann")
        const seen = yield* orders.eventsAfter(1).pipe(
          Stream.take(254),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        for (let n = 0; n < 5; n++) yield* orders.place(tea, "ann")
        const ids = (yield* Fiber.join(seen)).map(({ id }) => id)
        assert.deepStrictEqual(ids, Array.from({ length: 254 }, (_, n) => n + 2))
        assert.strictEqual(yield* orders.newestEvent, 255)
      }).pipe(Effect.provide(layer)))

    it.effect("a refused change leaves no event", () =>
      Effect.gen(function*() {
        const orders = yield* Orders
        const { id } = yield* orders.place(tea, "ann")
        yield* Effect.flip(orders.advance(id, "sent", "any"))
        assert.strictEqual(yield* orders.newestEvent, 1)
      }).pipe(Effect.provide(layer)))
  })
}
