import { assert, describe, it } from "@effect/vitest"
import * as Fields from "@sluice/core/Fields"
import * as NodeServer from "@sluice/core/NodeServer"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import { LeakCounter } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as FastCheck from "fast-check"
import * as fs from "node:fs"
import * as http from "node:http"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { type Duplex, duplexPair, PassThrough, Readable } from "node:stream"
import * as tls from "node:tls"
import * as Body from "../src/Body.ts"
import * as ClientConnection from "../src/ClientConnection.ts"
import type * as ConnectionEnd from "../src/ConnectionEnd.ts"
import * as ProxyError from "../src/ProxyError.ts"
import { shop } from "./utils/certificates.ts"
import { peer } from "./utils/inMemory.ts"
import { upstream } from "./utils/upstream.ts"

type Connection = ClientConnection.ClientConnection

const get = (target: string, more: Partial<ClientConnection.Request> = {}): ClientConnection.Request => ({
  method: "GET",
  target,
  fields: ["Host", "shop.test"],
  ...more
})

const post = (target: string, body: Body.Body, fields: ReadonlyArray<string> = []) =>
  get(target, { method: "POST", body, fields: ["Host", "shop.test", ...fields] })

const textOf = (response: ClientConnection.Response) => Stream.mkString(Stream.decodeText(response.body))

/** An exchange to the end of its body. */
const call = (connection: Connection, request: ClientConnection.Request) =>
  Effect.scoped(
    Effect.flatMap(
      connection.exchange(request),
      (response) => Effect.map(textOf(response), (text) => ({ ...response, text }))
    )
  )

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Lets everything that is ready in the event loop happen. */
const settle = Effect.promise(async () => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
})

const ok = (text: string, fields = "") => `HTTP/1.1 200 OK\r\n${fields}Content-Length: ${text.length}\r\n\r\n${text}`

const connect = Effect.fnUntraced(function*(options?: ClientConnection.Options) {
  const far = peer()
  return { ...far, connection: yield* ClientConnection.make(far.near, options) }
})

const ended = (self: Effect.Effect<unknown, ClientConnection.ExchangeError | ProxyError.Committed>) =>
  Effect.map(Effect.flip(self), (error) => {
    assert.strictEqual(error._tag, "ConnectionEnded")
    return error as ConnectionEnd.ConnectionEnded
  })

const Echo = Layer.mergeAll(
  Route.post(
    "/echo",
    Effect.map(HttpServerRequest.HttpServerRequest, (request) => HttpServerResponse.stream(request.stream))
  ),
  Route.get("/hello", Effect.succeed(HttpServerResponse.text("hello")))
)

