import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Result, Schema } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Database, layer } from "../database/Database.ts"
import { Orders } from "../orders/Orders.ts"
import * as SqliteOrders from "../orders/sqliteOrders.ts"
import { tea } from "./kit.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "orders-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

const Count = Schema.Struct({ count: Schema.Int })
const insert = "insert into orders (sku, quantity, placed_by) values (?, ?, 'ann')"

describe("the database", () => {
  it.effect("a failure takes the whole transaction back, and so does a throw", () =>
    Effect.gen(function*() {
      const { prepare, transaction } = yield* Database
      const put = yield* prepare(insert, Schema.Struct({}))
      const count = yield* prepare("select count(*) as count from orders", Count)
      const refused = yield* Effect.flip(transaction((tx) => {
        tx.all(put, "tea", 1)
        return Result.fail("no" as const)
      }))
      assert.strictEqual(refused, "no")
      const broken = yield* Effect.flip(transaction((tx) => {
        tx.all(put, "tea", 1)
        tx.all(put, "tea", 0)
        return Result.void
      }))
      assert.strictEqual(broken._tag, "DatabaseUnavailable")
      assert.match(String(broken.cause), /CHECK constraint failed/)
      assert.deepStrictEqual(yield* transaction((tx) => Result.succeed(tx.first(count))), { count: 0 })
    }).pipe(Effect.provide(layer(":memory:"))))

  it.effect("a statement that does not fit the schema is refused when it is prepared", () =>
    Effect.gen(function*() {
      const { prepare } = yield* Database
      const refused = yield* Effect.flip(prepare("select price from orders", Count))
      assert.match(String(refused.cause), /no such column: price/)
    }).pipe(Effect.provide(layer(":memory:"))))

  it.effect("a row that is not what the statement says is a failure, not a wrong value", () =>
    Effect.gen(function*() {
      const { prepare, transaction } = yield* Database
      const text = yield* prepare("select 'many' as count", Count)
      const refused = yield* Effect.flip(transaction((tx) => Result.succeed(tx.first(text))))
      assert.strictEqual(refused._tag, "DatabaseUnavailable")
    }).pipe(Effect.provide(layer(":memory:"))))

  it.effect("a file is migrated once, and what is in it is there again", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "orders.sqlite")
      const opened = SqliteOrders.layer.pipe(Layer.provide(Layer.fresh(layer(path))))
      const place = Effect.flatMap(Orders, (orders) => orders.place(tea, "ann"))
      const first = yield* Effect.provide(place, Layer.fresh(opened))
      const second = yield* Effect.provide(place, Layer.fresh(opened))
      assert.deepStrictEqual([Number(first.id), Number(second.id)], [1, 2])
    }))

  it.effect("a file that can't be opened is a typed failure", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(layer(join(yield* folder, "missing", "orders.sqlite"))))
      assert.strictEqual(error._tag, "DatabaseUnavailable")
    }))
})
