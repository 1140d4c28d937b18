/**
 * Connections by endpoint: made when there is no idle one and the limit allows it, kept for a while when an exchange has left
 * them clean, and handed to those who wait in the order in which they came.
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
  readonly maxConnectionsPerEndpoint: number
  readonly maxQueued: number
  /** In bytes. */
  readonly readBuffer: number
  /** In bytes, over all unused buffers. */
  readonly bufferPool: number
}

/** One who needs a connection. */
export interface Applicant extends User {
  /** Whether it needs a fresh connection, one that can be handed over as a stream. */
  readonly plain: boolean
  /** The end of its wait: it has this idle connection, or may make one. */
  onTurn(idle: Connection | undefined): void
}

/** How much sooner than the upstream a connection is given up, so that none is used that is just being closed. */
const keepAliveMargin = 1000

/**
 * The connections to one endpoint and those who wait for one. While somebody waits, there is no idle connection and no room
 * for another: whatever becomes free is the first one's at once, so that nobody who comes later overtakes.
 */
interface Bucket {
  readonly key: string
  /** Free ones; the one used last is used first. */
  readonly idle: Array<Connection>
  readonly queue: Set<Applicant>
  /** All of them: idle, in use, being made, tunnels. */
  open: number
  /** Whether it was empty and is forgotten. */
  retired: boolean
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

  // -- Getting one ----------------------------------------------------------------------------------------------------

  /** A clean idle connection, if there is one. */
  take(endpoint: Transport.Endpoint, user: User): Connection | undefined {
    const idle = this.find(endpoint)?.idle
    if (idle === undefined || idle.length === 0) return undefined
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

  /** For one who found no idle connection: whether it may make one, waits from now on, or has to go. */
  admit(endpoint: Transport.Endpoint, applicant: Applicant): "room" | "queued" | "full" {
    const bucket = this.find(endpoint)
    if (bucket === undefined || this.hasRoom(bucket)) return "room"
    if (bucket.queue.size >= this.settings.maxQueued) return "full"
    bucket.queue.add(applicant)
    return "queued"
  }

  /** Gives up the wait. */
  leave(endpoint: Transport.Endpoint, applicant: Applicant): void {
    this.find(endpoint)?.queue.delete(applicant)
  }

  /** A new connection, not ready yet. Throws what `net` throws for an impossible address, or when the pool is closed. */
  connect(endpoint: Transport.Endpoint, user: User, plain: boolean): Connection {
    if (this.closed) throw Object.assign(new Error("the transport is closed"), { code: "ERR_SLUICE_CLOSED" })
    const connection = new Connection({ endpoint, buffers: this.buffers, owner: this, plain })
    const bucket = this.find(endpoint) ?? this.found(endpoint)
    connection.user = user
    bucket.open += 1
    this.all.set(connection, bucket)
    return connection
  }

  /** The same in the place of one that turned out to be dead, which nobody who waits gets in between. */
  replace(dead: Connection, endpoint: Transport.Endpoint, user: User, plain: boolean): Connection {
    const bucket = this.all.get(dead)
    if (bucket !== undefined) {
      this.all.delete(dead)
      bucket.open -= 1
    }
    dead.destroy()
    return this.connect(endpoint, user, plain)
  }

  // -- Giving it back -------------------------------------------------------------------------------------------------

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
    connection.resume()
    if (bucket.queue.size > 0) return this.handOn(bucket, connection)
    connection.idleUntil = this.settings.clock.currentTimeMillisUnsafe() + allowed
    connection.socket.unref()
    bucket.idle.push(connection)
    if (this.sweeping === undefined) this.sweepIn(allowed)
  }

  onGone(connection: Connection): void {
    const bucket = this.all.get(connection)
    if (bucket === undefined) return
    this.all.delete(connection)
    bucket.open -= 1
    const at = bucket.idle.indexOf(connection)
    if (at !== -1) bucket.idle.splice(at, 1)
    this.serve(bucket)
    if (bucket.open === 0) this.retire(bucket)
  }

  /** Destroys every connection, in use or not. Those who have one are told that it closed, and so are those who wait. */
  close(): void {
    this.closed = true
    this.sweeping?.()
    this.sweeping = undefined
    for (const connection of this.all.keys()) connection.socket.destroy()
    for (const { queue } of this.buckets.values()) {
      for (const applicant of queue) applicant.onTurn(undefined)
      queue.clear()
    }
    this.buckets.clear()
    this.buffers.clear()
  }

  // -- Waiting --------------------------------------------------------------------------------------------------------

  /** An idle connection that can't be used gives its place up. */
  private hasRoom(bucket: Bucket): boolean {
    if (bucket.open < this.settings.maxConnectionsPerEndpoint) return true
    const oldest = bucket.idle[0]
    oldest?.destroy()
    return oldest !== undefined
  }

  private handOn(bucket: Bucket, connection: Connection): void {
    const applicant = first(bucket.queue)
    // Its place goes to whoever is first.
    if (applicant === undefined || applicant.plain) return connection.destroy()
    bucket.queue.delete(applicant)
    connection.user = applicant
    applicant.onTurn(connection)
  }

  private serve(bucket: Bucket): void {
    while (bucket.open < this.settings.maxConnectionsPerEndpoint) {
      const applicant = first(bucket.queue)
      if (applicant === undefined) return
      bucket.queue.delete(applicant)
      applicant.onTurn(undefined)
    }
  }

  // -- Endpoints ------------------------------------------------------------------------------------------------------

  private find(endpoint: Transport.Endpoint): Bucket | undefined {
    const known = this.byEndpoint.get(endpoint)
    if (known !== undefined && !known.retired) return known
    const bucket = this.buckets.get(this.keyOf(endpoint))
    if (bucket !== undefined) this.byEndpoint.set(endpoint, bucket)
    return bucket
  }

  private found(endpoint: Transport.Endpoint): Bucket {
    const key = this.keyOf(endpoint)
    const bucket: Bucket = { key, idle: [], queue: new Set(), open: 0, retired: false }
    this.buckets.set(key, bucket)
    this.byEndpoint.set(endpoint, bucket)
    return bucket
  }

  private retire(bucket: Bucket): void {
    bucket.retired = true
    this.buckets.delete(bucket.key)
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

  // -- Idle connections -----------------------------------------------------------------------------------------------

  private sweepIn(millis: number): void {
    this.sweeping = background(this.settings.clock, Math.max(millis, 1), this.sweep)
  }

  private readonly sweep = (): void => {
    this.sweeping = undefined
    const now = this.settings.clock.currentTimeMillisUnsafe()
    let next = Number.POSITIVE_INFINITY
    for (const { idle } of this.buckets.values()) {
      for (const connection of expired(idle, now)) connection.destroy()
      for (const connection of idle) next = Math.min(next, connection.idleUntil - now)
    }
    if (next !== Number.POSITIVE_INFINITY) this.sweepIn(next)
  }
}

const first = <A>(queue: ReadonlySet<A>): A | undefined => queue.values().next().value

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