const served = <A, E, R>(use: (server: Server.Server["Service"]) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(Server.Server, use).pipe(
    Effect.provide(Server.layer(Echo).pipe(Layer.provide(NodeServer.layer({ port: 0 }))))
  )

describe("ClientConnection with Server.serveConnection", () => {
  it.live("exchanges in memory, one after the other, and leaves nothing behind", () =>
    served((server) =>
      LeakCounter.expectNoLeak(Effect.scoped(Effect.gen(function*() {
        const [near, far] = duplexPair()
        const seen = yield* fork(Effect.callback<void>((resume) => void far.once("end", () => resume(Effect.void))))
        yield* Effect.forkScoped(server.serveConnection(far))
        yield* Effect.scoped(Effect.gen(function*() {
          const connection = yield* ClientConnection.make(near)
          const hello = yield* call(connection, get("/hello"))
          assert.deepStrictEqual([hello.status, hello.text, hello.length], [200, "hello", 5])
          const missing = yield* call(connection, get("/missing"))
          assert.strictEqual(missing.status, 404)
          const echo = yield* call(connection, post("/echo", Body.oneShot(Readable.from(["a", "bc", "def"]))))
          assert.deepStrictEqual([echo.text, echo.length], ["abcdef", undefined])
          assert.strictEqual(yield* connection.pending, 0)
        }))
        yield* Fiber.join(seen)
      })))
    ))

  it.live("over sockets: TCP, TLS and Unix, with pipelining", () =>
    served((server) =>
      Effect.gen(function*() {
        const folder = fs.mkdtempSync(path.join(os.tmpdir(), "sluice-"))
        const listen = (listener: net.Server, at: object) =>
          Effect.acquireRelease(
            Effect.callback<net.AddressInfo | string>((resume) => {
              listener.listen(at, () => resume(Effect.succeed(listener.address()!)))
            }),
            () => Effect.callback<void>((resume) => void listener.close(() => resume(Effect.void)))
          )
        const serve = (socket: Duplex) => void Effect.runFork(server.serveConnection(socket))
        const open = (socket: net.Socket, event: string) =>
          Effect.callback<net.Socket>((resume) => void socket.once(event, () => resume(Effect.succeed(socket))))
        const secured = tls.createServer({ key: shop.key, cert: shop.cert }, serve)
        const local = net.createServer(serve)
        const port = (yield* listen(secured, { port: 0, host: "127.0.0.1" })) as net.AddressInfo
        const file = (yield* listen(local, { path: path.join(folder, "s") })) as string
        const sockets = [
          yield* open(net.connect(server.url === "" ? 0 : Number(new URL(server.url).port), "127.0.0.1"), "connect"),
          yield* open(tls.connect({ port: port.port, host: "127.0.0.1", ca: shop.cert }), "secureConnect"),
          yield* open(net.connect(file), "connect")
        ]
        for (const socket of sockets) {
          const texts = yield* Effect.scoped(Effect.flatMap(
            ClientConnection.make(socket, { pipelining: true }),
            (connection) =>
              Effect.forEach(
                [get("/hello"), post("/echo", Body.replayable(Buffer.from("abc"))), get("/hello"), get("/hello")],
                (request) => call(connection, request),
                { concurrency: "unbounded" }
              )
          ))
          assert.deepStrictEqual(texts.map(({ text }) => text), ["hello", "abc", "hello", "hello"])
          assert.isTrue(socket.destroyed)
        }
        fs.rmSync(folder, { recursive: true, force: true })
      })
    ))
})

describe("ClientConnection responses", () => {
  it.effect("1xx, HEAD, 204, 304 and trailers", () =>
    Effect.gen(function*() {
      const { connection, heads, received, send } = yield* connect()
      const hints: Array<unknown> = []
      const onInformational = (status: number, fields: ReadonlyArray<string>) => void hints.push([status, ...fields])
      const head = yield* fork(call(connection, get("/", { method: "HEAD", onInformational })))
      yield* heads(1)
      yield* send(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok("abc").slice(0, -3)
      )
      assert.deepStrictEqual([(yield* Fiber.join(head)).text, hints], ["", [[103, "Link", "</a>"]]])
      for (const status of [204, 304]) {
        const none = yield* fork(call(connection, get("/")))
        yield* heads(hints.length += 1)
        yield* send(`HTTP/1.1 ${status} X\r\n\r\n`)
        assert.strictEqual((yield* Fiber.join(none)).text, "")
      }
      const chunked = yield* fork(
        Effect.scoped(
          Effect.flatMap(connection.exchange(get("/")), (response) => Effect.all([textOf(response), response.trailers]))
        )
      )
      yield* heads(4)
      yield* send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nDigest: x\r\n\r\n"
      )
      assert.deepStrictEqual(yield* Fiber.join(chunked), ["abcde", ["Digest", "x"]])
      assert.isTrue(received().startsWith("HEAD / HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
    }).pipe(Effect.scoped))

  it.effect("a body can be read once, and what is not taken is not read", () =>
    Effect.gen(function*() {
      const { connection, far, heads, send } = yield* connect()
      const fiber = yield* fork(connection.exchange(get("/")))
      yield* heads(1)
      yield* send("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
      const response = yield* Fiber.join(fiber)
      let written = 0
      while (written < 10_000_000 && far.write(Buffer.alloc(10_000))) written += 10_000
      yield* settle
      let more = 0
      while (more < 10_000_000 && far.writableLength === 0 && far.write(Buffer.alloc(10_000))) {
        more += 10_000
        yield* settle
      }
      assert.isBelow(written + more, 1_000_000)
      const first = yield* Stream.runCollect(Stream.take(response.body, 1))
      assert.isAbove(first[0].length, 0)
      assert.isTrue(Exit.hasDies(yield* Effect.exit(Stream.runDrain(response.body))))
    }).pipe(Effect.scoped))

  it.effect("a request that can't be written is refused, and the connection goes on", () =>
    Effect.gen(function*() {
      const { connection, heads, received, send } = yield* connect()
      const error = yield* Effect.flip(call(connection, get("/ x")))
      assert.instanceOf(error, ProxyError.UpstreamRequestInvalid)
      const fiber = yield* fork(call(connection, { method: "GET", target: "/", fields: [] }))
      yield* heads(1)
      yield* send(ok("a"))
      assert.strictEqual((yield* Fiber.join(fiber)).text, "a")
      assert.strictEqual(received(), "GET / HTTP/1.1\r\nHost: \r\n\r\n")
    }).pipe(Effect.scoped))

  it("bad settings are refused", () => {
    const [near] = duplexPair()
    assert.throws(() => ClientConnection.make(near, { maxHeadBytes: 0 }), RangeError, "maxHeadBytes")
    assert.throws(() => ClientConnection.make(near, { maxFields: 1.5 }), RangeError, "maxFields")
    assert.throws(() => ClientConnection.make(new PassThrough({ objectMode: true })), TypeError, "duplex")
  })
})

describe("ClientConnection order", () => {
  it.effect("without pipelining a request waits for the response before it", () =>
    Effect.gen(function*() {
      const { connection, heads, received, send } = yield* connect()
      const one = yield* fork(call(connection, get("/1")))
      const two = yield* fork(call(connection, get("/2")))
      const idle = yield* fork(connection.awaitIdle)
      yield* heads(1)
      yield* send(ok("one").slice(0, -1))
      yield* settle
      assert.notInclude(received(), "/2")
      assert.strictEqual(yield* connection.pending, 2)
      yield* send("e")
      yield* heads(2)
      assert.strictEqual(yield* connection.pending, 1)
      assert.isUndefined(idle.pollUnsafe())
      yield* send(ok("two"))
      yield* Fiber.join(idle)
      assert.deepStrictEqual([(yield* Fiber.join(one)).text, (yield* Fiber.join(two)).text], ["one", "two"])
    }).pipe(Effect.scoped))

  it.effect("RFC 9112 9.3.2: pipelines what is safe, once the peer is known to keep the connection", () =>
    Effect.gen(function*() {
      const { connection, heads, received, send } = yield* connect({ pipelining: true })
      const start = (request: ClientConnection.Request) => fork(call(connection, request))
      const fibers = [yield* start(get("/1")), yield* start(get("/2")), yield* start(get("/3"))]
      fibers.push(yield* start(post("/4", Body.replayable(Buffer.from("x")))), yield* start(get("/5")))
      yield* heads(1)
      yield* settle
      assert.notInclude(received(), "/2")
      yield* send(ok("1"))
      yield* heads(3)
      yield* settle
      assert.notInclude(received(), "/4")
      yield* send(ok("2") + ok("3"))
      yield* heads(4)
      yield* settle
      assert.notInclude(received(), "/5")
      yield* send(ok("4"))
      yield* heads(5)
      yield* send(ok("5"))
      const texts = yield* Effect.forEach(fibers, (fiber) => Effect.map(Fiber.join(fiber), ({ text }) => text))
      assert.deepStrictEqual(texts, ["1", "2", "3", "4", "5"])
    }).pipe(Effect.scoped))

  const anyAnswer = FastCheck.constantFrom(
    [ok("abc"), "abc"],
    ["HTTP/1.1 103 Early Hints\r\n\r\n" + ok(""), ""],
    ["HTTP/1.1 204 No Content\r\n\r\n", ""],
    ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\nA: b\r\n\r\n", "def"]
  )

  it.effect("pipelined responses are told apart, wherever they are cut", () =>
    Effect.promise(() =>
      FastCheck.assert(FastCheck.asyncProperty(
        FastCheck.array(anyAnswer, { minLength: 1, maxLength: 6 }),
        FastCheck.array(FastCheck.nat(400), { maxLength: 12 }),
        (answers, cuts) =>
          Effect.runPromise(Effect.scoped(Effect.gen(function*() {
            const { connection, far, heads } = yield* connect({ pipelining: true })
            const first = yield* fork(call(connection, get("/")))
            yield* heads(1)
            far.write(ok("first"))
            yield* Fiber.join(first)
            const fibers = yield* Effect.forEach(answers, () => fork(call(connection, get("/"))))
            yield* heads(1 + answers.length)
            const bytes = answers.map(([bytes]) => bytes).join("")
            const places = [0, ...cuts.map((cut) => cut % bytes.length).toSorted((a, b) => a - b), bytes.length]
            for (const [i, place] of places.entries()) far.write(bytes.slice(place, places[i + 1]), "latin1")
            const texts = yield* Effect.forEach(fibers, Fiber.join)
            assert.deepStrictEqual(texts.map(({ text }) => text), answers.map(([, text]) => text))
            assert.strictEqual(yield* connection.pending, 0)
          })))
      ))
    ))

  it.effect("nothing is pipelined behind an HTTP/1.0 response or an upgrade", () =>
    Effect.gen(function*() {
      const { connection, heads, received, send } = yield* connect({ pipelining: true })
      const one = yield* fork(call(connection, get("/1")))
      yield* heads(1)
      yield* send(`HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n`)
      yield* Fiber.join(one)
      const two = yield* fork(call(connection, get("/2")))
      const three = yield* fork(call(connection, get("/3", { upgrade: "websocket" })))
      const four = yield* fork(call(connection, get("/4")))
      yield* heads(2)
      yield* settle
      assert.notInclude(received(), "/3")
      yield* send(ok("2"))
      yield* heads(3)
      yield* settle
      assert.notInclude(received(), "/4")
      yield* send(ok("3"))
      yield* heads(4)
      yield* send(ok("4"))
      yield* Effect.forEach([two, three, four], Fiber.join)
    }).pipe(Effect.scoped))

  it.effect("Expect: 100-continue holds the body back until it is asked for, or for a second", () =>
    Effect.gen(function*() {
      const { connection, heads, received, send, until } = yield* connect()
      const body = () => post("/", Body.replayable(Buffer.from("abc")), ["Expect", "100-continue"])
      const asked = yield* fork(call(connection, body()))
      yield* heads(1)
      yield* settle
      assert.notInclude(received(), "abc")
      yield* send("HTTP/1.1 100 Continue\r\n\r\n")
      yield* until((text) => text.endsWith("abc"))
      yield* send(ok(""))
      yield* Fiber.join(asked)
      const silent = yield* fork(call(connection, body()))
      yield* heads(2)
      yield* TestClock.adjust("1 second")
      yield* until((text) => text.endsWith("\r\n\r\nabc"))
      yield* send(ok(""))
      yield* Fiber.join(silent)
      const refused = yield* fork(call(connection, body()))
      yield* heads(3)
      yield* send(ok("no"))
      assert.strictEqual((yield* Fiber.join(refused)).text, "no")
      assert.deepStrictEqual(yield* connection.closed, { _tag: "ClosedByUs", reason: "RequestIncomplete" })
    }).pipe(Effect.scoped))
})

describe("ClientConnection ends", () => {
  const peerEnds: ReadonlyArray<readonly [ConnectionEnd.PeerEnds["reason"], string]> = [
    ["ConnectionClose", ok("abc", "Connection: close\r\n")],
    ["Http10", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc"],
    ["CloseDelimited", "HTTP/1.1 200 OK\r\n\r\nabc"],
    ["Ambiguous", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n"]
  ]
  for (const [reason, bytes] of peerEnds) {
    it.effect(`PeerEnds: ${reason}; those behind may be sent again`, () =>
      Effect.gen(function*() {
        const { connection, far, heads, near, received, send } = yield* connect()
        const one = yield* fork(call(connection, get("/1")))
        const two = yield* fork(ended(call(connection, post("/2", Body.oneShot(Readable.from(["x"]))))))
        yield* heads(1)
        yield* send(bytes)
        const { end, retryable } = yield* Fiber.join(two)
        assert.deepStrictEqual([end, retryable], [{ _tag: "PeerEnds", reason }, "always"])
        far.end()
        assert.strictEqual((yield* Fiber.join(one)).text, reason === "Ambiguous" ? "" : "abc")
        assert.deepStrictEqual(yield* connection.closed, { _tag: "PeerEnds", reason })
        assert.deepStrictEqual((yield* ended(call(connection, get("/3")))).end, { _tag: "PeerEnds", reason })
        assert.isTrue(near.destroyed)
        assert.notInclude(received(), "/2")
      }).pipe(Effect.scoped))
  }

  it.effect("PeerEnds: an idle connection is closed", () =>
    Effect.gen(function*() {
      const { connection, far } = yield* connect()
      far.end()
      assert.deepStrictEqual(yield* connection.closed, { _tag: "PeerEnds", reason: "Closed" })
      yield* connection.awaitIdle
    }).pipe(Effect.scoped))

  it.effect("ClosedByUs: the scope closes, with exchanges under way", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { connection, heads, near } = yield* Scope.provide(connect(), scope)
      const one = yield* fork(ended(call(connection, get("/1"))))
      const two = yield* fork(ended(call(connection, get("/2"))))
      yield* heads(1)
      yield* Scope.close(scope, Exit.void)
      const end: ConnectionEnd.ConnectionEnd = { _tag: "ClosedByUs", reason: "Closed" }
      const errors = [yield* Fiber.join(one), yield* Fiber.join(two)]
      assert.deepStrictEqual(errors.map(({ end, retryable }) => [end, retryable]), [
        [end, "idempotent"],
        [end, "always"]
      ])
      assert.deepStrictEqual(yield* connection.closed, end)
      assert.isTrue(near.destroyed)
    }))

  it.effect("what was sent may be sent again if its method is idempotent and its body is not used up", () =>
    Effect.gen(function*() {
      const bodies: ReadonlyArray<readonly [method: string, body: () => Body.Body, retryable: string]> = [
        ["PUT", () => Body.replayable(Buffer.from("abc")), "idempotent"],
        ["PUT", () => Body.oneShot(Readable.from(["abc"])), "never"],
        ["POST", () => Body.replayable(Buffer.from("abc")), "never"],
        ["POST", () => Body.empty, "never"]
      ]
      for (const [method, body, retryable] of bodies) {
        const scope = yield* Scope.make()
        const { connection, until } = yield* Scope.provide(connect(), scope)
        const request = get("/", { method, body: body() })
        const fiber = yield* fork(ended(call(connection, request)))
        yield* until((text) => method === "POST" || text.includes("abc"))
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Fiber.join(fiber)).retryable, retryable)
      }
    }))

  it.effect("in a scope that is closed no exchange begins, and the connection stays as it is", () =>
    Effect.gen(function*() {
      const { connection, heads, received, send } = yield* connect()
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      const exit = yield* Effect.exit(Scope.provide(connection.exchange(get("/never")), scope))
      assert.isTrue(Exit.hasInterrupts(exit))
      const next = yield* fork(call(connection, get("/2")))
      yield* heads(1)
      assert.notInclude(received(), "/never")
      yield* send("HTTP/1.1 204 No Content\r\n\r\n")
      assert.strictEqual((yield* Fiber.join(next)).status, 204)
    }).pipe(Effect.scoped))

  it.effect("a response whose peer ends the connection is still read to its end", () =>
    Effect.gen(function*() {
      const { connection, heads, near, send } = yield* connect()
      const fiber = yield* fork(call(connection, get("/")))
      yield* heads(1)
      yield* send(ok("abc", "Connection: close\r\n").slice(0, -2))
      yield* settle
      assert.strictEqual((yield* ended(call(connection, get("/")))).retryable, "always")
      assert.isFalse(near.destroyed)
      yield* send("bc")
      assert.strictEqual((yield* Fiber.join(fiber)).text, "abc")
      assert.isTrue(near.destroyed)
    }).pipe(Effect.scoped))

  it.effect("an exchange that takes too long is timed out by its caller, and takes the connection with it", () =>
    Effect.gen(function*() {
      const { connection, heads } = yield* connect()
      const fiber = yield* fork(Effect.flip(Effect.timeout(call(connection, get("/")), "5 seconds")))
      yield* heads(1)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "TimeoutError")
      assert.deepStrictEqual(yield* connection.closed, { _tag: "ClosedByUs", reason: "Abandoned" })
    }).pipe(Effect.scoped))

  const broken: ReadonlyArray<readonly [name: string, bytes: string, tag: string, reason: string | undefined]> = [
    ["no HTTP", "SSH-2.0\r\n", "UpstreamResponseInvalid", "StatusLine"],
    ["a framing conflict", ok("a", "Transfer-Encoding: chunked\r\n"), "UpstreamResponseInvalid", "FramingConflict"],
    ["within the head", "HTTP/1.1 200 OK\r\n", "UpstreamResponseInvalid", "Incomplete"],
    ["a head that is too large", ok("", `A: ${"a".repeat(500)}\r\n`), "UpstreamResponseInvalid", "HeadTooLarge"],
    ["too many fields", ok("", "A: a\r\n".repeat(9)), "UpstreamResponseInvalid", "TooManyFields"],
    ["an unsolicited 101", "HTTP/1.1 101 X\r\nUpgrade: y\r\n\r\n", "UpstreamResponseInvalid", "UnsolicitedSwitch"],
    ["closed", "", "UpstreamClosedBeforeResponse", undefined],
    ["within the body", ok("abc").slice(0, -1), "UpstreamBodyTruncated", "Closed"],
    [
      "a bad chunk",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "UpstreamBodyTruncated",
      "Chunk"
    ]
  ]
  for (const [name, bytes, tag, reason] of broken) {
    it.effect(`PipelineBroken: ${name}`, () =>
      Effect.gen(function*() {
        const { connection, far, heads, send } = yield* connect({ maxHeadBytes: 400, maxFields: 8 })
        const one = yield* fork(Effect.flip(call(connection, get("/1"))))
        const two = yield* fork(ended(call(connection, get("/2"))))
        yield* heads(1)
        yield* send(bytes)
        far.end()
        const error = yield* Fiber.join(one)
        assert.deepStrictEqual([error._tag, "reason" in error ? error.reason : undefined], [tag, reason])
        assert.strictEqual("bytesReceived" in error && error.bytesReceived, bytes.length)
        const end = yield* connection.closed
        assert.strictEqual<unknown>(end._tag === "PipelineBroken" && end.cause, error)
        const behind = yield* Fiber.join(two)
        assert.deepStrictEqual([behind.end, behind.retryable], [end, "always"])
      }).pipe(Effect.scoped))
  }

  it.effect("PipelineBroken: a reset is a truncation, also of a body that ends with the connection", () =>
    Effect.gen(function*() {
      const up = yield* upstream({ onRequest: (socket) => socket.write("HTTP/1.1 200 OK\r\n\r\nabc") })
      const connection = yield* ClientConnection.make(net.connect(up.endpoint.port, "127.0.0.1"))
      const response = yield* connection.exchange(get("/"))
      const first = yield* fork(Effect.flip(Stream.runForEach(response.body, () =>
        Effect.sync(() => {
          up.sockets[0].resetAndDestroy()
        }))))
      const error = yield* Fiber.join(first)
      assert.strictEqual(error._tag === "UpstreamBodyTruncated" && error.reason, "Reset")
      const end = yield* connection.closed
      assert.strictEqual(end._tag === "PipelineBroken" && end.cause, error)
    }).pipe(Effect.scoped))

  it.effect("PipelineBroken: bytes that nobody asked for, once somebody needs the connection", () =>
    Effect.gen(function*() {
      const { connection, heads, send } = yield* connect()
      const one = yield* fork(call(connection, get("/1")))
      yield* heads(1)
      yield* send(ok("a") + ok("b"))
      yield* Fiber.join(one)
      const error = yield* ended(call(connection, get("/2")))
      assert.strictEqual(error.retryable, "always")
      assert.strictEqual(error.end._tag === "PipelineBroken" && error.end.cause._tag, "UnsolicitedBytes")
    }).pipe(Effect.scoped))

  it.effect("PipelineBroken: requests that were pipelined may be sent again", () =>
    Effect.gen(function*() {
      const { connection, far, heads, send } = yield* connect({ pipelining: true })
      const one = yield* fork(call(connection, get("/1")))
      yield* heads(1)
      yield* send(ok("1"))
      yield* Fiber.join(one)
      const two = yield* fork(Effect.flip(call(connection, get("/2"))))
      const three = yield* fork(ended(call(connection, get("/3"))))
      const four = yield* fork(ended(call(connection, post("/4", Body.replayable(Buffer.from("x"))))))
      yield* heads(3)
      far.end()
      const first = yield* Fiber.join(two)
      assert.deepStrictEqual([first.retryable, "reused" in first && first.reused], ["stale", true])
      assert.deepStrictEqual([(yield* Fiber.join(three)).retryable, (yield* Fiber.join(four)).retryable], [
        "idempotent",
        "always"
      ])
    }).pipe(Effect.scoped))

  it.effect("a stream that is over already", () =>
    Effect.gen(function*() {
      const { far, near: read } = peer()
      far.end()
      yield* Effect.callback<void>((resume) => void read.once("end", () => resume(Effect.void)).resume())
      const late = yield* ClientConnection.make(read)
      assert.deepStrictEqual(yield* late.closed, { _tag: "PeerEnds", reason: "Closed" })
      const [near] = duplexPair()
      near.destroy()
      const connection = yield* ClientConnection.make(near)
      assert.strictEqual((yield* connection.closed)._tag, "PipelineBroken")
      assert.strictEqual((yield* ended(call(connection, get("/")))).retryable, "always")
    }).pipe(Effect.scoped))
})

