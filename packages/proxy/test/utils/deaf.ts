/** A port that is listened on, but where nobody answers: connections to it hang. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as net from "node:net"
import { Worker } from "node:worker_threads"

/** Where a full backlog leaves further connections unanswered instead of refusing them. */
export const canHang = process.platform === "linux"

const listener = `
const { parentPort } = require("node:worker_threads")
const server = require("node:net").createServer()
server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
  parentPort.postMessage(server.address().port)
  // From here on nothing is accepted.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
})`

/** The port. Its backlog is full by the time that it is returned. */
export const deafPort: Effect.Effect<number, never, Scope.Scope> = Effect.gen(function*() {
  const worker = yield* Effect.acquireRelease(
    Effect.sync(() => new Worker(listener, { eval: true })),
    (worker) => Effect.promise(() => worker.terminate())
  )
  const port = yield* Effect.promise(() => new Promise<number>((resolve) => worker.once("message", resolve)))
  yield* filler(port)
  yield* filler(port)
  return port
})

const filler = (port: number) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      new Promise<net.Socket>((resolve) => {
        const socket = net.connect(port, "127.0.0.1", () => resolve(socket))
        socket.on("error", () => {})
      })
    ),
    (socket) => Effect.sync(() => socket.destroy())
  )
