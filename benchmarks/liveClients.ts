/** The process of {@link clients}: `node benchmarks/liveClients.ts KIND CONNECTIONS PORT`. */
import * as Net from "node:net"
import type { Kind, Told } from "./live.ts"
import { messageLength } from "./liveTraffic.ts"

const [kind, connections, port] = [process.argv[2] as Kind, Number(process.argv[3]), Number(process.argv[4])]

/** How many connections are opened at the same time. */
const abreast = 64

/** How long each event or message took, in milliseconds, since counting began. */
let delays: Array<number> = []
let counting = false
let errors = 0

const took = (milliseconds: number): void => {
  if (counting) delays.push(milliseconds)
}

/** Connects, sends a request, and waits for its head, which it returns with what came behind it. */
const open = (request: string): Promise<{ readonly socket: Net.Socket; readonly rest: Buffer }> =>
  new Promise((resolve, reject) => {
    const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true }, () => socket.write(request))
    let received = Buffer.alloc(0)
    const onData = (data: Buffer): void => {
      received = Buffer.concat([received, data])
      const end = received.indexOf("\r\n\r\n")
      if (end === -1) return
      socket.off("data", onData)
      resolve({ socket, rest: received.subarray(end + 4) })
    }
    socket.on("data", onData).once("error", reject).once("close", () => {
      errors++
      reject(new Error(`closed behind ${received.toString("latin1")}`))
    })
  })

const requestOf = (path: string, fields = ""): string => `GET ${path} HTTP/1.1\r\nHost: bench\r\n${fields}\r\n`

const events = async (): Promise<void> => {
  const { rest, socket } = await open(requestOf("/events", "Accept: text/event-stream\r\n"))
  let text = rest.toString("latin1")
  socket.on("data", (data) => {
    text += data.toString("latin1")
    const now = process.hrtime.bigint()
    let from = 0
    for (let end; (end = text.indexOf("\n\n", from)) !== -1; from = end + 2) {
      const at = text.indexOf("data: ", from)
      if (at !== -1 && at < end) took(Number(now - BigInt(text.slice(at + 6, text.indexOf(" ", at + 6)))) / 1e6)
    }
    text = text.slice(from)
  })
}

const handshake = requestOf(
  "/echo",
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
/** Masked, with a key of zeros (RFC 6455, 5.3). */
const frame = Buffer.concat([Buffer.from([0x82, 0x80 | messageLength, 0, 0, 0, 0]), Buffer.alloc(messageLength, "x")])
const replyLength = 2 + messageLength

/** One message after another, each when the last one has come back. */
const messages = async (): Promise<void> => {
  const { rest, socket } = await open(handshake)
  let received = rest.length
  let sent = 0
  const send = (): void => {
    sent = performance.now()
    socket.write(frame)
  }
  socket.on("data", (data) => {
    received += data.length
    if (received < replyLength) return
    received -= replyLength
    took(performance.now() - sent)
    if (counting) send()
  })
  starts.push(send)
}

/** What begins when counting does. */
const starts: Array<() => void> = []

const small = requestOf("/2")

/** One request, and then silence. */
const idle = async (): Promise<void> => {
  const started = performance.now()
  const { socket } = await open(small)
  delays.push(performance.now() - started)
  socket.resume()
}

const kinds = { events, messages, idle }

const openAll = async (): Promise<void> => {
  let left = connections
  const opener = async (): Promise<void> => {
    while (left-- > 0) await kinds[kind]()
  }
  await Promise.all(Array.from({ length: abreast }, opener))
}

const told = (seconds: number): Told => {
  const sorted = delays.toSorted((a, b) => a - b)
  const quantile = (share: number): number => sorted[Math.floor((sorted.length - 1) * share)] ?? NaN
  return { count: sorted.length, rate: sorted.length / seconds, p50: quantile(0.5), p99: quantile(0.99), errors }
}

const count = async (seconds: number): Promise<Told> => {
  delays = []
  counting = true
  const from = performance.now()
  for (const start of starts) start()
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  counting = false
  return told((performance.now() - from) / 1000)
}

process.once("disconnect", () => process.exit())

const send = (value: unknown): void => void process.send?.(value)

/** Idle connections are counted while they are opened, the others afterwards. */
if (kind === "idle") {
  send("ready")
  const from = performance.now()
  await openAll()
  send(told((performance.now() - from) / 1000))
} else {
  await openAll()
  send("ready")
  process.once("message", (value) => {
    // Sound: that is what it is sent.
    void count((value as { readonly seconds: number }).seconds).then(send)
  })
}