describe("ClientConnection interruption", () => {
  it.effect("in the queue it costs nothing", () =>
    Effect.gen(function*() {
      const { connection, heads, received, send } = yield* connect()
      const one = yield* fork(call(connection, get("/1")))
      const two = yield* fork(call(connection, get("/2")))
      const three = yield* fork(call(connection, get("/3")))
      yield* heads(1)
      yield* Fiber.interrupt(two)
      assert.strictEqual(yield* connection.pending, 2)
      yield* send(ok("1"))
      yield* heads(2)
      yield* send(ok("3"))
      assert.deepStrictEqual([(yield* Fiber.join(one)).text, (yield* Fiber.join(three)).text], ["1", "3"])
      assert.notInclude(received(), "/2")
    }).pipe(Effect.scoped))

  const abandoned: ConnectionEnd.ConnectionEnd = { _tag: "ClosedByUs", reason: "Abandoned" }

  const phases: ReadonlyArray<readonly [name: string, request: () => ClientConnection.Request, bytes: string]> = [
    ["before the head", () => get("/1"), ""],
    ["within the head", () => get("/1"), "HTTP/1.1 200 OK\r\n"],
    ["within the request body", () => post("/1", Body.oneShot(new PassThrough())), ""],
    ["within the response body", () => get("/1"), ok("abc").slice(0, -1)]
  ]
  for (const [name, request, bytes] of phases) {
    it.effect(`${name} it ends the connection`, () =>
      Effect.gen(function*() {
        const { connection, heads, near, send } = yield* connect()
        const one = yield* fork(call(connection, request()))
        const two = yield* fork(ended(call(connection, get("/2"))))
        yield* heads(1)
        yield* send(bytes)
        yield* settle
        yield* Fiber.interrupt(one)
        const error = yield* Fiber.join(two)
        assert.deepStrictEqual([error.end, error.retryable], [abandoned, "always"])
        assert.deepStrictEqual(yield* connection.closed, abandoned)
        assert.isTrue(near.destroyed)
        assert.strictEqual(yield* connection.pending, 0)
      }).pipe(Effect.scoped))
  }

  it.effect("of a pipelined request leaves those before it alone", () =>
    Effect.gen(function*() {
      const { connection, heads, near, send } = yield* connect({ pipelining: true })
      const first = yield* fork(call(connection, get("/1")))
      yield* heads(1)
      yield* send(ok("1"))
      yield* Fiber.join(first)
      const two = yield* fork(call(connection, get("/2")))
      const three = yield* fork(call(connection, get("/3")))
      const four = yield* fork(ended(call(connection, get("/4"))))
      yield* heads(4)
      yield* Fiber.interrupt(three)
      assert.deepStrictEqual((yield* Fiber.join(four)).end, abandoned)
      assert.isFalse(near.destroyed)
      yield* send(ok("2") + ok("3"))
      assert.strictEqual((yield* Fiber.join(two)).text, "2")
      assert.deepStrictEqual(yield* connection.closed, abandoned)
    }).pipe(Effect.scoped))

  it.effect("a scope that closes over a body ends the connection unless the body has come in whole", () =>
    Effect.gen(function*() {
      const { connection, heads, send } = yield* connect()
      const whole = yield* fork(Effect.scoped(connection.exchange(get("/1"))))
      yield* heads(1)
      yield* send(ok("1"))
      yield* Fiber.join(whole)
      const part = yield* fork(Effect.scoped(connection.exchange(get("/2"))))
      yield* heads(2)
      yield* send(ok("22").slice(0, -1))
      const response = yield* Fiber.join(part)
      assert.deepStrictEqual(yield* connection.closed, abandoned)
      const error = yield* Effect.flip(Stream.runDrain(response.body))
      assert.strictEqual(error._tag, "UpstreamBodyTruncated")
    }).pipe(Effect.scoped))

  it.effect("a request body that fails ends the connection, and its error is the exchange's", () =>
    Effect.gen(function*() {
      const { connection, heads } = yield* connect()
      const body = new PassThrough()
      const fiber = yield* fork(Effect.flip(call(connection, post("/", Body.oneShot(body, 5)))))
      yield* heads(1)
      body.end("abc")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "RequestBodyLengthMismatch")
      assert.deepStrictEqual(yield* connection.closed, { _tag: "ClosedByUs", reason: "RequestIncomplete" })
    }).pipe(Effect.scoped))

  it.effect("a request body of known length is whole with its last byte, whenever its stream ends", () =>
    Effect.gen(function*() {
      const { connection, heads, send, until } = yield* connect()
      const body = new PassThrough()
      const fiber = yield* fork(call(connection, post("/1", Body.oneShot(body, 3))))
      body.write("abc")
      yield* until((text) => text.endsWith("abc"))
      yield* send(ok("1"))
      yield* Fiber.join(fiber)
      const next = yield* fork(call(connection, get("/2")))
      yield* heads(2)
      yield* send(ok("2"))
      assert.strictEqual((yield* Fiber.join(next)).text, "2")
    }).pipe(Effect.scoped))

  it.effect("a request body waits for a peer that does not read", () =>
    Effect.gen(function*() {
      const { connection, far } = yield* connect()
      far.pause()
      let taken = 0
      const body = Readable.from((function*() {
        for (; taken < 1000; taken++) yield Buffer.alloc(10_000)
      })())
      const fiber = yield* fork(call(connection, post("/", Body.oneShot(body))))
      yield* settle
      assert.isBelow(taken, 100)
      far.on("data", (chunk: Buffer) => {
        if (chunk.toString("latin1").endsWith("0\r\n\r\n")) far.write(ok("done"))
      })
      far.resume()
      assert.deepStrictEqual([(yield* Fiber.join(fiber)).text, taken], ["done", 1000])
    }).pipe(Effect.scoped))
})

