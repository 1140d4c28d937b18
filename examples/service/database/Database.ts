/**
 * SQLite in this process, with typed rows and typed errors. Statements are prepared once, when the program starts, so that
 * one that does not fit the schema stops it there. What runs in a transaction is a plain function: `node:sqlite` is
 * synchronous, so nothing comes between its statements and nobody can interrupt it halfway.
 */
import { Problem } from "@sluice/core"
import { Context, Effect, Layer, Result, Schema } from "effect"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"
import { migrations } from "./migrations.ts"

/** 503 that tells the client nothing; the cause is for the report. */
export class DatabaseUnavailable extends Problem.Opaque<{ readonly cause: unknown }>()("DatabaseUnavailable", {
  status: 503,
  headers: () => ({ "retry-after": "1" })
}) {}

/** A prepared statement whose rows are `A`. */
export interface Statement<out A> {
  readonly prepared: StatementSync
  readonly decode: (row: unknown) => A
}

type Parameters = ReadonlyArray<SQLInputValue>

/** What a transaction works with. */
export interface Transaction {
  readonly all: <A>(statement: Statement<A>, ...parameters: Parameters) => ReadonlyArray<A>
  readonly first: <A>(statement: Statement<A>, ...parameters: Parameters) => A | undefined
}

export class Database extends Context.Service<Database, {
  readonly prepare: <S extends Schema.ConstraintDecoder<unknown>>(
    sql: string,
    row: S
  ) => Effect.Effect<Statement<S["Type"]>, DatabaseUnavailable>
  /** Runs the function in a transaction. A failure that it returns, and anything that it throws, takes all of it back. */
  readonly transaction: <A, E>(
    body: (transaction: Transaction) => Result.Result<A, E>
  ) => Effect.Effect<A, E | DatabaseUnavailable>
}>()("service/Database") {}

const attempt = <A>(f: () => A): Effect.Effect<A, DatabaseUnavailable> =>
  Effect.try({ try: f, catch: (cause) => new DatabaseUnavailable({ cause }) })

const operations: Transaction = {
  all: ({ decode, prepared }, ...parameters) => prepared.all(...parameters).map(decode),
  first: ({ decode, prepared }, ...parameters) => {
    const row = prepared.get(...parameters)
    return row === undefined ? undefined : decode(row)
  }
}

const transact = <A, E>(database: DatabaseSync, body: () => Result.Result<A, E>): Result.Result<A, E> => {
  database.exec("begin immediate")
  try {
    const result = body()
    database.exec(Result.isSuccess(result) ? "commit" : "rollback")
    return result
  } catch (error) {
    // Some failures of SQLite's have taken it back already.
    if (database.isTransaction) database.exec("rollback")
    throw error
  }
}

/** Brings the schema up to date; each migration runs once in a file's life. */
const migrate = (database: DatabaseSync): void => {
  const done = Number(database.prepare("pragma user_version").get()?.["user_version"])
  for (const [index, sql] of migrations.entries()) {
    if (index < done) continue
    transact(database, () => {
      database.exec(sql)
      database.exec(`pragma user_version = ${index + 1}`)
      return Result.void
    })
  }
}

const open = (path: string): DatabaseSync => {
  const database = new DatabaseSync(path)
  database.exec("pragma journal_mode = wal; pragma foreign_keys = on; pragma busy_timeout = 1000")
  migrate(database)
  return database
}

/** The database in a file, or in memory (`:memory:`), until the program ends. */
export const layer = (path: string): Layer.Layer<Database, DatabaseUnavailable> =>
  Layer.effect(Database)(Effect.gen(function*() {
    const database = yield* Effect.acquireRelease(
      attempt(() => open(path)),
      (database) => Effect.sync(() => database.close())
    )
    return {
      prepare: (sql, row) =>
        attempt(() => ({ prepared: database.prepare(sql), decode: Schema.decodeUnknownSync(row) })),
      transaction: (body) =>
        Effect.flatMap(attempt(() => transact(database, () => body(operations))), Effect.fromResult)
    }
  }))
