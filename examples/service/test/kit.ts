import { Reporter } from "@sluice/core"
import { App } from "@sluice/core/testing"
import { IdempotencyKey, RateLimitStore } from "@sluice/middleware"
import { Effect, Layer, Logger, Redacted } from "effect"
import * as DevTokens from "../auth/devTokens.ts"
import type { Claims } from "../auth/Principal.ts"
import * as Sessions from "../auth/Sessions.ts"
import * as Database from "../database/Database.ts"
import * as MemoryOrders from "../orders/memoryOrders.ts"
import * as SqliteOrders from "../orders/sqliteOrders.ts"
import { makeEdge, makeRoutes } from "../service.ts"

const common = Layer.mergeAll(
  Sessions.layer,
  RateLimitStore.layerMemory(),
  IdempotencyKey.layerMemory(),
  Reporter.layerMemory,
  Logger.layer([])
)

/** What the service stands on, without a database. */
export const inMemory = Layer.merge(common, MemoryOrders.layer)

/** The same with one. */
export const inSqlite = Layer.merge(common, SqliteOrders.layer.pipe(Layer.provide(Database.layer(":memory:"))))

export const origin = "https://app.example.com"

const people = Effect.gen(function*() {
  const { issue, trust } = yield* DevTokens.make
  const bearer = (claims: Claims) =>
    Effect.map(issue(claims), (token) => ({ authorization: `Bearer ${Redacted.value(token)}` }))
  return {
    settings: { trust, origins: [origin] },
    bearer,
    ann: yield* bearer({ sub: "ann", scope: "orders:read orders:write" }),
    ben: yield* bearer({ sub: "ben", scope: "orders:read" })
  }
})

/** The service in this process, without a port. */
export const make = Effect.gen(function*() {
  const { settings, ...who } = yield* people
  return { ...who, ...helpers(yield* App.make(makeRoutes(settings), { edge: makeEdge(settings) })) }
})

/** The service on a free port. */
export const listen = Effect.gen(function*() {
  const { settings, ...who } = yield* people
  return { ...who, ...helpers(yield* App.listen(makeRoutes(settings), { edge: makeEdge(settings) })) }
})

const helpers = <A extends App.App>(app: A) => ({
  ...app,
  /** Sends a value as JSON. */
  send: (method: string, path: string, headers: Record<string, string>, value: unknown) =>
    app.fetch(path, {
      method,
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(value)
    })
})

export const json = (response: Response): Effect.Effect<unknown> => Effect.promise(() => response.json())

export const tea = { sku: "tea", quantity: 2 }