describe("ClientConnection hand-over", () => {
  const handedOver = (reason: ConnectionEnd.HandedOver["reason"]): ConnectionEnd.ConnectionEnd => ({
    _tag: "HandedOver",
    reason
  })

  it.effect("hijack gives the stream with what was read after the last response", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { connection, far, heads, near, send } = yield* Scope.provide(connect(), scope)
      const one = yield* fork(call(connection, get("/1")))
      yield* heads(1)
      const busy = yield* Effect.flip(connection.hijack)
      assert.deepStrictEqual([busy._tag, "pending" in busy && busy.pending], ["ConnectionBusy", 1])
      yield* send(ok("a") + "SSH-2.0")
      yield* Fiber.join(one)
      const { duplex, head } = yield* connection.hijack
      assert.strictEqual(duplex, near)
      assert.isTrue(duplex.isPaused())
      assert.deepStrictEqual([duplex.listenerCount("data"), duplex.listenerCount("drain")], [0, 0])
      assert.strictEqual(Buffer.from(head).toString(), "SSH-2.0")
      assert.deepStrictEqual((yield* ended(call(connection, get("/2")))).end, handedOver("Hijack"))
      assert.deepStrictEqual(yield* connection.closed, handedOver("Hijack"))
      assert.strictEqual((yield* Effect.flip(connection.hijack))._tag, "ConnectionEnded")
      yield* send("more")
      const more = yield* Effect.callback<string>((resume) => {
        duplex.once("data", (chunk: Buffer) => resume(Effect.succeed(chunk.toString())))
        duplex.resume()
      })
      assert.strictEqual(more, "more")
      assert.isFalse(far.destroyed)
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(near.destroyed)
    }))

  it.effect("hijack of a connection that was never used loses nothing that comes later", () =>
    Effect.gen(function*() {
      const { connection, send } = yield* connect()
      yield* settle
      const { duplex, head } = yield* connection.hijack
      assert.deepStrictEqual([head.length, duplex.isPaused()], [0, true])
      yield* send("hello")
      yield* settle
      assert.strictEqual(String(duplex.read()), "hello")
    }).pipe(Effect.scoped))

  it.effect("a 101 to a protocol that was not asked for is refused", () =>
    Effect.gen(function*() {
      const { connection, heads, send } = yield* connect()
      const one = yield* fork(Effect.flip(call(connection, get("/1", { upgrade: "chat, talk" }))))
      yield* heads(1)
      yield* send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")
      const error = yield* Fiber.join(one)
      assert.strictEqual("reason" in error && error.reason, "ProtocolSwitch")
    }).pipe(Effect.scoped))

  it.effect("a 101 gives the tunnel with its unread bytes; who waits behind it is told", () =>
    Effect.gen(function*() {
      const { connection, heads, received, send } = yield* connect()
      const one = yield* fork(Effect.scoped(connection.exchange(get("/1", { upgrade: "chat" }))))
      const two = yield* fork(ended(call(connection, get("/2"))))
      yield* heads(1)
      assert.include(received(), "Connection: Upgrade\r\nUpgrade: chat\r\n")
      yield* send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: Chat\r\n\r\nhi")
      const { body, status, tunnel } = yield* Fiber.join(one)
      assert.deepStrictEqual([status, Buffer.from(tunnel!.head).toString()], [101, "hi"])
      assert.isFalse(tunnel!.duplex.destroyed)
      yield* Stream.runDrain(body)
      const error = yield* Fiber.join(two)
      assert.deepStrictEqual([error.end, error.retryable], [handedOver("Upgrade"), "always"])
    }).pipe(Effect.scoped))

  it.effect("a tunnel carries another connection", () =>
    served((server) =>
      Effect.gen(function*() {
        const { connection, far, heads, send } = yield* connect()
        const one = yield* fork(connection.exchange(get("/", { upgrade: "http" })))
        yield* heads(1)
        far.removeAllListeners("data")
        yield* Effect.forkScoped(server.serveConnection(far), { startImmediately: true })
        yield* send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: http\r\n\r\n")
        const { tunnel } = yield* Fiber.join(one)
        const inner = yield* ClientConnection.make(tunnel!.duplex)
        assert.strictEqual((yield* call(inner, get("/hello"))).text, "hello")
      })
    ).pipe(Effect.scoped))
})

