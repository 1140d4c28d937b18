/** Clients that people use, through the proxy: `ws`, `undici`, `node:http`, EventSource. */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import { App, LeakCounter } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Buffer } from "node:buffer"
import { once } from "node:events"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import { Agent, EventSource } from "undici"
import { WebSocket, WebSocketServer } from "ws"
import * as Proxy from "../src/Proxy.ts"
import * as Upstream from "../src/Upstream.ts"

class Origin extends Upstream.Service<Origin>()("realClients/Origin") {}

type Path = "direct" | "value"

const through = { direct: Middleware.identity, value: Middleware.around("value", (handler) => handler) }

const origin = (server: http.Server): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.keepAliveTimeout = 60_000
      // Sound: it listens on TCP.
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as AddressInfo).port)))
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )

/** The proxy before that server. */
const proxied = Effect.fnUntraced(function*(path: Path, server: http.Server) {
  const port = yield* origin(server)
  const services = yield* Layer.build(Origin.layer({ targets: [`http://127.0.0.1:${port}`] }))
  const routes = Route.all("/*", through[path], Proxy.forward(Origin))
  return yield* Effect.provideContext(App.listen(routes, { node: { clocks: { keepAlive: "1 minute" } } }), services)
})

const both = (
  name: string,
  run: (path: Path) => Effect.Effect<unknown, unknown, Scope.Scope>,
  patience = 10_000
): void => {
  for (const path of ["direct", "value"] as const) {
    it.live(
      `${name} (${path})`,
      () => LeakCounter.expectNoLeak(Effect.scoped(run(path)), { within: "5 seconds" }),
      patience
    )
  }
}

const promised = <A>(run: () => Promise<A>): Effect.Effect<A> => Effect.promise(run)

// What the process opens once and keeps is no leak of the first case.
beforeAll(() =>
  Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const { port } = yield* proxied("direct", http.createServer((_, response) => response.end()))
    const agent = yield* undiciAgent(1)
    yield* promised(() => agent.request({ origin: `http://127.0.0.1:${port}`, path: "/", method: "GET" }))
  })))
)

// -- WebSockets --------------------------------------------------------------------------------------------------------

/** An upstream that echoes what it gets, compressed, and closes with what it is told. */
const echoing = () => {
  const server = http.createServer()
  const seen: { extensions: string; closed: Promise<ReadonlyArray<unknown>> | undefined } = {
    extensions: "",
    closed: undefined
  }
  const sockets = new WebSocketServer({ server, perMessageDeflate: { threshold: 0 } })
  sockets.on("connection", (socket) => {
    seen.extensions = socket.extensions
    seen.closed = once(socket, "close")
    socket.on("message", (data: Buffer, isBinary) => {
      const text = data.length < 100 ? data.toString() : ""
      if (text.startsWith("close ")) socket.close(Number(text.slice(6)), "as you wish")
      else socket.send(data, { binary: isBinary })
    })
  })
  return { server, seen }
}

