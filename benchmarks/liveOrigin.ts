/**
 * The upstream of what stays open: a socket server that parses as little as it can. A WebSocket gets back what it sends, in
 * frames of {@link messageLength} bytes; any other request gets a stream of events, all of them the same event every
 * {@link pace} milliseconds.
 */
import { createHash } from "node:crypto"
import * as Net from "node:net"
import { messageLength, pace } from "./liveTraffic.ts"

const streams = new Set<Net.Socket>()
const padding = "x".repeat(80)

const tick = (): void => {
  if (streams.size === 0) return
  const event = `data: ${process.hrtime.bigint()} ${padding}\n\n`
  const chunk = Buffer.from(`${event.length.toString(16)}\r\n${event}\r\n`)
  for (const socket of streams) socket.write(chunk)
}
setInterval(tick, pace)

const eventsHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n"
  + "Transfer-Encoding: chunked\r\n\r\n"

const acceptOf = (head: string): string => {
  const key = /^sec-websocket-key: *(\S+)/im.exec(head)?.[1] ?? ""
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64")
}

/** A client's frame has six bytes before its payload: two, and the mask. */
const frameLength = 6 + messageLength
const reply = Buffer.concat([Buffer.from([0x82, messageLength]), Buffer.alloc(messageLength, "x")])

const echo = (socket: Net.Socket): void => {
  let received = 0
  socket.on("data", (data) => {
    received += data.length
    for (; received >= frameLength; received -= frameLength) socket.write(reply)
  })
}

const serve = (socket: Net.Socket): void => {
  let head = ""
  const onHead = (data: Buffer): void => {
    head += data.toString("latin1")
    if (!head.includes("\r\n\r\n")) return
    socket.off("data", onHead)
    if (/^upgrade: *websocket/im.test(head)) {
      const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      socket.write(`${upgraded}Sec-WebSocket-Accept: ${acceptOf(head)}\r\n\r\n`)
      echo(socket)
    } else {
      socket.write(eventsHead)
      streams.add(socket)
      socket.resume()
    }
  }
  socket.on("error", () => {}).on("data", onHead).once("close", () => streams.delete(socket))
}

const server = Net.createServer({ noDelay: true }, serve)
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  // Sound: it listens on TCP.
  console.log(`listening on http://127.0.0.1:${(server.address() as Net.AddressInfo).port}`)
})
