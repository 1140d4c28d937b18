import { Effect, Layer, Result, Schema } from "effect"
import { Database, type Transaction } from "../database/Database.ts"
import { Order, OrderEvent, type OrderId, OrderNotFound } from "../domain/Order.ts"
import { advance } from "./advance.ts"
import { makeFeed } from "./eventFeed.ts"
import { Orders } from "./Orders.ts"

const orderColumns = "id, sku, quantity, status, version, placed_by as placedBy"
const Written = Schema.Struct({})
const Newest = Schema.Struct({ id: Schema.Int })

const prepare = Effect.gen(function*() {
  const { prepare } = yield* Database
  return yield* Effect.all({
    list: prepare(`select ${orderColumns} from orders where id > ? order by id limit ?`, Order),
    get: prepare(`select ${orderColumns} from orders where id = ?`, Order),
    place: prepare(
      `insert into orders (sku, quantity, placed_by) values (?, ?, ?) returning ${orderColumns}`,
      Order
    ),
    update: prepare("update orders set status = ?, version = ? where id = ?", Written),
    note: prepare("insert into order_events (order_id, status) values (?, ?)", Written),
    newest: prepare("select coalesce(max(id), 0) as id from order_events", Newest),
    events: prepare(
      `select id, order_id as "order", status from order_events where id > ? order by id limit ?`,
      OrderEvent
    )
  })
})

export const layer = Layer.effect(Orders)(Effect.gen(function*() {
  const { transaction } = yield* Database
  const sql = yield* prepare
  const feed = yield* makeFeed
  const read = <A>(body: (transaction: Transaction) => A) => transaction((tx) => Result.succeed(body(tx)))
  const find = (tx: Transaction, id: OrderId): Result.Result<Order, OrderNotFound> => {
    const order = tx.first(sql.get, id)
    return order === undefined ? Result.fail(new OrderNotFound({ order: id })) : Result.succeed(order)
  }
  const noteEvent = (tx: Transaction, { id, status }: Order): void => {
    tx.all(sql.note, id, status)
  }
  const save = (tx: Transaction, order: Order): void => {
    tx.all(sql.update, order.status, order.version, order.id)
    noteEvent(tx, order)
  }
  return {
    list: (after, limit) => read((tx) => tx.all(sql.list, after, limit)),
    get: (id) => transaction((tx) => find(tx, id)),
    place: ({ quantity, sku }, by) =>
      Effect.tap(
        read((tx) => {
          const [order] = tx.all(sql.place, sku, quantity, by)
          noteEvent(tx, order)
          return order
        }),
        feed.changed
      ),
    advance: (id, to, expected) =>
      Effect.tap(
        transaction((tx) =>
          Result.map(Result.flatMap(find(tx, id), (order) => advance(order, to, expected)), (changed) => {
            save(tx, changed)
            return changed
          })
        ),
        feed.changed
      ),
    newestEvent: Effect.map(read((tx) => tx.first(sql.newest)), (newest) => newest?.id ?? 0),
    eventsAfter: (id) => feed.eventsAfter(id, (after, limit) => read((tx) => tx.all(sql.events, after, limit)))
  }
}))
