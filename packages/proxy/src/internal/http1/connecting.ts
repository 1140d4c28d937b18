/**
 * The way to a connection for an exchange that found no idle one: the queue, a name's addresses, TCP, TLS.
 */
import * as ProxyError from "../../ProxyError.ts"
import type * as Transport from "../../Transport.ts"
import { closed, type Connection, type Phase } from "./connection.ts"
import type { Applicant, Pool } from "./pool.ts"
import type { Watch } from "./watch.ts"

/** Told how it ends: one of the two, once. */
export interface Client {
  /** There is a connection to send on. It has no user yet. */
  onConnected(connection: Connection): void
  onUnconnected(error: ProxyError.TransportError): void
}

export interface Settings {
  readonly pool: Pool
  readonly endpoint: Transport.Endpoint
  readonly plain: boolean
  readonly watch: Watch
  readonly client: Client
}

export class Connecting implements Applicant {
  readonly plain: boolean

  private readonly settings: Settings
  private queued = false
  private connection: Connection | undefined

  constructor(settings: Settings) {
    this.settings = settings
    this.plain = settings.plain
  }

  /** Makes a connection, or waits until it may. */
  start(): void {
    const { endpoint, pool, watch } = this.settings
    const answer = pool.admit(endpoint, this)
    if (answer === "room") return this.connect(undefined)
    if (answer === "full") return this.fail(new ProxyError.UpstreamSaturated(this.evidence()))
    this.queued = true
    watch.start("queue", () => this.fail(new ProxyError.QueueTimeout(this.evidence())))
  }

  /** Makes a connection in the place of this one, which is dead. */
  startOver(dead: Connection): void {
    this.connect(dead)
  }

  /** Gives it up. Nobody is told. */
  abort(): void {
    const { connection, settings: { endpoint, pool, watch } } = this
    watch.stop()
    if (this.queued) pool.leave(endpoint, this)
    this.queued = false
    this.connection = undefined
    connection?.destroy()
  }

  onTurn(idle: Connection | undefined): void {
    this.queued = false
    if (idle === undefined) this.connect(undefined)
    else this.connected(idle)
  }

  private connect(dead: Connection | undefined): void {
    const { endpoint, plain, pool } = this.settings
    try {
      this.connection = dead === undefined
        ? pool.connect(endpoint, this, plain)
        : pool.replace(dead, endpoint, this, plain)
    } catch (cause) {
      return this.fail(ProxyError.fromNodeError(cause, "connect", this.evidence()))
    }
    this.onPhase(this.connection.phase)
  }

  onPhase(phase: Phase): void {
    const { connection, settings: { watch } } = this
    if (connection === undefined) return
    if (phase === "ready") this.connected(connection)
    else watch.start(phase, () => this.fail(new late[phase](this.evidence())))
  }

  private connected(connection: Connection): void {
    this.connection = undefined
    connection.user = undefined
    this.settings.watch.stop()
    this.settings.client.onConnected(connection)
  }

  onClosed(error: Error | undefined): void {
    const phase = this.connection?.phase
    // Without an error of its own it is not the name that failed.
    const doing = phase === "tls" || (phase === "resolve" && error !== undefined) ? phase : "connect"
    this.fail(ProxyError.fromNodeError(error ?? closed, doing, this.evidence()))
  }

  onData(): void {}
  onDrain(): void {}
  onEnd(): void {}

  private fail(error: ProxyError.TransportError): void {
    this.abort()
    this.settings.client.onUnconnected(error)
  }

  private evidence(): ProxyError.Evidence {
    const { hostname, port, protocol } = this.settings.endpoint
    return { upstream: `${protocol}//${hostname}:${port}`, bytesSent: 0, bytesReceived: 0 }
  }
}

/** What it is called when a phase takes too long. */
const late = {
  resolve: ProxyError.UpstreamResolveTimeout,
  connect: ProxyError.UpstreamConnectTimeout,
  tls: ProxyError.UpstreamTlsTimeout
}
