import { assert, describe, it } from "@effect/vitest"
import * as NodeServer from "@sluice/core/NodeServer"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import { duplexPair } from "node:stream"

const Echo = Layer.mergeAll(
  Route.post(
    "/echo",
    Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      return HttpServerResponse.text(yield* request.text)
    })
  ),
  Route.get("/first", Effect.succeed(HttpServerResponse.text("1"))),
  Route.get("/second", Effect.succeed(HttpServerResponse.text("2")))
)

const served = <A, E>(use: (server: Server.Server["Service"]) => Effect.Effect<A, E>) =>
  Effect.flatMap(Server.Server, use).pipe(
    Effect.provide(Server.layer(Echo).pipe(Layer.provide(NodeServer.layer({ port: 0 }))))
  )

/** Everything that comes, until the other side ends. */
const all = (stream: NodeJS.ReadableStream): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let text = ""
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1")
    })
    stream.on("end", () => resume(Effect.succeed(text)))
  })

describe("Server.serveConnection", () => {
  it.live("serves the app on an in-memory stream, in order, and is done when it closes", () =>
    served((server) =>
      Effect.gen(function*() {
        const [client, stream] = duplexPair()
        const serving = yield* Effect.forkChild(server.serveConnection(stream), { startImmediately: true })
        client.write(
          "GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        const text = yield* all(client)
        assert.deepStrictEqual(text.match(/\r\n\r\n(\d)/g), ["\r\n\r\n1", "\r\n\r\n2"])
        client.end()
        yield* Fiber.join(serving)
      })
    ))

  it.live("B205 serves on after a refused upgrade", () =>
    served((server) =>
      Effect.gen(function*() {
        const [client, stream] = duplexPair()
        const serving = yield* Effect.forkChild(server.serveConnection(stream), { startImmediately: true })
        client.write(
          "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n" +
            "GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        const text = yield* all(client)
        assert.deepStrictEqual(text.match(/\r\n\r\n(\d|HTTP)/g), ["\r\n\r\nHTTP", "\r\n\r\n2"])
        client.end()
        yield* Fiber.join(serving)
      })
    ))

  it.live("reads bodies, and answers what is malformed", () =>
    served((server) =>
      Effect.gen(function*() {
        const [client, stream] = duplexPair()
        yield* Effect.forkChild(server.serveConnection(stream), { startImmediately: true })
        client.write("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcNONSENSE\r\n\r\n")
        const text = yield* all(client)
        assert.include(text, "\r\n\r\nabc")
        assert.include(text, "HTTP/1.1 400 Bad Request")
        client.destroy()
      })
    ))

  it.live("destroys the stream when it is interrupted", () =>
    served((server) =>
      Effect.gen(function*() {
        const [client, stream] = duplexPair()
        const closed = yield* Deferred.make<void>()
        stream.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
        const serving = yield* Effect.forkChild(server.serveConnection(stream), { startImmediately: true })
        yield* Fiber.interrupt(serving)
        yield* Deferred.await(closed)
        client.destroy()
      })
    ))
})
