/**
 * Moves bodies of gigabytes through the reverse-proxy example, in a process of its own, and watches its memory.
 *
 * `node benchmarks/bigbodies.ts [--gib 5] [--main FILE] [--node FLAG]...`: uploads as much and downloads as much, half of it
 * with a Content-Length and half of it chunked, while one more client reads a mebibyte a second. `--main` runs another
 * program that takes the example's arguments, `--node` gives a flag to Node. Linux only: memory is read from /proc. Exits
 * with 1 when the memory grows after the first 500 MiB, or is 200 MB at any time.
 */
import * as Fs from "node:fs"
import * as Net from "node:net"
import { parseArgs } from "node:util"
import { reverseProxy, start } from "./programs.ts"

const mib = 2 ** 20
/** What "no growth" allows, in bytes: collections don't come at the same moment each time. */
const tolerance = 10e6
const most = 200e6
const block = Buffer.alloc(65_536, "x")
const framedBlock = Buffer.concat([Buffer.from("10000\r\n"), block, Buffer.from("\r\n")])
const lastChunk = Buffer.from("0\r\n\r\n")

/** Writes as many blocks as the socket takes, whenever it takes any. */
const pour = (socket: Net.Socket, piece: Buffer, count: number, done: () => void): void => {
  let left = count
  const more = (): void => {
    while (left > 0) {
      left--
      if (!socket.write(piece)) return
    }
    socket.off("drain", more)
    done()
  }
  socket.on("drain", more)
  more()
}

const pourBody = (socket: Net.Socket, bytes: number, chunked: boolean): void => {
  const count = bytes / block.length
  if (chunked) pour(socket, framedBlock, count, () => socket.write(lastChunk))
  else pour(socket, block, count, () => {})
}

// -- Upstream ----------------------------------------------------------------------------------------------------------

const framingOf = (bytes: number, chunked: boolean): string =>
  chunked ? "Transfer-Encoding: chunked" : `Content-Length: ${bytes}`

/** `GET /length/N` and `GET /chunked/N` are answered with N bytes; a POST with its own end, once it has come. */
const answer = (socket: Net.Socket): void => {
  let head = ""
  let left = 0
  let tail = Buffer.alloc(0)
  const thanks = (): void => {
    head = ""
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthanks")
  }
  const onBody = (data: Buffer): void => {
    if (left !== Infinity) {
      left -= data.length
      if (left === 0) thanks()
      return
    }
    tail = Buffer.concat([tail, data.subarray(-lastChunk.length)]).subarray(-lastChunk.length)
    if (tail.equals(lastChunk)) thanks()
  }
  socket.on("error", () => {})
  socket.on("data", (data) => {
    if (head.includes("\r\n\r\n")) return onBody(data)
    head += data.toString("latin1")
    const end = head.indexOf("\r\n\r\n")
    if (end === -1) return
    const rest = Buffer.from(head.slice(end + 4), "latin1")
    const [, method, framing, bytes] = /^(\w+) \/(\w+)\/(\d+) /.exec(head) ?? []
    const chunked = framing === "chunked"
    if (method === "GET") {
      head = ""
      socket.write(`HTTP/1.1 200 OK\r\n${framingOf(Number(bytes), chunked)}\r\n\r\n`)
      return pourBody(socket, Number(bytes), chunked)
    }
    left = chunked ? Infinity : Number(bytes)
    if (rest.length > 0) onBody(rest)
  })
}

const upstream = (): void => {
  const server = Net.createServer({ noDelay: true }, answer)
  server.listen(0, "127.0.0.1", () => {
    // Sound: it listens on TCP.
    console.log(`listening on http://127.0.0.1:${(server.address() as Net.AddressInfo).port}`)
  })
}

// -- Clients -----------------------------------------------------------------------------------------------------------

interface Transfer {
  readonly name: string
  readonly method: "GET" | "POST"
  readonly chunked: boolean
}

/** How many bytes went through for transfers that count. */
let moved = 0

const connect = (port: number): Promise<Net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true })
    socket.once("error", reject)
    socket.once("connect", () => resolve(socket))
  })

const startLine = ({ chunked, method }: Transfer, bytes: number): string =>
  `${method} /${chunked ? "chunked" : "length"}/${bytes} HTTP/1.1\r\nHost: bench\r\n`

const download = async (port: number, transfer: Transfer, bytes: number): Promise<void> => {
  const socket = await connect(port)
  await new Promise<void>((resolve, reject) => {
    let received = 0
    socket.on("data", (data) => {
      moved += data.length
      received += data.length
      if (received >= bytes && (!transfer.chunked || data.subarray(-lastChunk.length).equals(lastChunk))) resolve()
    })
    socket.on("close", () => reject(new Error("the download was cut off")))
    socket.write(`${startLine(transfer, bytes)}\r\n`)
  })
  socket.destroy()
}

