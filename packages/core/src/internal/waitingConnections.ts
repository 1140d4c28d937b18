import type { Server } from "node:http"
import type { Socket } from "node:net"

/**
 * Connections that wait for a request without Node's parser, which they lost to an upgrade that was then refused. With the
 * first byte they are the server's again, like new ones: its limits and clocks apply from then on.
 */
export class WaitingConnections {
  private readonly sockets = new Set<Socket>()
  private readonly server: Server
  private readonly event: "connection" | "secureConnection"

  constructor(server: Server, secure: boolean) {
    this.server = server
    this.event = secure ? "secureConnection" : "connection"
  }

  /** Serves on with what was read already, and whatever follows. */
  add(socket: Socket, read: Buffer): void {
    const { keepAliveTimeout } = this.server
    const timer = keepAliveTimeout > 0 ? setTimeout(() => socket.destroy(), keepAliveTimeout) : undefined
    const stop = () => {
      clearTimeout(timer)
      this.sockets.delete(socket)
      socket.off("data", onData).off("end", onEnd).off("error", onError).off("close", stop)
    }
    const onData = (chunk: Buffer) => {
      stop()
      // Node takes bytes from where it finds them: they must not flow until it listens.
      socket.pause()
      socket.unshift(chunk)
      this.server.emit(this.event, socket)
      socket.resume()
    }
    const onEnd = () => void socket.end()
    const onError = () => {}
    this.sockets.add(socket)
    // Node's own, for when it was idle before: a new parser would not know of it.
    if ("setTimeout" in socket) socket.setTimeout(0)
    socket.on("data", onData).on("end", onEnd).on("error", onError).on("close", stop)
    if (read.length > 0) socket.unshift(read)
    socket.resume()
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy()
  }
}
