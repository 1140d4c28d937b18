/** A relay of connections on this machine, which can lose them: what a network does to an event stream. */
import { Effect } from "effect"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"

export const startRelay = Effect.fnUntraced(function*(target: URL) {
  const sockets = new Set<Socket>()
  const keep = (socket: Socket): void => {
    sockets.add(socket)
    socket.on("close", () => sockets.delete(socket))
    socket.on("error", () => socket.destroy())
  }
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    keep(client)
    keep(upstream)
    client.pipe(upstream).pipe(client)
    client.on("close", () => upstream.destroy())
    upstream.on("close", () => client.destroy())
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.sync(() => {
        server.close()
        for (const socket of sockets) socket.destroy()
      })
  )
  const { port } = server.address() as AddressInfo
  return {
    url: new URL(`http://127.0.0.1:${port}`),
    /** Loses every connection there is; new ones come through. */
    cut: Effect.sync(() => {
      for (const socket of sockets) socket.destroy()
    })
  }
})