const upload = async (port: number, transfer: Transfer, bytes: number): Promise<void> => {
  const socket = await connect(port)
  const watch = setInterval(() => note(), 50)
  let before = 0
  const note = (): void => {
    moved += socket.bytesWritten - before
    before = socket.bytesWritten
  }
  await new Promise<void>((resolve, reject) => {
    let text = ""
    socket.on("data", (data) => {
      text += data.toString("latin1")
      if (!text.endsWith("thanks")) return
      if (text.startsWith("HTTP/1.1 200")) resolve()
      else reject(new Error(text))
    })
    socket.on("close", () => reject(new Error("the upload was cut off")))
    socket.write(`${startLine(transfer, bytes)}${framingOf(bytes, transfer.chunked)}\r\n\r\n`)
    pourBody(socket, bytes, transfer.chunked)
  })
  note()
  clearInterval(watch)
  socket.destroy()
}

/** Reads a mebibyte each second. Returns how to stop it. */
const readSlowly = async (port: number): Promise<() => number> => {
  const socket = await connect(port)
  let left = mib
  let received = 0
  socket.on("data", (data) => {
    received += data.length
    left -= data.length
    if (left <= 0) socket.pause()
  })
  const timer = setInterval(() => {
    left += mib
    if (left > 0) socket.resume()
  }, 1000)
  socket.write("GET /length/1099511627776 HTTP/1.1\r\nHost: bench\r\n\r\n")
  return () => {
    clearInterval(timer)
    socket.destroy()
    return received
  }
}

// -- Measuring ---------------------------------------------------------------------------------------------------------

/** In bytes. */
interface Memory {
  readonly rss: number
  readonly anonymous: number
}

const memoryOf = (pid: number): Memory => {
  const status = Fs.readFileSync(`/proc/${pid}/status`, "utf8")
  const bytes = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1]) * 1024
  return { rss: bytes("VmRSS"), anonymous: bytes("RssAnon") }
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`
const show = ({ anonymous, rss }: Memory): string => `${megabytes(rss)} (${megabytes(anonymous)} anonymous)`
const larger = (a: Memory, b: Memory): Memory => a.rss >= b.rss ? a : b

const transfers: ReadonlyArray<Transfer> = [
  { name: "up, Content-Length", method: "POST", chunked: false },
  { name: "up, chunked", method: "POST", chunked: true },
  { name: "down, Content-Length", method: "GET", chunked: false },
  { name: "down, chunked", method: "GET", chunked: true }
]

const main = async (): Promise<void> => {
  const { values } = parseArgs({
    options: { gib: { type: "string" }, main: { type: "string" }, node: { type: "string", multiple: true } }
  })
  const each = Math.round(Number(values.gib ?? 5) * 512) * mib
  const origin = await start([import.meta.filename, "upstream"])
  const example = values.main ?? reverseProxy
  const proxy = await start([...values.node ?? [], example, "--to", `http://127.0.0.1:${origin.port}`, "--port", "0"])
  const first = memoryOf(proxy.pid)
  console.log(`at start: ${show(first)}`)
  let warm: Memory | undefined
  let max = first
  let phase = first
  const sample = setInterval(() => {
    const now = memoryOf(proxy.pid)
    phase = larger(phase, now)
    max = larger(max, now)
    if (warm !== undefined || moved < 500 * mib) return
    warm = max
    console.log(`after 500 MiB: ${show(max)} at most`)
  }, 50)
  const stop = await readSlowly(proxy.port)
  for (const transfer of transfers) {
    const started = performance.now()
    phase = memoryOf(proxy.pid)
    await (transfer.method === "GET" ? download : upload)(proxy.port, transfer, each)
    const seconds = (performance.now() - started) / 1000
    const end = memoryOf(proxy.pid)
    const rate = each / mib / seconds
    console.log(
      `${transfer.name}: ${each / mib} MiB, ${rate.toFixed(0)} MiB/s, at most ${show(phase)}, at the end ${show(end)}`
    )
  }
  clearInterval(sample)
  console.log(`the slow reader got ${(stop() / mib).toFixed(0)} MiB`)
  const end = memoryOf(proxy.pid)
  console.log(`max ${show(max)}, end ${show(end)}`)
  proxy.process.kill()
  origin.process.kill()
  if (warm === undefined) throw new Error("too little was moved")
  const growth = max.rss - warm.rss
  const ok = growth <= tolerance && max.rss < most
  const verdict = ok ? "ok" : "NOT OK"
  console.log(`${verdict}: ${megabytes(growth)} more than after 500 MiB, ${megabytes(max.rss)} of ${megabytes(most)}`)
  process.exitCode = ok ? 0 : 1
}

if (process.argv[2] === "upstream") upstream()
else await main()
