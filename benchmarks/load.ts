/** Clients that cost little: sockets that write bytes and count what comes back. */
import * as Net from "node:net"

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export const random = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

let responses = 0

/** How many whole responses there were. */
export const answered = (): number => responses

/** A connection that is kept and used for one request after another. */
export interface Client {
  readonly send: (requests: number) => Promise<void>
  readonly close: () => void
}

/** Connects. A response is over when it ends with `tail`; `fields` are lines that each request has as well. */
export const connect = (port: number, tail: string, fields = "", path = "/"): Promise<Client> =>
  new Promise((resolve, reject) => {
    const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: bench\r\n${fields}\r\n`)
    const end = Buffer.from(tail)
    let left = 0
    let done = () => {}
    let failed: (error: Error) => void = reject
    const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true })
    socket.on("error", (error) => failed(error))
    socket.on("close", () => failed(new Error("the server has closed a connection that it should keep")))
    socket.on("data", (chunk) => {
      if (!chunk.subarray(-end.length).equals(end)) return
      responses++
      if (--left > 0) socket.write(request)
      else done()
    })
    const send = (requests: number) =>
      new Promise<void>((resolve, reject) => {
        left = requests
        done = resolve
        failed = reject
        socket.write(request)
      })
    socket.on("connect", () => {
      resolve({
        send,
        close: () => {
          failed = () => {}
          socket.destroy()
        }
      })
    })
  })

/** Sends requests over several connections, which it closes afterwards. */
export const keepAlive = async (
  options: { readonly port: number; readonly connections: number; readonly requests: number; readonly tail: string }
): Promise<void> => {
  const each = Math.ceil(options.requests / options.connections)
  await Promise.all(Array.from({ length: options.connections }, async () => {
    const client = await connect(options.port, options.tail)
    await client.send(each)
    client.close()
  }))
}

/** When a client leaves. */
export type Moment = "before the head" | "in the body" | "in the upload"

export const moments: ReadonlyArray<Moment> = ["before the head", "in the body", "in the upload"]
const chunk = Buffer.alloc(16_384, "x")

/** Makes requests that are all given up, each at a moment that the seed decides. Returns how many there were of each. */
export const abortive = async (
  options: { readonly port: number; readonly connections: number; readonly requests: number; readonly seed: number }
): Promise<Record<Moment, number>> => {
  const draw = random(options.seed)
  const counts: Record<Moment, number> = { "before the head": 0, "in the body": 0, "in the upload": 0 }
  let left = options.requests
  const worker = async () => {
    while (left-- > 0) {
      const moment = moments[Math.floor(draw() * moments.length)]
      counts[moment]++
      await abort(options.port, moment, draw)
    }
  }
  await Promise.all(Array.from({ length: options.connections }, worker))
  return counts
}

const abort = (port: number, moment: Moment, draw: () => number): Promise<void> =>
  new Promise((resolve) => {
    const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true })
    const reset = draw() < 0.5
    const leave = () => {
      if (reset) socket.resetAndDestroy()
      else socket.destroy()
    }
    /** Anything from none to twenty turns of the event loop: about until the upstream has got the request. */
    const leaveSoon = (turns = Math.floor(draw() * 20)): void => {
      if (turns === 0) leave()
      else setImmediate(leaveSoon, turns - 1)
    }
    socket.on("error", () => {})
    socket.on("close", () => resolve())
    socket.on("connect", () => {
      if (moment === "before the head") {
        socket.write("GET /hang HTTP/1.1\r\nHost: bench\r\n\r\n")
        leaveSoon()
      } else if (moment === "in the body") {
        const enough = 1 + Math.floor(draw() * 200_000)
        let received = 0
        socket.on("data", (data) => {
          received += data.length
          if (received >= enough) leave()
        })
        socket.write("GET /endless HTTP/1.1\r\nHost: bench\r\n\r\n")
      } else {
        socket.write("POST /upload HTTP/1.1\r\nHost: bench\r\nContent-Length: 1048576\r\n\r\n")
        for (let chunks = Math.floor(draw() * 8); chunks > 0; chunks--) socket.write(chunk)
        leaveSoon()
      }
    })
  })
