import type { Duplex } from "node:stream"

/** How long a peer may take to read its answer and close, before the connection is destroyed. */
const grace = 500

const lingering = new WeakSet<Duplex>()

/** Whether a connection has had its last answer. */
export const isLingering = (socket: Duplex): boolean => lingering.has(socket)

/**
 * Writes the last bytes of a connection and ends it, but keeps reading for a while: destroying it with unread input
 * resets the connection, and the peer may never see the answer (RFC 9112, 9.6).
 */
export const lingeringClose = (socket: Duplex, lastBytes: string): void => {
  lingering.add(socket)
  socket.on("error", () => {})
  socket.end(lastBytes)
  linger(socket)
}

/** Reads on for a while a connection that has had its last answer; unread, it would not even notice that its peer left. */
export const linger = (socket: Duplex): void => {
  const timer = setTimeout(() => socket.destroy(), grace)
  socket.once("close", () => clearTimeout(timer))
  socket.resume()
}
