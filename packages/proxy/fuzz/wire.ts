/** Plain sockets with what the fuzzers need: everything received as text, how it ended, and waits without polling. */
import { once } from "node:events"
import * as net from "node:net"
import type { Ending } from "./cases.ts"

/** One turn of the event loop: what a peer in this process has written can be read after two of them. */
export const turns = async (count: number): Promise<void> => {
  for (let left = count; left > 0; left--) await new Promise<void>((resolve) => setImmediate(resolve))
}

/** Resolves with the promise, or with `late` when that takes longer. */
export const within = async <A, B>(promise: Promise<A>, millis: number, late: B): Promise<A | B> => {
  let timer: NodeJS.Timeout | undefined
  const clock = new Promise<B>((resolve) => {
    timer = setTimeout(() => resolve(late), millis)
  })
  try {
    return await Promise.race([promise, clock])
  } finally {
    clearTimeout(timer)
  }
}

/** One end of a connection. */
export class Wire {
  text = ""
  /** How the peer ended its side. */
  ended: "fin" | "rst" | undefined
  readonly socket: net.Socket
  private readonly waiting = new Set<() => void>()

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.on("data", (data: Buffer) => {
      this.text += data.toString("latin1")
      this.wake()
    })
    socket.on("end", () => this.end("fin"))
    socket.on("error", () => this.end("rst"))
    socket.on("close", () => this.end("fin"))
  }

  private end(how: "fin" | "rst"): void {
    this.ended ??= how
    this.wake()
  }

  private wake(): void {
    for (const look of this.waiting) look()
  }

  /** Whether the condition held within that time; looked at whenever something arrives. */
  async until(condition: () => boolean, millis: number): Promise<boolean> {
    let look = (): void => {}
    const met = new Promise<boolean>((resolve) => {
      look = () => {
        if (condition()) resolve(true)
      }
    })
    this.waiting.add(look)
    look()
    const result = await within(met, millis, false)
    this.waiting.delete(look)
    return result
  }

  /** Writes each text in turns of its own, then ends as told. Gives up when the connection is gone. */
  async play(writes: ReadonlyArray<string>, ending: Ending): Promise<void> {
    for (const text of writes) {
      if (this.socket.destroyed || !await this.write(text)) return
      await turns(2)
    }
    if (ending === "fin") this.socket.end()
    if (ending === "rst") this.socket.resetAndDestroy()
  }

  private write(text: string): Promise<boolean> {
    return new Promise((resolve) => {
      const gone = () => resolve(false)
      this.socket.once("close", gone)
      this.socket.write(text, "latin1", (error) => {
        this.socket.off("close", gone)
        resolve(!error)
      })
    })
  }
}

export const connect = async (port: number): Promise<Wire> => {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true })
  const wire = new Wire(socket)
  await once(socket, "connect")
  return wire
}
