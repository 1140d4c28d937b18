import { assert, describe, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as Scope from "effect/Scope"
import * as http from "node:http"
import * as net from "node:net"
import { duplexPair } from "node:stream"
import * as Body from "../src/Body.ts"
import type * as Transport from "../src/Transport.ts"
import * as Http1 from "../src/transport/Http1.ts"
import { shop } from "./utils/certificates.ts"
import { both, ok, raw, roundTrip } from "./utils/proxied.ts"
import { call, type Options, type Upstream, upstream } from "./utils/upstream.ts"

const run = <A, E>(effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>) =>
  Effect.provide(effect, Http1.layer())

const size = 1024 * 1024

/** Bytes that show every displacement. */
const content = Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * i) >> 7))

/** Answers once all of the body has come. */
const answering = (options: Options = {}) =>
  upstream({
    ...options,
    onConnection: (socket) => {
      let left = size
      socket.on("data", (data: Buffer) => {
        const head = data.indexOf("\r\n\r\n")
        left -= data.length - (left === size ? head + 4 : 0)
        if (left === 0) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
      })
    }
  })

const arrived = ({ received: [text = ""] }: Upstream): boolean =>
  Buffer.from(text.slice(text.indexOf("\r\n\r\n") + 4), "latin1").equals(content)

const head = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`

/** The request that comes in on the stream that `connect` makes. */
const incoming = (
  connect: (server: http.Server, port: number) => void
): Effect.Effect<http.IncomingMessage, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: http.Server; readonly request: http.IncomingMessage }>((resume) => {
      const server = http.createServer((request) => resume(Effect.succeed({ server, request })))
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        if (address !== null && typeof address === "object") connect(server, address.port)
      })
    }),
    ({ server }) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map(({ request }) => request))

/** Over a socket, from which Node's parser reads on its own. */
const overSocket = incoming((_, port) => {
  const socket = net.connect(port, "127.0.0.1")
  socket.on("error", () => {})
  socket.write(head)
  socket.write(content)
})

/** What passes through without a listener for it. */
const passing = (request: http.IncomingMessage): Array<Buffer> => {
  const chunks: Array<Buffer> = []
  const { push } = request
  request.push = (chunk: Buffer | null) => {
    if (chunk !== null) chunks.push(chunk)
    return push.call(request, chunk)
  }
  return chunks
}

const upload = (up: Upstream, request: http.IncomingMessage) =>
  call({ ...up.endpoint, tls: { ca: shop.cert } }, { method: "POST", body: Body.oneShot(request, size) })

const total = (chunks: ReadonlyArray<Buffer>): number => chunks.reduce((sum, chunk) => sum + chunk.length, 0)

describe("the memory of an upload", () => {
  for (const [protocol, options] of [["TCP", {}], ["TLS", { tls: shop }]] as const) {
    it.live(`is given back as soon as it is written to ${protocol}`, () =>
      run(Effect.gen(function*() {
        const up = yield* answering(options)
        const request = yield* overSocket
        const chunks = passing(request)
        assert.strictEqual((yield* upload(up, request)).status, 200)
        assert.isAbove(chunks.length, 0)
        // Only what is too small to matter is left to the collector.
        assert.isBelow(total(chunks), size / 10)
        assert.isTrue(arrived(up))
      })))
  }

  it.live("is left to those who listen as well", () =>
    run(Effect.gen(function*() {
      const up = yield* answering()
      const request = yield* overSocket
      const chunks: Array<Buffer> = []
      request.on("data", (chunk: Buffer) => chunks.push(chunk)).pause()
      assert.strictEqual((yield* upload(up, request)).status, 200)
      assert.isTrue(Buffer.concat(chunks).equals(content))
      assert.isTrue(arrived(up))
    })))

  it.live("is left to one who asks for a single chunk on the way, and before the upload gets it", () =>
    run(Effect.gen(function*() {
      const up = yield* answering()
      const request = yield* overSocket
      const chunks: Array<Buffer> = []
      request.once("resume", () => request.prependOnceListener("data", (chunk: Buffer) => chunks.push(chunk)))
      assert.strictEqual((yield* upload(up, request)).status, 200)
      assert.strictEqual(chunks.length, 1)
      assert.isAbove(total(chunks), 0)
      assert.isTrue(arrived(up))
    })))

  it.live("is left to whoever wrote it to a connection in memory", () =>
    run(Effect.gen(function*() {
      const up = yield* answering()
      const pieces = Array.from({ length: 16 }, (_, i) => Buffer.from(content.subarray(i * 65_536, (i + 1) * 65_536)))
      const request = yield* incoming((server) => {
        const [client, stream] = duplexPair()
        server.emit("connection", stream)
        client.write(head)
        for (const piece of pieces) client.write(piece)
      })
      assert.strictEqual((yield* upload(up, request)).status, 200)
      assert.isTrue(Buffer.concat(pieces).equals(content))
      assert.isTrue(arrived(up))
    })))

  both("is given back under the clocks of a proxy, too", (path) =>
    Effect.gen(function*() {
      const passed: Array<Array<Buffer>> = []
      const watching = Middleware.around<never, HttpServerRequest.HttpServerRequest>("watching", (handler) =>
        Effect.andThen(
          Effect.map(HttpServerRequest.HttpServerRequest, ({ source }) => {
            if (source instanceof http.IncomingMessage) {
              passed.push(passing(source))
            }
          }),
          handler
        ), { response: "none" })
      const request = raw("POST /", [`Content-Length: ${size}`], content.toString("latin1"))
      const { got, seen } = yield* roundTrip(path, Buffer.from(request, "latin1"), ok, { stack: watching })
      assert.strictEqual(got.status, 200)
      assert.isTrue(seen.body.equals(content))
      assert.isAbove(passed[0].length, 0)
      assert.isBelow(total(passed[0]), size / 10)
    }))
})
