import { assert, describe, it } from "@effect/vitest"
import * as Handler from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import { RawClient } from "@sluice/core/testing"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { IncomingMessage, ServerResponse } from "node:http"
import * as BodyLimit from "../src/BodyLimit.ts"
import { exchanges, raw, refused, send, settled, start, until } from "./kit.ts"

const ok = HttpServerResponse.text("ok")

const reading = <A, E, R>(f: (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<A, E, R>) =>
  Effect.as(Effect.flatMap(HttpServerRequest.HttpServerRequest, f), ok)

const text = reading((request) => request.text)

const head = "POST / HTTP/1.1\r\nhost: a\r\n"

const declared = (length: number, rest = "") => `${head}content-length: ${length}\r\n\r\n${rest}`

/** A body in one chunk, without its end unless it is asked for. */
const chunked = (length: number, end = "0\r\n\r\n") =>
  `${head}transfer-encoding: chunked\r\n\r\n${length.toString(16)}\r\n${"x".repeat(length)}\r\n${end}`

const status = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1])

describe("BodyLimit", () => {
  it.effect("C35 a Content-Length over the limit is a 413 at once, the handler does not run and the connection closes", () =>
    Effect.gen(function*() {
      let ran = false
      const handler = Effect.sync(() => {
        ran = true
        return ok
      })
      const server = yield* start(Server.layer(Route.post("/", handler), { edge: BodyLimit.make(10) }))
      const answer = yield* raw(server, declared(1_000_000))
      assert.strictEqual(status(answer), 413)
      assert.match(answer, /connection: close/i)
      assert.include(answer, "\"limit\":10")
      assert.strictEqual(answer.match(/connection:/gi)?.length, 1)
      assert.isFalse(ran)
    }))

  it.effect("C35 a body that is all there before anybody reads it is counted, too, where no Route has asked for its length", () =>
    Effect.gen(function*() {
      const complete = Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        ({ source }) => until(() => (source as IncomingMessage).complete)
      )
      const late = Middleware.around<never, HttpServerRequest.HttpServerRequest>(
        "late",
        (handler) => Effect.andThen(complete, handler)
      )
      const routes = HttpRouter.add("POST", "/", text).pipe(Layer.provide(Middleware.toRouterMiddleware(late).layer))
      const server = yield* start(Server.layer(routes, { edge: BodyLimit.make(10) }))
      assert.strictEqual(
        status(yield* raw(server, `${chunked(11)}GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`)),
        413
      )
      assert.strictEqual((yield* send(server, "/", { method: "POST", body: "x".repeat(11) })).status, 413)
      assert.strictEqual((yield* send(server, "/", { method: "POST", body: "x".repeat(10) })).status, 200)
    }))

  it.effect("C36 a client that expects 100 gets the 413 and no 100", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.post("/", text), { edge: BodyLimit.make(10) }))
      const answer = yield* raw(server, `${head}content-length: 11\r\nexpect: 100-continue\r\n\r\n`)
      assert.strictEqual(status(answer), 413)
      assert.notInclude(answer, "100 Continue")
    }))

  it.effect("C35 a request to upgrade is answered like any other", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.post("/", text), { edge: BodyLimit.make(10) }))
      const upgrade = "connection: upgrade\r\nupgrade: something\r\n"
      const answer = yield* raw(server, `${head}${upgrade}content-length: 11\r\n\r\n`)
      assert.strictEqual(status(answer), 413)
      assert.match(answer, /connection: close/i)
    }))

  it.effect("C36 within the limit it gets its 100", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.post("/", text), { edge: BodyLimit.make(10) }))
      const client = yield* Effect.orDie(RawClient.connect(server.port))
      yield* client.send(`${head}content-length: 3\r\nexpect: 100-continue\r\n\r\n`)
      yield* client.read("100 Continue\r\n\r\n")
      assert.strictEqual((yield* client.request("abc")).status, 200)
    }))

  it.effect("C37 C38 a chunked body is counted whoever reads it", () =>
    Effect.gen(function*() {
      const node = Handler.fromNodeHandler((request: IncomingMessage, response: ServerResponse, next) => {
        request.on("error", next)
        request.resume().on("end", () => response.end("ok"))
      })
      const silent = Handler.fromNodeHandler((request: IncomingMessage, response: ServerResponse) => {
        request.on("error", () => {
          response.statusCode = 400
          response.end("own words")
        }).resume()
      })
      const through = BodyLimit.make(10)
      const readers = {
        text,
        json: reading((request) => request.json),
        arrayBuffer: reading((request) => request.arrayBuffer),
        urlParams: reading((request) => request.urlParamsBody),
        stream: reading((request) => Stream.runDrain(request.stream)),
        defect: reading((request) => Effect.orDie(request.text)),
        multipart: reading((request) => Stream.runDrain(request.multipartStream))
      }
      const routes = Layer.mergeAll(
        Route.post("/node", through, node),
        Route.post("/silent", through, silent),
        ...Object.entries(readers).map(([name, handler]) => Route.post(`/${name}`, through, handler as typeof text))
      )
      const server = yield* start(Server.layer(routes))
      const form = "content-type: multipart/form-data; boundary=x\r\n"
      for (const name of [...Object.keys(readers), "node"]) {
        const answer = yield* raw(
          server,
          chunked(20, "").replace(
            "POST / HTTP/1.1\r\n",
            `POST /${name} HTTP/1.1\r\n${name === "multipart" ? form : ""}`
          )
        )
        assert.strictEqual(status(answer), 413, name)
        assert.match(answer, /connection: close/i, name)
      }
      const own = yield* raw(server, chunked(20, "").replace("/", "/silent"))
      assert.deepStrictEqual([status(own), own.includes("own words")], [400, true])
      assert.match(own, /connection: close/i)
    }), 20_000)

  it.effect("C38 a stream fails with the first byte too many, and what came before has been read", () =>
    Effect.gen(function*() {
      let read = 0
      const first = yield* Deferred.make<void>()
      const handler = reading((request) =>
        Stream.runForEach(request.stream, (chunk) => {
          read += chunk.length
          return Deferred.succeed(first, undefined)
        })
      )
      const { ended, observer } = exchanges()
      const edge = Middleware.stack(observer, BodyLimit.make(10))
      const server = yield* start(Server.layer(Route.post("/", handler), { edge }))
      const client = yield* Effect.orDie(RawClient.connect(server.port))
      yield* client.send(chunked(10, ""))
      yield* Deferred.await(first)
      assert.strictEqual(read, 10)
      const answer = yield* client.request("1\r\nx\r\n")
      assert.strictEqual(answer.status, 413)
      assert.strictEqual(read, 10)
      yield* client.ended
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome._tag), ["Completed"])
    }))

  it.effect("C39 an oversized body that nobody reads closes the connection after the response", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.post("/", Effect.succeed(ok)), { edge: BodyLimit.make(10) }))
      const answer = yield* raw(server, chunked(11, ""))
      assert.strictEqual(status(answer), 200)
      const late = yield* Effect.orDie(RawClient.connect(server.port))
      assert.strictEqual((yield* late.request(chunked(10, ""))).status, 200)
      yield* late.send("1\r\nx\r\n")
      yield* late.ended
    }))

  it.effect("a failure that has nothing to do with the body stays what it is", () =>
    Effect.gen(function*() {
      const gone = Effect.andThen(
        Effect.promise(() => new Promise((done) => setImmediate(done))),
        new Route.NotFound({})
      )
      const server = yield* start(Server.layer(Route.post("/", gone), { edge: BodyLimit.make(10) }))
      assert.strictEqual(status(yield* raw(server, chunked(11, ""))), 404)
    }))

  it.effect("C40 exactly the limit is fine, and so is no body under a limit of 0", () =>
    Effect.gen(function*() {
      const routes = Layer.mergeAll(
        Route.post("/ten", BodyLimit.make(10), text),
        Route.all("/zero", BodyLimit.make(0), text)
      )
      const server = yield* start(Server.layer(routes))
      const post = (path: string, body: string) => send(server, path, { method: "POST", body })
      assert.strictEqual((yield* post("/ten", "x".repeat(10))).status, 200)
      assert.strictEqual((yield* post("/ten", "x".repeat(11))).status, 413)
      assert.strictEqual((yield* post("/zero", "")).status, 200)
      assert.strictEqual((yield* send(server, "/zero")).status, 200)
      assert.strictEqual((yield* post("/zero", "x")).status, 413)
      const client = yield* Effect.orDie(RawClient.connect(server.port))
      const path = (length: number) => chunked(length).replace("/", "/ten")
      assert.strictEqual((yield* client.request(path(10))).status, 200)
      assert.strictEqual((yield* client.request(path(3))).status, 200)
    }))

  it.effect("an inner override is in force, declared and chunked, whatever happens in between", () =>
    Effect.gen(function*() {
      const turns = Middleware.around(
        "turns",
        (handler) => Effect.andThen(Effect.promise(() => new Promise((done) => setTimeout(done, 5))), handler),
        { response: "none" }
      )
      const through = Middleware.stack(turns, BodyLimit.override(100))
      const routes = Layer.mergeAll(
        Route.post("/", text),
        Route.post("/more", through, text),
        Route.post("/any", BodyLimit.none, text),
        Route.post("/larger", BodyLimit.make(100), text),
        Route.post("/smaller", BodyLimit.make(5), text)
      )
      const server = yield* start(Server.layer(routes, { edge: BodyLimit.make(10) }))
      const statuses = (request: (path: string) => string) =>
        Effect.forEach(["/", "/more", "/any", "/larger", "/smaller"], (path) =>
          Effect.map(
            raw(server, request(path).replace("host: a\r\n", "host: a\r\nconnection: close\r\n")),
            status
          ))
      const long = (path: string) => chunked(50).replace("/", path)
      assert.deepStrictEqual(yield* statuses(long), [413, 200, 200, 413, 413])
      const sized = (path: string) => declared(50, "x".repeat(50)).replace("/", path)
      assert.deepStrictEqual(yield* statuses(sized), [413, 200, 200, 413, 413])
      const short = (path: string) => chunked(8).replace("/", path)
      assert.deepStrictEqual(yield* statuses(short), [200, 200, 200, 200, 413])
      assert.strictEqual(status(yield* raw(server, chunked(101, "").replace("/", "/more"))), 413)
    }))

  it.effect("a handled error is a response like any other, and gone from the types", () =>
    Effect.gen(function*() {
      const sorry = Middleware.handle(BodyLimit.BodyTooLarge, ({ limit }) =>
        Effect.succeed(HttpServerResponse.text(`at most ${limit}`, { status: 400 })))
      const through = Middleware.stack(sorry, BodyLimit.make(10))
      const noErrorIsLeft: [Middleware.Fails<typeof through>] extends [never] ? true
        : false = true
      assert.isTrue(noErrorIsLeft)
      const server = yield* start(Server.layer(Route.post("/", through, text)))
      const answer = yield* raw(server, declared(11))
      assert.deepStrictEqual([status(answer), answer.includes("at most 10")], [400, true])
    }))

  it.effect("a fetch request is counted, too", () =>
    Effect.scoped(Effect.gen(function*() {
      const fetch = yield* Handler.toWebHandler(
        Layer.mergeAll(
          Route.post("/text", text),
          Route.post("/stream", reading((request) => Stream.runDrain(request.stream))),
          Route.post(
            "/web",
            Handler.fromWebHandler(async (request) => new Response(String((await request.text()).length)))
          )
        ),
        { edge: BodyLimit.make(10) }
      )
      const post = (path: string, length: number) =>
        Effect.promise(() =>
          fetch(
            new Request(`http://a${path}`, {
              method: "POST",
              body: new Blob(["x".repeat(length)]).stream(),
              duplex: "half"
            })
          )
        )
      for (const path of ["/text", "/stream", "/web"]) {
        assert.strictEqual((yield* post(path, 10)).status, 200, path)
        assert.strictEqual((yield* post(path, 11)).status, 413, path)
      }
    })))

  it("refuses nonsense and names itself", () => {
    for (const bytes of [-1, 1.5, Number.NaN]) {
      assert.include(refused(() => BodyLimit.make(bytes)), `RangeError: bytes must be a number of bytes, got ${bytes}`)
    }
    assert.strictEqual(BodyLimit.make(1024 * 1024).label, "BodyLimit(1MiB)")
    assert.strictEqual(BodyLimit.make(1000).label, "BodyLimit(1000B)")
    assert.strictEqual(BodyLimit.none.label, "BodyLimit.none")
    assert.strictEqual(BodyLimit.make(1).response, "none")
  })
})
