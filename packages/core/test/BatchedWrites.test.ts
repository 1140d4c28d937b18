import { assert, describe, it } from "@effect/vitest"
import { BatchedWrites } from "@sluice/core"
import { AsyncLocalStorage } from "node:async_hooks"
import { once } from "node:events"
import { connect, createServer, type Server, type Socket } from "node:net"
import { afterAll, beforeAll } from "vitest"

let server: Server
const accepted: Array<(socket: Socket) => void> = []

beforeAll(async () => {
  server = createServer((socket) => accepted.shift()?.(socket))
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
})
afterAll(() => server.close())

/** Both ends of a connection; what comes in at the other is collected. */
const pair = async () => {
  const peer = new Promise<Socket>((resolve) => accepted.push(resolve))
  const socket = connect((server.address() as { port: number }).port, "127.0.0.1")
  await once(socket, "connect")
  const other = await peer
  let text = ""
  other.on("data", (chunk) => {
    text += chunk.toString()
  })
  const ended = once(other, "end")
  return {
    socket,
    received: async () => {
      await ended
      return text
    }
  }
}

/** What has gone to the system. */
const sent = (socket: Socket) => (socket as unknown as { _bytesDispatched: number })._bytesDispatched

describe("BatchedWrites", () => {
  it("writes at the end of the turn, in order", async () => {
    const { received, socket } = await pair()
    BatchedWrites.enable(socket)
    socket.write("one ")
    assert.strictEqual(sent(socket), 0)
    assert.strictEqual(socket.bytesWritten, 4)
    socket.write(Buffer.from("two "))
    socket.cork()
    socket.write("thrée ")
    socket.end("four")
    assert.strictEqual(sent(socket), 0)
    assert.strictEqual(socket.bytesWritten, 19)
    assert.strictEqual(await received(), "one two thrée four")
  })

  it("what is long goes out at once, behind what was there", async () => {
    const { received, socket } = await pair()
    BatchedWrites.enable(socket)
    socket.write("a".repeat(20_000))
    assert.strictEqual(sent(socket), 20_000)
    socket.write("short")
    socket.end("b".repeat(20_000))
    assert.isBelow(sent(socket), 20_006)
    assert.strictEqual(await received(), `${"a".repeat(20_000)}short${"b".repeat(20_000)}`)
  })

  it("what was written before it is destroyed still goes out", async () => {
    const { received, socket } = await pair()
    BatchedWrites.enable(socket)
    socket.write("last words")
    socket.destroy()
    assert.strictEqual(await received(), "last words")
  })

  it("more sockets than a batch has room for, all in one turn", async () => {
    const pairs = await Promise.all(Array.from({ length: 150 }, pair))
    for (const { socket } of pairs) BatchedWrites.enable(socket)
    pairs.forEach(({ socket }, i) => socket.end(`${i}`))
    const texts = await Promise.all(pairs.map(({ received }) => received()))
    assert.deepStrictEqual(texts, pairs.map((_, i) => `${i}`))
  })

  it("a callback is told that the socket was destroyed", async () => {
    const { socket } = await pair()
    BatchedWrites.enable(socket)
    const failed = new Promise((resolve) => {
      socket.destroy()
      socket.write("too late", resolve)
    })
    assert.instanceOf(await failed, Error)
  })

  it("a write while it connects", async () => {
    const peer = new Promise<Socket>((resolve) => accepted.push(resolve))
    const socket = connect((server.address() as { port: number }).port, "127.0.0.1")
    BatchedWrites.enable(socket)
    socket.end("early")
    const [chunk] = await once(await peer, "data")
    assert.strictEqual(String(chunk), "early")
  })

  it("callbacks are in nobody's context, and once it is disabled in the writer's", async () => {
    const { received, socket } = await pair()
    const storage = new AsyncLocalStorage<string>()
    const contexts: Array<string | undefined> = []
    const write = (text: string) =>
      storage.run(text, () =>
        new Promise<void>((resolve) => {
          socket.write(text, () => {
            contexts.push(storage.getStore())
            resolve()
          })
        }))
    BatchedWrites.enable(socket)
    await write("batched ")
    socket.write("kept ")
    BatchedWrites.disable(socket)
    assert.strictEqual(sent(socket), 13)
    await write("at once")
    socket.end()
    assert.deepStrictEqual(contexts, [undefined, "at once"])
    assert.strictEqual(await received(), "batched kept at once")
  })

  it("what waits for the end of the turn has its turn among the sockets, and its writes go out at once", async () => {
    const { received, socket } = await pair()
    const other = await pair()
    BatchedWrites.enable(socket)
    BatchedWrites.enable(other.socket)
    const seen: Array<number> = []
    socket.write("one")
    BatchedWrites.atEndOfTurn({
      flush: () => {
        seen.push(sent(socket), sent(other.socket))
        other.socket.end("two")
        seen.push(sent(other.socket))
      }
    })
    assert.deepStrictEqual(seen, [])
    assert.strictEqual(await other.received(), "two")
    assert.deepStrictEqual(seen, [3, 0, 3])
    socket.end()
    assert.strictEqual(await received(), "one")
  })

  it("one that throws takes nothing from those behind it", async () => {
    const { received, socket } = await pair()
    BatchedWrites.enable(socket)
    const listeners = process.listeners("uncaughtException")
    process.removeAllListeners("uncaughtException")
    const thrown = once(process, "uncaughtException")
    BatchedWrites.atEndOfTurn({
      flush: () => {
        throw new Error("a listener of the user's")
      }
    })
    socket.end("all the same")
    const [error] = await thrown
    for (const listener of listeners) process.on("uncaughtException", listener)
    assert.strictEqual((error as Error).message, "a listener of the user's")
    assert.strictEqual(await received(), "all the same")
  })
})
