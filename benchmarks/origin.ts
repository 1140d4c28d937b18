/**
 * The upstream of proxy benchmarks: a socket server that parses as little as it can. `/N` is answered with N bytes, a
 * request with a Content-Length once its body has come. It listens on the address that is its argument, or on 127.0.0.1.
 */
import * as Net from "node:net"

const responses = new Map<number, Buffer>()

const responseOf = (bytes: number): Buffer => {
  let response = responses.get(bytes)
  if (response === undefined) {
    const head = `HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\nContent-Length: ${bytes}\r\n\r\n`
    response = Buffer.from(head + "x".repeat(bytes), "latin1")
    responses.set(bytes, response)
  }
  return response
}

const serve = (socket: Net.Socket): void => {
  let text = ""
  /** Bytes of a request body that are still to come. */
  let left = 0
  socket.on("error", () => {})
  socket.on("data", (data) => {
    if (left > 0) {
      left -= data.length
      if (left <= 0) socket.write(responseOf(2))
      return
    }
    text += data.toString("latin1")
    const end = text.indexOf("\r\n\r\n")
    if (end === -1) return
    const head = text.slice(0, end)
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
    left = length - (text.length - end - 4)
    text = ""
    if (length === 0) socket.write(responseOf(Number(/\/(\d+) /.exec(head)?.[1] ?? 2)))
    else if (left <= 0) socket.write(responseOf(2))
  })
}

const server = Net.createServer({ noDelay: true }, serve)
server.listen(0, process.argv[2] ?? "127.0.0.1", () => {
  // Sound: it listens on TCP.
  console.log(`listening on http://127.0.0.1:${(server.address() as Net.AddressInfo).port}`)
})