const openSocket = (port: number) =>
  Effect.acquireRelease(
    promised(async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`, { perMessageDeflate: { threshold: 0 } })
      await once(socket, "open")
      return socket
    }),
    (socket) => Effect.sync(() => socket.terminate())
  )

const reply = async (socket: WebSocket, message: string | Buffer): Promise<Buffer> => {
  const answer = once(socket, "message")
  socket.send(message)
  // Sound: what `ws` delivers unless it is told otherwise.
  return (await answer)[0] as Buffer
}

/** Bytes that compress somewhat and show every displacement. */
const mixed = (length: number): Buffer => Buffer.from(Uint8Array.from({ length }, (_, i) => (i * i) >> 7))

describe("ws", () => {
  both("compressed messages are echoed, one of a mebibyte among them", (path) =>
    Effect.gen(function*() {
      const { seen, server } = echoing()
      const { port } = yield* proxied(path, server)
      const socket = yield* openSocket(port)
      assert.include(socket.extensions, "permessage-deflate")
      assert.include(seen.extensions, "permessage-deflate")
      yield* promised(async () => {
        assert.strictEqual((await reply(socket, "hello, hello, hello")).toString(), "hello, hello, hello")
        const large = mixed(2 ** 20)
        assert.isTrue((await reply(socket, large)).equals(large))
        const closed = once(socket, "close")
        socket.close()
        await closed
      })
    }))

  both("the close codes and reasons of both sides arrive", (path) =>
    Effect.gen(function*() {
      const { seen, server } = echoing()
      const { port } = yield* proxied(path, server)
      const mine = yield* openSocket(port)
      const theirs = seen.closed
      yield* promised(async () => {
        const closed = once(mine, "close")
        mine.close(4001, "enough")
        assert.deepStrictEqual((await closed).map(String), ["4001", "enough"])
        assert.deepStrictEqual((await theirs)?.map(String), ["4001", "enough"])
      })
      const other = yield* openSocket(port)
      yield* promised(async () => {
        const closed = once(other, "close")
        other.send("close 1011")
        assert.deepStrictEqual((await closed).map(String), ["1011", "as you wish"])
      })
    }))

  both("a client that is cut off is closed with 1006 at the upstream", (path) =>
    Effect.gen(function*() {
      const { seen, server } = echoing()
      const { port } = yield* proxied(path, server)
      const socket = yield* openSocket(port)
      socket.terminate()
      const [code] = (yield* promised(async () => await seen.closed)) ?? []
      assert.strictEqual(code, 1006)
    }))
})

// -- Connections that are kept -----------------------------------------------------------------------------------------

const connections = 1000
const rounds = 2

/** Answers once it has a whole round of requests, so that each of them needs a connection of its own. */
const inRounds = (): http.Server => {
  let waiting: Array<http.ServerResponse> = []
  return http.createServer((_, response) => {
    waiting.push(response)
    if (waiting.length < connections) return
    for (const one of waiting) one.end("hello")
    waiting = []
  })
}

const inRoundsOf = async (request: () => Promise<number>): Promise<ReadonlyArray<number>> => {
  const statuses: Array<number> = []
  for (let round = 0; round < rounds; round++) {
    statuses.push(...await Promise.all(Array.from({ length: connections }, request)))
  }
  return statuses
}

const undiciAgent = (connections: number) =>
  Effect.acquireRelease(
    Effect.sync(() => new Agent({ connections, pipelining: 1, keepAliveTimeout: 60_000 })),
    (agent) => promised(() => agent.destroy())
  )

const allAre200 = (statuses: ReadonlyArray<number>): void => {
  assert.strictEqual(statuses.length, connections * rounds)
  assert.isTrue(statuses.every((status) => status === 200))
}

describe(`${connections} kept connections`, () => {
  both("undici: all are answered, and used again", (path) =>
    Effect.gen(function*() {
      const { active, port } = yield* proxied(path, inRounds())
      const agent = yield* undiciAgent(connections)
      let opened = 0
      agent.on("connect", () => {
        opened++
      })
      const statuses = yield* promised(() =>
        inRoundsOf(async () => {
          const { body, statusCode } = await agent.request({
            origin: `http://127.0.0.1:${port}`,
            path: "/",
            method: "GET"
          })
          assert.strictEqual(await body.text(), "hello")
          return statusCode
        })
      )
      allAre200(statuses)
      assert.strictEqual(opened, connections)
      assert.strictEqual(yield* active, 0)
    }), 120_000)

  both("node:http: all are answered, and used again", (path) =>
    Effect.gen(function*() {
      const { active, port } = yield* proxied(path, inRounds())
      const agent = yield* Effect.acquireRelease(
        Effect.sync(() => new http.Agent({ keepAlive: true, maxSockets: connections, maxFreeSockets: connections })),
        (agent) => Effect.sync(() => agent.destroy())
      )
      let reused = 0
      const request = () =>
        new Promise<number>((resolve, reject) => {
          const one = http.get({ port, host: "127.0.0.1", agent }, (response) => {
            if (one.reusedSocket) reused++
            response.resume().on("end", () => resolve(response.statusCode ?? 0))
          })
          one.on("error", reject)
        })
      allAre200(yield* promised(() => inRoundsOf(request)))
      assert.strictEqual(reused, connections * (rounds - 1))
      assert.strictEqual(yield* active, 0)
    }), 120_000)
})

// -- EventSource -------------------------------------------------------------------------------------------------------

describe("EventSource", () => {
  both(
    "events arrive while the stream goes on; after its end the client is back with Last-Event-ID",
    (path) =>
      Effect.gen(function*() {
        const lastIds: Array<unknown> = []
        const streams: Array<http.ServerResponse> = []
        const server = http.createServer((request, response) => {
          lastIds.push(request.headers["last-event-id"])
          streams.push(response)
          response.writeHead(200, { "content-type": "text/event-stream" })
          response.write(`retry: 1\nid: ${streams.length}\ndata: hello ${streams.length}\n\n`)
        })
        const { url } = yield* proxied(path, server)
        const agent = yield* undiciAgent(10)
        const source = yield* Effect.acquireRelease(
          Effect.sync(() => new EventSource(`${url}/events`, { node: { dispatcher: agent } })),
          (source) => Effect.sync(() => source.close())
        )
        const nextEvent = () => once(source, "message").then(([event]) => (event as MessageEvent).data as unknown)
        yield* promised(async () => {
          assert.strictEqual(await nextEvent(), "hello 1")
          const more = nextEvent()
          streams[0]?.write("id: 1b\ndata: more\n\n")
          assert.strictEqual(await more, "more")
          const again = nextEvent()
          streams[0]?.end()
          assert.strictEqual(await again, "hello 2")
        })
        assert.deepStrictEqual(lastIds, [undefined, "1b"])
      })
  )
})
