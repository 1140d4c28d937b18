/**
 * Connections by endpoint: made when there is no idle one, kept for a while when an exchange has left them clean.
 */
import * as Timer from "@sluice/core/Timer"
import type * as Clock from "effect/Clock"
import * as Clock_ from "effect/Clock"
import * as Context from "effect/Context"
import type * as Transport from "../../Transport.ts"
import { BufferPool } from "./bufferPool.ts"
import { Connection, type User } from "./connection.ts"

export interface Settings {
  readonly clock: Clock.Clock
  /** In milliseconds. */
  readonly idleTimeout: number
  readonly maxIdlePerEndpoint: number
  /** In bytes. */
  readonly readBuffer: number
  /** In bytes, over all unused buffers. */
  readonly bufferPool: number
}

/** How much sooner than the upstream a connection is given up, so that none is used that is just being closed. */
const keepAliveMargin = 1000

/** The connections to one endpoint that are free; the one used last is used first. */
interface Bucket {
  readonly key: string
  readonly idle: Array<Connection>
}

export class Pool {
  private readonly settings: Settings
  private readonly buffers: BufferPool
  private readonly all = new Map<Connection, Bucket>()
  private readonly buckets = new Map<string, Bucket>()
  private readonly byEndpoint = new WeakMap<Transport.Endpoint, Bucket>()
  private readonly identities = new WeakMap<object, number>()
  private identity = 0
  private closed = false
  private sweeping: Timer.Cancel | undefined

  constructor(settings: Settings) {
    this.settings = settings
    this.buffers = new BufferPool(settings.readBuffer, Math.floor(settings.bufferPool / settings.readBuffer))
  }

  /** A clean idle connection, if there is one. */
  take(endpoint: Transport.Endpoint, user: User): Connection | undefined {
    const idle = this.bucket(endpoint).idle
    if (idle.length === 0) return undefined
    const now = this.settings.clock.currentTimeMillisUnsafe()
    for (let connection = idle.pop(); connection !== undefined; connection = idle.pop()) {
      if (connection.dead || connection.socket.destroyed || connection.idleUntil <= now) {
        connection.destroy()
        continue
      }
      connection.socket.ref()
      connection.user = user
      return connection
    }
    return undefined
  }

  /** A new connection, not ready yet. Throws what `net` throws for an impossible address, or when the pool is closed. */
  connect(endpoint: Transport.Endpoint, user: User, plain: boolean): Connection {
    if (this.closed) throw Object.assign(new Error("the transport is closed"), { code: "ERR_SLUICE_CLOSED" })
    const connection = new Connection({ endpoint, buffers: this.buffers, owner: this, plain })
    connection.user = user
    this.all.set(connection, this.bucket(endpoint))
    return connection
  }

  /** Takes back a connection whose exchange is complete. `keepAlive` is what the upstream allows, in milliseconds. */
  release(connection: Connection, keepAlive: number | undefined): void {
    const bucket = this.all.get(connection)
    const allowed = keepAlive === undefined
      ? this.settings.idleTimeout
      : Math.min(this.settings.idleTimeout, keepAlive - keepAliveMargin)
    if (
      this.closed || bucket === undefined || connection.dead || allowed <= 0
      || bucket.idle.length >= this.settings.maxIdlePerEndpoint
    ) return connection.destroy()
    connection.user = undefined
    connection.reused = true
    connection.idleUntil = this.settings.clock.currentTimeMillisUnsafe() + allowed
    connection.resume()
    connection.socket.unref()
    this.buckets.set(bucket.key, bucket)
    bucket.idle.push(connection)
    if (this.sweeping === undefined) this.sweepIn(allowed)
  }

  onGone(connection: Connection): void {
    const bucket = this.all.get(connection)
    this.all.delete(connection)
    const at = bucket?.idle.indexOf(connection) ?? -1
    if (at !== -1) bucket?.idle.splice(at, 1)
  }

  /** Destroys every connection, in use or not. Those who have one are told that it closed. */
  close(): void {
    this.closed = true
    this.sweeping?.()
    this.sweeping = undefined
    for (const connection of this.all.keys()) connection.socket.destroy()
    this.buckets.clear()
    this.buffers.clear()
  }

  private bucket(endpoint: Transport.Endpoint): Bucket {
    const known = this.byEndpoint.get(endpoint)
    if (known !== undefined) return known
    const key = this.keyOf(endpoint)
    const bucket = this.buckets.get(key) ?? { key, idle: [] }
    this.buckets.set(key, bucket)
    this.byEndpoint.set(endpoint, bucket)
    return bucket
  }

  /** TLS settings are told apart by identity: they hold functions and keys, which have no other equality to rely on. */
  private keyOf({ hostname, port, protocol, tls }: Transport.Endpoint): string {
    const address = `${protocol}//${hostname}:${port}`
    if (tls === undefined || protocol === "http:") return address
    let identity = this.identities.get(tls)
    if (identity === undefined) {
      identity = ++this.identity
      this.identities.set(tls, identity)
    }
    return `${address}#${identity}`
  }

  private sweepIn(millis: number): void {
    this.sweeping = background(this.settings.clock, Math.max(millis, 1), this.sweep)
  }

  private readonly sweep = (): void => {
    this.sweeping = undefined
    const now = this.settings.clock.currentTimeMillisUnsafe()
    let next = Number.POSITIVE_INFINITY
    for (const [key, bucket] of this.buckets) {
      for (const connection of expired(bucket.idle, now)) this.drop(bucket, connection)
      for (const connection of bucket.idle) next = Math.min(next, connection.idleUntil - now)
      if (bucket.idle.length === 0) this.buckets.delete(key)
    }
    if (next !== Number.POSITIVE_INFINITY) this.sweepIn(next)
  }

  private drop(bucket: Bucket, connection: Connection): void {
    bucket.idle.splice(bucket.idle.indexOf(connection), 1)
    connection.destroy()
  }
}

const expired = (idle: ReadonlyArray<Connection>, now: number): ReadonlyArray<Connection> =>
  idle.filter((connection) => connection.idleUntil <= now)

const liveClock: Clock.Clock = Context.get(Context.empty(), Clock_.Clock)

/** A timer that does not keep the process alive. On the live clock, that is; others have no process to keep. */
const background = (clock: Clock.Clock, millis: number, callback: () => void): Timer.Cancel => {
  if (clock !== liveClock) return Timer.start(clock, millis, callback)
  const timer = setTimeout(callback, Math.min(millis, 2 ** 31 - 1))
  timer.unref()
  return () => clearTimeout(timer)
}
