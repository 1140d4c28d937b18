/**
 * Sends what sockets write within one turn of the event loop at its end, one socket after the other.
 *
 * **When to use** For the connections of a busy server or client, whose messages are small: a write wakes the process at
 * the other end, and to wake it once for many messages costs much less than once for each.
 *
 * **Details** A socket whose writes are batched is like one whose peer reads a little later: order, backpressure, `end`,
 * `destroy` and `bytesWritten` are as without it. What a socket is given in several writes goes out in one system call. More
 * than 16 KiB go out at once: waiting would only make them leave the processor's cache.
 *
 * **Gotchas** `finish`, `drain` and the callbacks of writes run outside the asynchronous context (`AsyncLocalStorage`) of
 * whoever wrote. {@link disable} is for code that counts on it.
 *
 * @since 0.1.0
 */
import { AsyncResource } from "node:async_hooks"
import { Socket } from "node:net"

/** Writable's protocol with whoever implements it: one write at a time, until it calls back. */
type Done = (error?: Error | null) => void

/**
 * What waits for the end of a turn.
 *
 * @category models
 * @since 0.1.0
 */
export interface Waiting {
  /** Called once, at the end of the turn; what it writes to sockets goes out at once. It must not throw. */
  flush(): void
}

const kept: unique symbol = Symbol("@sluice/core/BatchedWrites")

/** `_pendingData` is Node's place for what a connecting socket has to write; `bytesWritten` counts it. */
interface Batched extends Socket {
  [kept]: Kept | undefined
  _pendingData: unknown
  _pendingEncoding: string
}

/** So many at most, so that the first does not wait for too long. */
const most = 64

/** In bytes: for more than that it is worth to wake a peer, and they are still in the processor's cache. */
const longest = 16_384

let queue: Array<Waiting> = []
let flushing = false
/** What happens as a batch is sent is no part of what happened as it was begun. */
const outside = new AsyncResource("BatchedWrites")
const soon = (): void => void setImmediate(flush)
const now = (): void => process.nextTick(flush)

/**
 * Has something done together with the batched writes of this turn: for a message that is whole, and whose parts need not be
 * kept by the socket.
 *
 * @category combinators
 * @since 0.1.0
 */
export const atEndOfTurn = (waiting: Waiting): void => {
  const count = queue.push(waiting)
  if (count === 1) outside.runInAsyncScope(soon)
  else if (count === most) outside.runInAsyncScope(now)
}

const flush = (): void => {
  const waiting = queue
  queue = []
  let done = 0
  flushing = true
  try {
    while (done < waiting.length) waiting[done++].flush()
  } finally {
    flushing = false
    // A listener has thrown, which is nothing to the others.
    while (done < waiting.length) atEndOfTurn(waiting[done++])
  }
}

/** What a socket has to write at the end of the turn. */
class Kept implements Waiting {
  private readonly socket: Batched
  private done: Done | undefined = undefined
  private vectored = false

  constructor(socket: Batched) {
    this.socket = socket
  }

  keep(vectored: boolean, data: unknown, encoding: string, done: Done): void {
    const { socket } = this
    if (flushing || socket.writableLength > longest) return deliver(socket, vectored, data, encoding, done)
    this.done = done
    this.vectored = vectored
    socket._pendingData = data
    socket._pendingEncoding = encoding
    atEndOfTurn(this)
  }

  flush(): void {
    const { done, socket } = this
    if (done === undefined) return
    this.done = undefined
    deliver(socket, this.vectored, socket._pendingData, socket._pendingEncoding, done)
  }
}

const deliver = (socket: Socket, vectored: boolean, data: unknown, encoding: string, done: Done): void => {
  // Sound: the methods of a socket's class, and what one of the two was given.
  const { _write, _writev } = Object.getPrototypeOf(socket) as Required<Pick<Socket, "_write" | "_writev">>
  if (vectored) _writev.call(socket, data as Parameters<typeof _writev>[0], done)
  else _write.call(socket, data, encoding as BufferEncoding, done)
}

const keptOf = (socket: Batched): Kept => socket[kept] ??= new Kept(socket)

function write(this: Batched, chunk: unknown, encoding: BufferEncoding, done: Done): void {
  keptOf(this).keep(false, chunk, encoding, done)
}

function writev(this: Batched, chunks: Array<{ chunk: unknown; encoding: BufferEncoding }>, done: Done): void {
  keptOf(this).keep(true, chunks, "", done)
}

/** What was written before goes out before the connection is gone. */
function destroy(this: Batched, error: Error | null, callback: Done): void {
  this[kept]?.flush() // Sound: it has the method that this one stands before.
  ;(Object.getPrototypeOf(this) as Socket)._destroy.call(this, error, callback)
}

/**
 * Batches the writes of a socket from now on. Streams that are no sockets are left as they are.
 *
 * @example
 * ```ts
 * import { BatchedWrites } from "@sluice/core"
 * import { Socket } from "node:net"
 *
 * const socket = new Socket()
 * BatchedWrites.enable(socket)
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const enable = (stream: object): void => {
  if (!(stream instanceof Socket) || kept in stream) return
  Object.assign(stream, {
    [kept]: undefined,
    _write: write,
    _writev: writev,
    _destroy: destroy
  })
}

/**
 * Sends what the socket has kept, and from now on whatever it is given at once.
 *
 * @category combinators
 * @since 0.1.0
 */
export const disable = (stream: object): void => {
  if (!(kept in stream)) return
  // Sound: only `enable` sets that.
  const socket = stream as Partial<Batched>
  socket[kept]?.flush()
  delete socket._write
  delete socket._writev
  delete socket._destroy
  delete socket[kept]
}
