/**
 * One connection to an upstream: a socket with one set of handlers for its whole life, which hand everything to the
 * exchange that has it at the moment.
 */
import * as BatchedWrites from "@sluice/core/BatchedWrites"
import * as net from "node:net"
import * as tls from "node:tls"
import type * as Transport from "../../Transport.ts"
import type { BufferPool, Lease } from "./bufferPool.ts"

/** What a connection is busy with before it is `ready`, in this order; the first and `tls` may be left out. */
export type Phase = "resolve" | "connect" | "tls" | "ready"

/** Whoever has the connection. Each call is made in the socket's own callback. */
export interface User {
  /** The connection has come to its next phase, for the one who has it made. */
  onPhase?(phase: Phase): void
  /** `lease` is what the view lies in; `undefined` when the view is the receiver's own. */
  onData(view: Buffer, lease: Lease | undefined): void
  onDrain(): void
  /** The peer has sent its last byte. */
  onEnd(): void
  /** The connection is gone; `error` when it broke. */
  onClosed(error: Error | undefined): void
}

/** Told when a connection is of no use any more; more than once, it may be. */
export interface Owner {
  onGone(connection: Connection): void
}

export interface Settings {
  readonly endpoint: Transport.Endpoint
  readonly buffers: BufferPool
  readonly owner: Owner
  /** Reads into fresh buffers through `data` events, so that the socket can be handed over as a stream. */
  readonly plain: boolean
}

export class Connection implements BatchedWrites.Waiting {
  user: User | undefined
  /** Whether an exchange has been completed on it before. */
  reused = false
  phase: Phase
  /** Whether the peer has ended or the socket has broken: no further exchange. */
  dead = false
  /** When it became idle, and until when it may stay so, in milliseconds of the pool's clock. */
  idleUntil = 0
  readonly socket: net.Socket
  /** A request's head that goes out at the end of this turn. */
  unsent: string | undefined

  private readonly owner: Owner
  private readonly buffers: BufferPool
  private lease: Lease | undefined
  private error: Error | undefined
  private paused = false
  private reading = false

  constructor(settings: Settings) {
    this.owner = settings.owner
    this.buffers = settings.buffers
    const secure = settings.endpoint.protocol === "https:"
    const pooled = !secure && !settings.plain
    this.socket = secure ? openTls(settings.endpoint) : openTcp(settings.endpoint, pooled ? this : undefined)
    this.phase = net.isIP(settings.endpoint.hostname) === 0 ? "resolve" : "connect"
    this.listen(secure, pooled)
  }

  private listen(secure: boolean, pooled: boolean): void {
    const socket = this.socket
    socket.on("error", (error) => {
      this.dead = true
      this.error ??= error
    })
    if (this.phase === "resolve") socket.on("lookup", this.onLookup)
    socket.on("connect", secure ? this.onTcp : this.onReady)
    if (secure) socket.on("secureConnect", this.onReady)
    if (!pooled) socket.on("data", this.onPlainData)
    socket.on("drain", this.onDrain)
    socket.on("end", this.onEnd)
    socket.on("close", this.onClose)
  }

  /** Called for each address that was found. */
  private readonly onLookup = (error: Error | null): void => {
    if (error === null && this.phase === "resolve") this.enter("connect")
  }

  private readonly onTcp = (): void => this.enter("tls")

  private readonly onReady = (): void => this.enter("ready")

  private enter(phase: Phase): void {
    this.phase = phase
    this.user?.onPhase?.(phase)
  }

  private readonly onPlainData = (view: Buffer): void => this.onView(view, undefined)

  private readonly onDrain = (): void => this.user?.onDrain()

  private readonly onEnd = (): void => {
    this.dead = true
    if (this.user === undefined) this.destroy()
    else if (this.phase === "ready") this.user.onEnd()
  }

  private readonly onClose = (): void => {
    this.dead = true
    // Not before: until the handle is closed, the system may still write into the buffer.
    this.lease?.release()
    this.lease = undefined
    const user = this.user
    this.user = undefined
    // The user first: it may want another one in its place.
    user?.onClosed(this.error)
    this.owner.onGone(this)
  }

  private onView(view: Buffer, lease: Lease | undefined): void {
    // Nothing was asked: whatever this is, it is no answer (RFC 9112, 9.2).
    if (this.user === undefined) return this.destroy()
    this.user.onData(view, lease)
  }

  /** The next buffer to read into: the same one unless somebody still holds it. */
  readonly nextBuffer = (): Uint8Array => {
    const before = this.lease
    if (before !== undefined && before.sole) return before.buffer
    before?.release()
    this.lease = this.buffers.take()
    return this.lease.buffer
  }

  /** Called after each read; `false` stops reading. */
  readonly onRead = (length: number): boolean => {
    const lease = this.lease
    if (lease === undefined || this.socket.destroyed) return false
    this.reading = true
    this.onView(length === lease.buffer.length ? lease.buffer : lease.buffer.subarray(0, length), lease)
    this.reading = false
    return !this.paused
  }

  /** Sends a request that is nothing but a head. */
  sendHead(head: string): void {
    this.unsent = head
    BatchedWrites.atEndOfTurn(this)
  }

  flush(): void {
    const head = this.unsent
    this.unsent = undefined
    if (head !== undefined && !this.socket.destroyed) this.socket.write(head, "latin1")
  }

  /** Stops the flow of bytes; within a read its end is soon enough. */
  pause(): void {
    if (this.paused) return
    this.paused = true
    if (!this.reading) this.socket.pause()
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    if (!this.reading) this.socket.resume()
  }

  /** Destroys the socket at once. Nobody is told: whoever destroys it has let go of it. */
  destroy(): void {
    this.dead = true
    this.user = undefined
    this.socket.destroy()
    this.owner.onGone(this)
  }

  /** Gives the socket away, as a stream whose first bytes are `rest`. It must be a plain one. */
  handOver(rest: Buffer): net.Socket {
    const socket = this.socket
    this.user = undefined
    socket.pause()
    socket.off("data", this.onPlainData)
    socket.off("drain", this.onDrain)
    socket.off("end", this.onEnd)
    if (rest.length > 0) socket.unshift(rest)
    return socket
  }
}

const openTcp = (
  endpoint: Transport.Endpoint,
  reader: { readonly nextBuffer: () => Uint8Array; readonly onRead: (length: number) => boolean } | undefined
): net.Socket =>
  net.connect({
    host: endpoint.hostname,
    port: endpoint.port,
    noDelay: true,
    allowHalfOpen: true,
    ...(reader === undefined ? undefined : { onread: { buffer: reader.nextBuffer, callback: reader.onRead } })
  })

const openTls = (endpoint: Transport.Endpoint): tls.TLSSocket => {
  const options = {
    ALPNProtocols: ["http/1.1"],
    ...(net.isIP(endpoint.hostname) === 0 ? { servername: endpoint.hostname } : undefined),
    ...endpoint.tls,
    host: endpoint.hostname,
    port: endpoint.port,
    allowHalfOpen: true
  }
  // Sound: `allowHalfOpen` is documented for `tls.connect`, and missing in its types.
  const socket = tls.connect(options as tls.ConnectionOptions)
  socket.setNoDelay()
  return socket
}

/** What is said of a connection that has gone without an error. */
export const closed = new Error("the connection was closed")
