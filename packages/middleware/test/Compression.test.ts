import * as NodeStream from "@effect/platform-node/NodeStream"
import { assert, describe, it } from "@effect/vitest"
import * as Handler from "@sluice/core/Handler"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import { RawClient } from "@sluice/core/testing"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { ServerResponse } from "node:http"
import { type Duplex, Readable } from "node:stream"
import zlib from "node:zlib"
import { vi } from "vitest"
import * as Compression from "../src/Compression.ts"
import { codings, compressor } from "../src/internal/codings.ts"
import { exchanges, refused, send, settled, start, turn, until } from "./kit.ts"

/** Every compressor that was made. */
const made = vi.hoisted((): Array<Duplex> => [])

vi.mock(import("../src/internal/codings.ts"), async (original) => {
  const codings = await original()
  return {
    ...codings,
    compressor: (coding) => {
      const duplex = codings.compressor(coding)
      made.push(duplex)
      return duplex
    }
  }
})

const words = "again and ".repeat(1000)

const decode: Record<string, (bytes: Uint8Array) => Buffer> = {
  zstd: zlib.zstdDecompressSync,
  br: zlib.brotliDecompressSync,
  gzip: zlib.gunzipSync,
  deflate: zlib.inflateSync
}

const connect = (server: Server.Server["Service"]) => Effect.orDie(RawClient.connect(server.port))

const request = (path: string, acceptEncoding: string | undefined, method = "GET") =>
  `${method} ${path} HTTP/1.1\r\nhost: a\r\n${
    acceptEncoding === undefined ? "" : `accept-encoding: ${acceptEncoding}\r\n`
  }\r\n`

const ask = (server: Server.Server["Service"], path: string, acceptEncoding?: string, method = "GET") =>
  Effect.scoped(Effect.flatMap(connect(server), (client) =>
    Effect.orDie(Effect.andThen(
      client.send(request(path, acceptEncoding, method)),
      client.response({ toHead: method === "HEAD" })
    ))))

const value = (headers: Record<string, string> = {}, contentType = "text/plain") =>
  Effect.succeed(HttpServerResponse.text(words, { headers, contentType }))

const pieces = () => Stream.encodeText(Stream.make(words, "the end"))

const compress = Compression.make()

const routes = Layer.mergeAll(
  Route.get("/", compress, value({ etag: "\"abc\"", "accept-ranges": "bytes", "content-digest": "sha-256=:x:" })),
  Route.get("/weak", compress, value({ etag: "W/\"abc\"", vary: "Origin" })),
  Route.get("/small", compress, Effect.succeed(HttpServerResponse.text("small"))),
  Route.get("/noise", compress, value({}, "image/png")),
  Route.get("/events", compress, value({}, "text/event-stream")),
  Route.get("/encoded", compress, value({ "content-encoding": "br" })),
  Route.get("/part", compress, value({ "content-range": "bytes 0-9/10" })),
  Route.get("/fixed", compress, value({ "cache-control": "private, no-transform" })),
  Route.get("/stream", compress, Effect.succeed(HttpServerResponse.stream(pieces(), { contentType: "text/plain" }))),
  Route.get(
    "/raw",
    compress,
    Effect.sync(() =>
      HttpServerResponse.raw(Readable.from([words, "the end"]), {
        contentType: "text/plain",
        headers: { "content-length": String(words.length + 7) }
      })
    )
  ),
  Route.get(
    "/web",
    compress,
    Effect.sync(() => HttpServerResponse.raw(new Blob([words, "the end"]).stream(), { contentType: "text/plain" }))
  ),
  Route.get("/304", compress, Effect.succeed(HttpServerResponse.empty({ status: 304, headers: { etag: "\"abc\"" } }))),
  Route.get("/204", compress, Effect.succeed(HttpServerResponse.empty())),
  Route.get(
    "/node",
    compress,
    Handler.fromNodeHandler((_, response: ServerResponse) => {
      response.setHeader("content-type", "text/plain").end(words)
    })
  ),
  Route.get(
    "/incompressible",
    compress,
    Effect.sync(() =>
      HttpServerResponse.uint8Array(crypto.getRandomValues(new Uint8Array(2000)), { contentType: "text/plain" })
    )
  )
)

