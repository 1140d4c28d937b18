import { assert, describe, it } from "@effect/vitest"
import * as Exchange from "@sluice/core/Exchange"
import * as Handler from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import { RawClient } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { IncomingMessage, ServerResponse } from "node:http"
import zlib from "node:zlib"
import * as BodyLimit from "../src/BodyLimit.ts"
import * as Decompression from "../src/Decompression.ts"
import { decodable } from "../src/internal/codings.ts"
import { exchanges, raw, refused, send, settled, start, turn } from "./kit.ts"

const encode: Record<string, (bytes: Uint8Array) => Buffer> = {
  ...(decodable.includes("zstd") ? { zstd: zlib.zstdCompressSync } : undefined),
  br: zlib.brotliCompressSync,
  gzip: zlib.gzipSync,
  deflate: zlib.deflateSync
}

const post = (server: Server.Server["Service"], path: string, coding: string, bytes: Uint8Array, type = "text/plain") =>
  send(server, path, {
    method: "POST",
    headers: { "content-encoding": coding, "content-type": type },
    body: new Uint8Array(bytes)
  })

const reading = <A, E, R>(f: (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<A, E, R>) =>
  Effect.map(
    Effect.flatMap(HttpServerRequest.HttpServerRequest, f),
    (read) => HttpServerResponse.jsonUnsafe({ read })
  )

const text = reading((request) => request.text)

const through = Decompression.make()

const routes = Layer.mergeAll(
  Route.post("/text", through, text),
  Route.post("/json", through, reading((request) => request.json)),
  Route.post("/bytes", through, reading((request) => Effect.map(request.arrayBuffer, (bytes) => bytes.byteLength))),
  Route.post("/stream", through, reading((request) => Stream.mkString(Stream.decodeText(request.stream)))),
  Route.post(
    "/params",
    through,
    reading((request) => Effect.map(request.urlParamsBody, (params) => [...params]))
  ),
  Route.post(
    "/form",
    through,
    reading((request) => Effect.map(Stream.runCollect(request.multipartStream), (parts) => parts.length))
  ),
  Route.post(
    "/head",
    through,
    reading((request) =>
      Effect.map(Exchange.current, ({ route }) => [
        request.headers["content-encoding"] ?? null,
        request.headers["content-length"] ?? null,
        request.modify({ url: "/other" }).headers["content-encoding"] ?? null,
        request.modify({ url: "/other" }).url,
        request.method,
        request.url,
        route
      ])
    )
  ),
  Route.post("/modified", through, reading((request) => request.modify({ url: "/other" }).text)),
  Route.post(
    "/node",
    through,
    Handler.fromNodeHandler((request: IncomingMessage, response: ServerResponse) => {
      request.pipe(response)
    })
  )
)

const running = start(Server.layer(routes))

const read = ({ body }: { readonly body: string }) => JSON.parse(body).read

describe("Decompression", () => {
  it.effect("decodes each coding for every accessor", () =>
    Effect.gen(function*() {
      const server = yield* running
      for (const [coding, zip] of Object.entries(encode)) {
        const zipped = zip(Buffer.from("{\"a\":\"ü\"}"))
        assert.strictEqual(read(yield* post(server, "/text", coding, zipped)), "{\"a\":\"ü\"}", coding)
        assert.deepStrictEqual(read(yield* post(server, "/json", coding, zipped)), { a: "ü" }, coding)
        assert.strictEqual(read(yield* post(server, "/bytes", coding, zipped)), 10, coding)
        assert.strictEqual(read(yield* post(server, "/stream", coding, zipped)), "{\"a\":\"ü\"}", coding)
        assert.strictEqual(read(yield* post(server, "/modified", coding, zipped)), "{\"a\":\"ü\"}", coding)
        const params = yield* post(server, "/params", coding, zip(Buffer.from("a=1&b=2")))
        assert.deepStrictEqual(read(params), [["a", "1"], ["b", "2"]], coding)
        const form = "--x\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n"
        const parts = yield* post(server, "/form", coding, zip(Buffer.from(form)), "multipart/form-data; boundary=x")
        assert.strictEqual(read(parts), 1, coding)
      }
    }))

  it.effect("decodes all parts of a body that was encoded in parts", () =>
    Effect.gen(function*() {
      const server = yield* running
      const { gzip, zstd } = encode
      for (const [coding, zip] of Object.entries({ gzip, ...(zstd === undefined ? undefined : { zstd }) })) {
        const parts = Buffer.concat([zip(Buffer.from("one")), zip(Buffer.from("two"))])
        assert.strictEqual(read(yield* post(server, "/text", coding, parts)), "onetwo", coding)
      }
    }))

  it.effect("undoes several codings in turn, and knows x-gzip and identity", () =>
    Effect.gen(function*() {
      const server = yield* running
      const twice = zlib.brotliCompressSync(zlib.gzipSync("twice"))
      assert.strictEqual(read(yield* post(server, "/text", "X-Gzip, identity, br", twice)), "twice")
      assert.strictEqual(read(yield* post(server, "/text", "identity", Buffer.from("plain"))), "plain")
      const plain = yield* send(server, "/text", { method: "POST", body: "plain" })
      assert.strictEqual(read(plain), "plain")
      assert.strictEqual((yield* send(server, "/text", { method: "POST" })).status, 200)
    }))

  it.effect("the handler sees a request that was not encoded, and Node's message is as it was sent", () =>
    Effect.gen(function*() {
      const server = yield* running
      const zipped = zlib.gzipSync("zipped")
      assert.deepStrictEqual(
        read(yield* post(server, "/head", "gzip", zipped)),
        [null, null, null, "/other", "POST", "/head", "/head"]
      )
      const { body } = yield* post(server, "/node", "gzip", zipped)
      assert.strictEqual(body.length > 0 && !body.includes("zipped"), true)
    }))

  it.effect("an unsupported coding is a 415 that says which are, and the handler does not run", () =>
    Effect.gen(function*() {
      let ran = false
      const some = Decompression.make({ codings: ["gzip", "br"] })
      const handler = Effect.sync(() => {
        ran = true
        return HttpServerResponse.empty()
      })
      const server = yield* start(Server.layer(Route.post("/", some, handler)))
      for (const coding of ["compress", "gzip, deflate", "gzip, gzip, gzip, gzip"]) {
        const { headers, status } = yield* post(server, "/", coding, Buffer.from("x"))
        assert.deepStrictEqual([status, headers.get("accept-encoding")], [415, "gzip, br"], coding)
      }
      assert.isFalse(ran)
    }))

  it.effect("what is not in its coding is a 400, whoever reads it", () =>
    Effect.gen(function*() {
      const server = yield* running
      for (const [coding, zip] of Object.entries(encode)) {
        const zipped = zip(Buffer.from("hello".repeat(100)))
        for (const path of ["/text", "/stream", "/form"]) {
          for (const bytes of [Buffer.from("not it, not at all"), zipped.subarray(0, zipped.length - 4)]) {
            const { body, status } = yield* post(server, path, coding, bytes, "multipart/form-data; boundary=x")
            assert.strictEqual(status, 400, `${coding} ${path} ${body}`)
          }
        }
      }
    }))

  it.effect("C41 a bomb is a 413 and is not decoded further, with each of the limits", () =>
    Effect.gen(function*() {
      const size = 100 * 1024 * 1024
      const bombs: Record<string, Buffer> = {
        gzip: zlib.gzipSync(Buffer.alloc(size)),
        br: zlib.brotliCompressSync(Buffer.alloc(size), { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } }),
        "gzip, gzip": zlib.gzipSync(zlib.gzipSync(Buffer.alloc(size)))
      }
      let decoded = 0
      const drain = reading((request) =>
        Stream.runForEach(request.stream, (chunk) =>
          Effect.sync(() => {
            decoded += chunk.length
          }))
      )
      const wide = Decompression.make({ maxBytes: Infinity, maxRatio: Infinity })
      const server = yield* start(Server.layer(Layer.mergeAll(
        Route.post("/ratio", Decompression.make(), drain),
        Route.post("/bytes", Decompression.make({ maxBytes: 1_000_000, maxRatio: Infinity }), drain),
        Route.post("/outside", Middleware.stack(BodyLimit.make(500_000), wide), drain),
        Route.post("/inside", Middleware.stack(wide, BodyLimit.make(500_000)), drain),
        Route.post("/text", Middleware.stack(BodyLimit.make(500_000), wide), text)
      )))
      const most: Record<string, readonly [number, string]> = {
        "/ratio": [10.5 * 1024 * 1024, "\"limit\":1"],
        "/bytes": [1_000_000, "\"exceeded\":\"maxBytes\",\"limit\":1000000"],
        "/outside": [500_000, "\"limit\":500000"],
        "/inside": [500_000, "\"limit\":500000"],
        "/text": [0, "\"limit\":500000"]
      }
      for (const [coding, bomb] of Object.entries(bombs)) {
        for (const [path, [bytes, members]] of Object.entries(most)) {
          decoded = 0
          const { body, status } = yield* post(server, path, coding, bomb)
          assert.strictEqual(status, 413, `${coding} ${path}`)
          assert.isAtMost(decoded, bytes, `${coding} ${path}`)
          assert.include(body, members, `${coding} ${path}`)
        }
      }
    }), 20_000)

  it.effect("what decodes to much in the middle and to nothing in the end is a bomb, too", () =>
    Effect.gen(function*() {
      // Empty members of gzip.
      const empty = Buffer.alloc(20 * 200_000, zlib.gzipSync(Buffer.alloc(0)))
      const server = yield* running
      const { body, status } = yield* post(server, "/text", "gzip, gzip", zlib.gzipSync(empty))
      assert.strictEqual(status, 413)
      assert.include(body, "\"exceeded\":\"maxRatio\"")
    }))

  it.effect("a high ratio is fine while there is little of it", () =>
    Effect.gen(function*() {
      const server = yield* running
      const { body } = yield* post(server, "/bytes", "gzip", zlib.gzipSync(Buffer.alloc(1024 * 1024)))
      assert.strictEqual(JSON.parse(body).read, 1024 * 1024)
    }))

  it.effect("a body that nobody reads is not asked for", () =>
    Effect.gen(function*() {
      const { ended, observer } = exchanges()
      const slow = Effect.as(Effect.repeat(turn, { times: 5 }), HttpServerResponse.text("ok"))
      const ignoring = Route.post("/", through, slow)
      const server = yield* start(Server.layer(ignoring, { edge: observer }))
      const answer = yield* raw(
        server,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n"
      )
      assert.match(answer, /^HTTP\/1.1 200 /)
      yield* settled(server)
      assert.strictEqual(ended[0].bytesIn, 0)
    }))

  it.effect("a client that leaves in the middle is no error of its body", () =>
    Effect.gen(function*() {
      const { ended, observer } = exchanges()
      const server = yield* start(Server.layer(routes, { edge: observer }))
      const zipped = zlib.gzipSync(crypto.getRandomValues(new Uint8Array(1000)))
      const client = yield* Effect.orDie(RawClient.connect(server.port))
      yield* client.send(
        `POST /text HTTP/1.1\r\nhost: a\r\ncontent-encoding: gzip\r\ncontent-length: ${zipped.length}\r\n\r\n`
      )
      yield* client.send(zipped.subarray(0, 500))
      while ((yield* server.active) === 0) yield* turn
      yield* client.reset
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome._tag), ["ClientAborted"])
    }))

  it("refuses nonsense and names itself", () => {
    assert.include(refused(() => Decompression.make({ codings: [] })), "RangeError: codings must not be empty")
    assert.include(
      refused(() => Decompression.make({ maxBytes: -1 })),
      "RangeError: maxBytes must be a number of bytes"
    )
    assert.include(refused(() => Decompression.make({ maxRatio: 0 })), "RangeError: maxRatio must be a number of at")
    assert.strictEqual(Decompression.make({ codings: ["gzip"] }).label, "Decompression(gzip)")
    assert.strictEqual(through.response, "none")
  })
})
