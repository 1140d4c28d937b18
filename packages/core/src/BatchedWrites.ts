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

const kept: unique symbol = Symbol("@sluice/core/BatchedWrites")

/** What a socket has to write at the end of the turn. */
interface Kept {
  done: Done | undefined
  vectored: boolean
}

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

let waiting: Array<Batched> = []
/** What happens as a batch is sent is no part of what happened as it was begun. */
const outside = new AsyncResource("BatchedWrites")
const atTheEnd = (): void => void setImmediate(flush)
const soon = (): void => process.nextTick(flush)

const wait = (socket: Batched): void => {
  const count = waiting.push(socket)
  if (count === 1) outside.runInAsyncScope(atTheEnd)
  else if (count === most) outside.runInAsyncScope(soon)
}

const flush = (): void => {
  const sockets = waiting
  waiting = []
  let sent = 0
  try {
    while (sent < sockets.length) send(sockets[sent++])
  } finally {
    // A listener has thrown, which is nothing to the others.
    while (sent < sockets.length) wait(sockets[sent++])
  }
}

const send = (socket: Batched): void => {
  const entry = socket[kept]
  const done = entry?.done
  if (entry === undefined || done === undefined) return
  entry.done = undefined
  deliver(socket, entry.vectored, socket._pendingData, socket._pendingEncoding, done)
}

const deliver = (socket: Socket, vectored: boolean, data: unknown, encoding: string, done: Done): void => {
  // Sound: the methods of a socket's class, and what one of the two was given.
  const { _write, _writev } = Object.getPrototypeOf(socket) as Required<Pick<Socket, "_write" | "_writev">>
  if (vectored) _writev.call(socket, data as Parameters<typeof _writev>[0], done)
  else _write.call(socket, data, encoding as BufferEncoding, done)
}

const keep = (socket: Batched, vectored: boolean, data: unknown, encoding: string, done: Done): void => {
  if (socket.writableLength > longest) return deliver(socket, vectored, data, encoding, done)
  const entry = socket[kept] ??= { done, vectored }
  entry.done = done
  entry.vectored = vectored
  socket._pendingData = data
  socket._pendingEncoding = encoding
  wait(socket)
}

function write(this: Batched, chunk: unknown, encoding: BufferEncoding, done: Done): void {
  keep(this, false, chunk, encoding, done)
}

function writev(this: Batched, chunks: Array<{ chunk: unknown; encoding: BufferEncoding }>, done: Done): void {
  keep(this, true, chunks, "", done)
}

/** What was written before goes out before the connection is gone. */
function destroy(this: Batched, error: Error | null, callback: Done): void {
  send(this) // Sound: it has the method that this one stands before.
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
    [kept]: { done: undefined, vectored: false },
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
  send(socket as Batched)
  delete socket._write
  delete socket._writev
  delete socket._destroy
  delete socket[kept]
}