const running = start(Server.layer(routes))

describe("Compression", () => {
  it.effect("C95 compresses values, streams and raw bodies with each coding", () =>
    Effect.gen(function*() {
      const server = yield* running
      for (const coding of ["zstd", "br", "gzip", "deflate"]) {
        for (const path of ["/", "/stream", "/raw", "/web"]) {
          const answer = yield* ask(server, path, coding)
          const name = `${coding} ${path}`
          assert.strictEqual(answer.get("content-encoding"), coding, name)
          assert.strictEqual(answer.get("vary"), "Accept-Encoding", name)
          assert.strictEqual(answer.get("content-type")?.startsWith("text/plain"), true, name)
          assert.isTrue(answer.complete && answer.body.length < 500, name)
          assert.strictEqual(decode[coding](answer.body).toString(), path === "/" ? words : `${words}the end`, name)
          assert.strictEqual(
            answer.get("content-length"),
            path === "/" ? String(answer.body.length) : undefined,
            name
          )
        }
      }
    }))

  it.effect("C95 a strong entity tag becomes weak, also on a 304, and fields of the old bytes go", () =>
    Effect.gen(function*() {
      const server = yield* running
      const answer = yield* ask(server, "/", "gzip")
      assert.deepStrictEqual(
        ["etag", "accept-ranges", "content-digest"].map((name) => answer.get(name)),
        ["W/\"abc\"", undefined, undefined]
      )
      const plain = yield* ask(server, "/")
      assert.deepStrictEqual(
        ["etag", "accept-ranges", "vary", "content-encoding"].map((name) => plain.get(name)),
        ["\"abc\"", "bytes", "Accept-Encoding", undefined]
      )
      const there = yield* ask(server, "/weak", "gzip")
      assert.deepStrictEqual([there.get("etag"), there.get("vary")], ["W/\"abc\"", "Origin, Accept-Encoding"])
      assert.strictEqual((yield* ask(server, "/304", "gzip")).get("etag"), "W/\"abc\"")
      assert.strictEqual((yield* ask(server, "/304")).get("etag"), "\"abc\"")
    }))

  it.effect("the client's weights decide, and then the order of the codings", () =>
    Effect.gen(function*() {
      const server = yield* running
      const cases: Record<string, string | undefined> = {
        "gzip, deflate, br, zstd": "zstd",
        "gzip, deflate, br": "br",
        "*": "zstd",
        "gzip;q=0.5, deflate;q=0.8": "deflate",
        "X-GZIP": "gzip",
        "identity, gzip;q=0.5": undefined,
        "identity;q=0.5, gzip": "gzip",
        "gzip;q=0": undefined,
        "zstd;q=0, br;q=0, *": "gzip",
        "": undefined,
        "compress": undefined
      }
      for (const [field, coding] of Object.entries(cases)) {
        assert.strictEqual((yield* ask(server, "/", field)).get("content-encoding"), coding, field)
      }
    }))

  it.effect("C96 what should not be touched is not", () =>
    Effect.gen(function*() {
      const server = yield* running
      for (const path of ["/noise", "/events", "/part", "/fixed", "/node", "/204"]) {
        const answer = yield* ask(server, path, "gzip")
        assert.deepStrictEqual([answer.get("content-encoding"), answer.get("vary")], [undefined, undefined], path)
        if (path !== "/204") assert.strictEqual(answer.text, words, path)
      }
      assert.strictEqual((yield* ask(server, "/encoded", "gzip")).get("content-encoding"), "br")
      for (const [path, vary] of [["/small", undefined], ["/incompressible", "Accept-Encoding"]] as const) {
        const answer = yield* ask(server, path, "gzip")
        assert.deepStrictEqual([answer.get("content-encoding"), answer.get("vary")], [undefined, vary], path)
        assert.strictEqual(answer.get("content-length"), String(answer.body.length))
      }
    }))

  it.effect("without the identity everything that may be transformed is compressed, or it is a 406 before the handler", () =>
    Effect.gen(function*() {
      let ran = 0
      const counting = Effect.andThen(Effect.sync(() => ran++), value())
      const server = yield* start(
        Server.layer(Layer.mergeAll(routes, Route.get("/counting", compress, counting)))
      )
      for (const path of ["/noise", "/events", "/small", "/incompressible"]) {
        for (const field of ["gzip, identity;q=0", "gzip, *;q=0"]) {
          assert.strictEqual((yield* ask(server, path, field)).get("content-encoding"), "gzip", path)
        }
      }
      assert.strictEqual((yield* ask(server, "/fixed", "gzip, identity;q=0")).text, words)
      for (const field of ["identity;q=0", "*;q=0", "compress, *;q=0"]) {
        const answer = yield* ask(server, "/counting", field)
        assert.strictEqual(answer.status, 406, field)
        assert.deepStrictEqual(JSON.parse(answer.text).available, ["zstd", "br", "gzip", "deflate"])
      }
      assert.strictEqual(ran, 0)
    }))

  it.effect("HEAD has the fields of GET, and nothing is compressed for it but what has a length", () =>
    Effect.gen(function*() {
      const server = yield* running
      for (const path of ["/", "/stream", "/raw", "/small", "/noise"]) {
        const [get, head] = [yield* ask(server, path, "br"), yield* ask(server, path, "br", "HEAD")]
        for (const name of ["content-encoding", "content-length", "content-type", "etag", "vary"]) {
          assert.strictEqual(head.get(name), get.get(name), `${path} ${name}`)
        }
        assert.strictEqual(head.body.length, 0)
      }
    }))

  it.effect("what a stream has so far is sent when it pauses", () =>
    Effect.gen(function*() {
      const chunks = yield* Queue.unbounded<string>()
      const stream = Stream.encodeText(Stream.fromQueue(chunks))
      const raw = Effect.map(NodeStream.toReadable(stream), (readable) =>
        HttpServerResponse.raw(readable, { contentType: "text/plain" }))
      const server = yield* start(Server.layer(Layer.mergeAll(
        Route.get("/value", compress, Effect.succeed(HttpServerResponse.stream(stream, { contentType: "text/plain" }))),
        Route.get("/raw", compress, raw)
      )))
      for (const path of ["/value", "/raw"]) {
        for (const coding of ["br", "gzip", "deflate"]) {
          yield* Queue.offer(chunks, "one")
          const abort = new AbortController()
          const response = yield* Effect.promise(() =>
            fetch(server.url + path, { headers: { "accept-encoding": coding }, signal: abort.signal })
          )
          const reader = response.body!.getReader()
          for (const chunk of ["one", "two"]) {
            if (chunk !== "one") {
              yield* Queue.offer(chunks, chunk)
            }
            const { value } = yield* Effect.promise(() =>
              reader.read()
            )
            assert.strictEqual(new TextDecoder().decode(value), chunk, `${path} ${coding}`)
          }
          assert.strictEqual(response.headers.get("content-encoding"), coding)
          abort.abort()
          yield* settled(server)
        }
      }
    }))

  it.effect("it is flushed once for what comes in a row, and not while nothing comes", () =>
    Effect.gen(function*() {
      for (const coding of codings) {
        const duplex = compressor(coding)
        let flushes = 0
        const { flush } = duplex as zlib.Gzip
        Object.assign(duplex, {
          flush: (...args: Parameters<zlib.Gzip["flush"]>) => {
            flushes++
            flush.apply(duplex, args)
          }
        })
        duplex.resume()
        for (let round = 1; round <= 2; round++) {
          duplex.write("one")
          duplex.write("two")
          for (let i = 0; i < 20; i++) yield* turn
          assert.strictEqual(flushes, round, coding)
        }
        duplex.destroy()
      }
    }))

  it.effect("a stream that is cancelled frees its compressor, and so does one that fails", () =>
    Effect.gen(function*() {
      made.length = 0
      const finalized = yield* Deferred.make<void>()
      const endless = Stream.ensuring(
        Stream.concat(pieces(), Stream.never),
        Deferred.succeed(finalized, undefined)
      )
      const source = new Readable({ read() {} })
      source.push(words)
      const failing = Stream.concat(pieces(), Stream.fail(new Error("broke off")))
      const text = { contentType: "text/plain" }
      const { ended, observer } = exchanges()
      const server = yield* start(Server.layer(
        Layer.mergeAll(
          Route.get("/stream", compress, Effect.succeed(HttpServerResponse.stream(endless, text))),
          Route.get("/raw", compress, Effect.succeed(HttpServerResponse.raw(source, text))),
          Route.get("/failing", compress, Effect.succeed(HttpServerResponse.stream(failing, text)))
        ),
        { edge: observer }
      ))
      for (const path of ["/stream", "/raw"]) {
        const client = yield* connect(server)
        yield* client.send(request(path, "gzip"))
        yield* client.read("content-encoding: gzip")
        client.socket.destroy()
      }
      yield* Deferred.await(finalized)
      const failed = yield* connect(server)
      yield* failed.send(request("/failing", "gzip"))
      assert.notInclude((yield* failed.ended).unread, "\r\n0\r\n\r\n")
      yield* settled(server)
      yield* until(() => made.length === 3 && made.every(({ destroyed }) => destroyed) && source.destroyed)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome._tag), ["ClientAborted", "ClientAborted", "Failed"])
    }))

  it.effect("works behind a fetch handler", () =>
    Effect.scoped(Effect.gen(function*() {
      const fetch = yield* Handler.toWebHandler(routes)
      for (const path of ["/", "/stream", "/raw", "/web"]) {
        const response = yield* Effect.promise(() =>
          fetch(new Request(`http://a${path}`, { headers: { "accept-encoding": "gzip" } }))
        )
        assert.strictEqual(response.headers.get("content-encoding"), "gzip", path)
        const bytes = new Uint8Array(yield* Effect.promise(() => response.arrayBuffer()))
        assert.isTrue(decode["gzip"](bytes).toString() === (path === "/" ? words : `${words}the end`), path)
      }
    })))

  it.effect("takes other settings", () =>
    Effect.gen(function*() {
      const through = Compression.make({
        codings: ["deflate", "gzip"],
        minimumSize: 0,
        compressible: (type) => type === "image/png"
      })
      const server = yield* start(Server.layer(Layer.mergeAll(
        Route.get("/", through, value()),
        Route.get("/png", through, value({}, "Image/PNG; x=y"))
      )))
      assert.strictEqual((yield* ask(server, "/", "*")).get("content-encoding"), undefined)
      assert.strictEqual((yield* ask(server, "/png", "*")).get("content-encoding"), "deflate")
      const { body } = yield* send(server, "/png")
      assert.strictEqual(body, words)
    }))

  it("refuses nonsense and names itself", () => {
    assert.include(refused(() => Compression.make({ codings: [] })), "RangeError: codings must not be empty")
    assert.include(
      refused(() => Compression.make({ codings: ["lzw" as "gzip"] })),
      "RangeError: codings must be one of"
    )
    assert.include(refused(() => Compression.make({ minimumSize: -1 })), "RangeError: minimumSize must be a number of")
    assert.strictEqual(Compression.make({ codings: ["gzip"] }).label, "Compression(gzip)")
    assert.strictEqual(compress.response, "value")
  })
})
