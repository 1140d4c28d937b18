import type { Server } from "node:http"
import type { Socket } from "node:net"

/**
 * Connections on which nothing has been asked yet. Node up to 24 does not count them as idle, so a draining server would
 * leave them open.
 */
export const silentConnections = (server: Server, secure: boolean): { readonly close: () => void } => {
  const sockets = new Set<Socket>()
  // One for all: a kept connection that does nothing should hold as little as may be.
  function forget(this: Socket): void {
    sockets.delete(this)
  }
  server.on(secure ? "secureConnection" : "connection", (socket: Socket) => {
    // One that lost its parser to an upgrade comes again.
    if (sockets.has(socket)) return
    sockets.add(socket)
    socket.on("close", forget)
  })
  return {
    close: () => {
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
    }
  }
}