describe("ClientConnection against Node's server", () => {
  const listen = Effect.acquireRelease(
    Effect.callback<http.Server>((resume) => {
      const server = http.createServer((request, response) => {
        const [, kind = "", size = ""] = request.url?.split("/") ?? []
        const text = `${request.method} ${request.url} `.padEnd(Number(size), "x")
        let length = 0
        request.on("data", (chunk: Buffer) => (length += chunk.length))
        request.on("end", () => {
          response.setHeader("x-length", length)
          if (kind === "close") response.setHeader("connection", "close")
          if (kind !== "chunked") return response.setHeader("content-length", text.length).end(text)
          response.write(text.slice(0, 5))
          response.addTrailers({ "x-end": "yes" })
          setImmediate(() => response.end(text.slice(5)))
        })
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )

  const anyBody = FastCheck.record({
    how: FastCheck.constantFrom("replayable", "chunked", "sized"),
    size: FastCheck.constantFrom(1, 1000, 100_000),
    expects: FastCheck.boolean()
  })

  const anyRequest = FastCheck.record({
    method: FastCheck.constantFrom("GET", "GET", "GET", "HEAD", "DELETE", "POST", "PUT"),
    kind: FastCheck.constantFrom("sized", "sized", "chunked"),
    size: FastCheck.constantFrom(0, 30, 70_000),
    body: FastCheck.option(anyBody, { nil: undefined })
  })

  type Value<T> = T extends FastCheck.Arbitrary<infer A> ? A : never

  const bodyOf = ({ how, size }: Value<typeof anyBody>): Body.Body => {
    const bytes = Buffer.alloc(size, 97)
    if (how === "replayable") return Body.replayable(bytes)
    return Body.oneShot(Readable.from([bytes]), how === "sized" ? size : undefined)
  }

  /** Sends it, and looks whether the response is its own. */
  const checked = (
    connection: Connection,
    { body, kind, method, size }: Value<typeof anyRequest>,
    i: number
  ) => {
    const target = `/${kind}/${size}/${i}`
    const fields = ["Host", "a", ...(body?.expects === true ? ["Expect", "100-continue"] : [])]
    const request = get(target, { method, fields, ...(body === undefined ? {} : { body: bodyOf(body) }) })
    return Effect.map(call(connection, request), (response) => {
      assert.strictEqual(response.text, method === "HEAD" ? "" : `${method} ${target} `.padEnd(size, "x"))
      assert.strictEqual(Fields.get(response.fields, "x-length"), String(body?.size ?? 0))
    })
  }

  /** Checks a property of connections to the server, and that they leave nothing behind. */
  const property = <A>(
    arbitrary: FastCheck.Arbitrary<A>,
    check: (connection: Connection, value: A) => Effect.Effect<void, unknown>,
    options?: ClientConnection.Options
  ) =>
    LeakCounter.expectNoLeak(Effect.scoped(Effect.flatMap(listen, (server) => {
      const { port } = server.address() as net.AddressInfo
      const run = (value: A) =>
        Effect.runPromise(Effect.scoped(Effect.flatMap(
          ClientConnection.make(net.connect(port, "127.0.0.1"), options),
          (connection) => check(connection, value)
        )))
      return Effect.promise(() => FastCheck.assert(FastCheck.asyncProperty(arbitrary, run), { numRuns: 25 }))
    })))

  for (const pipelining of [true, false]) {
    it.live(`random exchanges are each answered with their own response (pipelining: ${pipelining})`, () =>
      property(
        FastCheck.array(anyRequest, { minLength: 1, maxLength: 12 }),
        Effect.fnUntraced(function*(connection, requests) {
          const exchange = (request: Value<typeof anyRequest>, i: number) => checked(connection, request, i)
          yield* Effect.forEach(requests, exchange, { concurrency: "unbounded" })
          assert.strictEqual(yield* connection.pending, 0)
        }),
        { pipelining }
      ))
  }

  it.live("random interruptions: each exchange has its own response, or none with a typed end", () =>
    property(
      FastCheck.record({
        requests: FastCheck.array(anyRequest, { minLength: 1, maxLength: 8 }),
        turns: FastCheck.nat(6),
        victim: FastCheck.nat(7)
      }),
      Effect.fnUntraced(function*(connection, { requests, turns, victim }) {
        const fibers = yield* Effect.forEach(requests, (request, i) => fork(checked(connection, request, i)))
        for (let turn = 0; turn < turns; turn++) {
          yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        }
        yield* Fiber.interrupt(fibers[victim % fibers.length])
        for (const fiber of fibers) assert.isFalse(Exit.hasDies(yield* Fiber.await(fiber)))
        yield* connection.awaitIdle
        assert.strictEqual(yield* connection.pending, 0)
      }),
      { pipelining: true }
    ))
})
