import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as ProxyError from "../src/ProxyError.ts"
import type * as Transport from "../src/Transport.ts"
import * as Http1 from "../src/transport/Http1.ts"
import { answering, call, collect, ending, exchange, upstream } from "./utils/upstream.ts"

const http1 = Http1.layer({ maxHeadBytes: 8192, maxFields: 100 })
const run = <A, E>(effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>) => Effect.provide(effect, http1)

const ok = "HTTP/1.1 200 OK\r\n"

describe("Http1 response framing", () => {
  const invalid: ReadonlyArray<readonly [string, string, ProxyError.InvalidResponse]> = [
    ["B117 invalid Content-Length", `${ok}Content-Length: 3x\r\n\r\nabc`, "ContentLength"],
    ["B117 signed Content-Length", `${ok}Content-Length: +3\r\n\r\nabc`, "ContentLength"],
    ["B117 empty Content-Length", `${ok}Content-Length:\r\n\r\nabc`, "ContentLength"],
    ["B117 Content-Length overflow", `${ok}Content-Length: 99999999999999999999\r\n\r\nabc`, "ContentLength"],
    ["B118 Content-Length list", `${ok}Content-Length: 3, 3\r\n\r\nabc`, "ContentLength"],
    ["B118 duplicate Content-Length, equal", `${ok}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`, "ContentLength"],
    [
      "B118 duplicate Content-Length, differing",
      `${ok}Content-Length: 3\r\ncontent-length: 4\r\n\r\nabc`,
      "ContentLength"
    ],
    ["B119 CL+TE", `${ok}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, "FramingConflict"],
    ["B119 TE+CL", `${ok}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`, "FramingConflict"],
    ["B120 unknown TE", `${ok}Transfer-Encoding: foo\r\n\r\n`, "TransferCoding"],
    ["B120 gzip, chunked", `${ok}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, "TransferCoding"],
    ["B120 identity", `${ok}Transfer-Encoding: identity\r\n\r\n`, "TransferCoding"],
    ["B120 chunked, chunked", `${ok}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`, "TransferCoding"],
    [
      "B121 duplicate TE",
      `${ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      "TransferCoding"
    ],
    ["TE in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "FramingConflict"],
    ["B122 garbage status line", "garbage\r\n\r\n", "StatusLine"],
    ["B122 empty first line", `\r\n${ok}\r\n`, "StatusLine"],
    ["B122 lower case", "http/1.1 200 OK\r\n\r\n", "StatusLine"],
    ["B122 bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "StatusLine"],
    ["B122 HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", "Version"],
    ["B122 HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", "Version"],
    ["B123 status 99", "HTTP/1.1 099 Low\r\n\r\n", "Status"],
    ["B123 status 99 in two digits", "HTTP/1.1 99 Low\r\n\r\n", "StatusLine"],
    ["B123 status 888", "HTTP/1.1 888 High\r\n\r\n", "Status"],
    ["B123 status 1000", "HTTP/1.1 1000 High\r\n\r\n", "StatusLine"],
    ["B127 head over the limit", `${ok}X: ${"x".repeat(9000)}\r\n\r\n`, "HeadTooLarge"],
    ["B127 too many fields", `${ok}${"X: y\r\n".repeat(101)}\r\n`, "TooManyFields"],
    ["B128 obs-fold", `${ok}X: a\r\n b\r\n\r\n`, "FieldSyntax"],
    ["B128 space before the colon", `${ok}X : a\r\n\r\n`, "FieldSyntax"],
    ["B128 NUL", `${ok}X: a\0b\r\n\r\n`, "FieldSyntax"],
    ["B128 bare CR", `${ok}X: a\rb\r\n\r\n`, "FieldSyntax"],
    ["B128 bare LF", `${ok}X: a\nY: b\r\n\r\n`, "FieldSyntax"],
    ["B128 no colon", `${ok}X\r\n\r\n`, "FieldSyntax"],
    ["B128 empty name", `${ok}: a\r\n\r\n`, "FieldSyntax"],
    ["B128 space in the name", `${ok}X Y: a\r\n\r\n`, "FieldSyntax"],
    ["B25 CR CR LF", `${ok}X: a\r\r\n\r\n`, "FieldSyntax"],
    [
      "B191 B207 101 that was not asked for",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
      "UnsolicitedSwitch"
    ]
  ]
  for (const [name, bytes, reason] of invalid) {
    it.effect(`${name} is invalid (${reason}); the connection goes`, () =>
      run(Effect.gen(function*() {
        const up = yield* answering(bytes)
        const error = yield* Effect.flip(call(up))
        assert.strictEqual(error._tag, "UpstreamResponseInvalid")
        assert.strictEqual(error._tag === "UpstreamResponseInvalid" ? error.reason : "", reason)
        yield* up.closed(1)
      })))
  }

  it.effect("B124 FIN before the head", () =>
    run(Effect.gen(function*() {
      const up = yield* ending("")
      const error = yield* Effect.flip(call(up))
      assert.strictEqual(error._tag, "UpstreamClosedBeforeResponse")
      assert.strictEqual(error.healthStrike, true)
      yield* up.closed(1)
    })))

  it.effect("B125 RST before the head", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({ onRequest: (socket) => socket.resetAndDestroy() })
      assert.strictEqual((yield* Effect.flip(call(up)))._tag, "UpstreamClosedBeforeResponse")
    })))

  it.effect("B126 part of a head, then FIN", () =>
    run(Effect.gen(function*() {
      const up = yield* ending(`${ok}Content-Le`)
      const error = yield* Effect.flip(call(up))
      assert.deepInclude(error, { _tag: "UpstreamResponseInvalid", reason: "Incomplete" })
    })))

  const truncated: ReadonlyArray<readonly [string, string, string, "Closed" | "Chunk" | "Trailer"]> = [
    ["B129 short Content-Length, then FIN", `${ok}Content-Length: 10\r\n\r\nabc`, "abc", "Closed"],
    ["B130 no last chunk, then FIN", `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`, "abc", "Closed"],
    ["B130 within a chunk, then FIN", `${ok}Transfer-Encoding: chunked\r\n\r\n8\r\nabc`, "abc", "Closed"],
    ["B130 no end of the trailers", `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n`, "abc", "Closed"],
    ["chunk size with 0x", `${ok}Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n`, "", "Chunk"],
    ["chunk size with a sign", `${ok}Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n`, "", "Chunk"],
    ["chunk size with a space", `${ok}Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n`, "", "Chunk"],
    ["empty chunk size", `${ok}Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n`, "", "Chunk"],
    [
      "chunk size overflow",
      `${ok}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n`,
      "",
      "Chunk"
    ],
    [
      "chunk size beyond 2^53",
      `${ok}Transfer-Encoding: chunked\r\n\r\n20000000000000\r\nabc\r\n0\r\n\r\n`,
      "",
      "Chunk"
    ],
    ["chunk size ended by LF", `${ok}Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n`, "", "Chunk"],
    ["chunk data ended by LF", `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n`, "abc", "Chunk"],
    ["chunk longer than its size", `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n`, "abc", "Chunk"],
    [
      "chunk longer than its size, and LF",
      `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\n0\r\n\r\n`,
      "abc",
      "Chunk"
    ],
    ["control in a chunk extension", `${ok}Transfer-Encoding: chunked\r\n\r\n3;a\0\r\nabc\r\n0\r\n\r\n`, "", "Chunk"],
    ["chunk extension without a name", `${ok}Transfer-Encoding: chunked\r\n\r\n3;\r\nabc\r\n0\r\n\r\n`, "", "Chunk"],
    [
      "white space in a chunk extension",
      `${ok}Transfer-Encoding: chunked\r\n\r\n3; a\r\nabc\r\n0\r\n\r\n`,
      "",
      "Chunk"
    ],
    ["chunk extension without a value", `${ok}Transfer-Encoding: chunked\r\n\r\n3;a=\r\nabc\r\n0\r\n\r\n`, "", "Chunk"],
    [
      "open quotes in a chunk extension",
      `${ok}Transfer-Encoding: chunked\r\n\r\n3;a="\r\nabc\r\n0\r\n\r\n`,
      "",
      "Chunk"
    ],
    [
      "endless chunk extension",
      `${ok}Transfer-Encoding: chunked\r\n\r\n3;${"a".repeat(5000)}\r\nabc\r\n0\r\n\r\n`,
      "",
      "Chunk"
    ],
    ["bad trailer", `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX : y\r\n\r\n`, "abc", "Trailer"],
    [
      "trailers over the limit",
      `${ok}Transfer-Encoding: chunked\r\n\r\n0\r\nX: ${"x".repeat(9000)}\r\n\r\n`,
      "",
      "Trailer"
    ]
  ]
  for (const [name, bytes, text, reason] of truncated) {
    it.effect(`${name}: what came is delivered, then it is truncated (${reason})`, () =>
      run(Effect.gen(function*() {
        const up = yield* ending(bytes)
        const error = yield* Effect.flip(call(up))
        assert.deepInclude(error, { _tag: "UpstreamBodyTruncated", reason, text, received: text.length })
        yield* up.closed(1)
      })))
  }

  it.effect("B131 chunked, then RST", () =>
    run(
      Effect.gen(function*() {
        const up = yield* answering(`${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`)
        const response = yield* exchange(up)
        up.sockets[0]?.resetAndDestroy()
        const error = yield* Effect.flip(collect(response))
        assert.deepInclude(error, { _tag: "UpstreamBodyTruncated", text: "abc", reason: "Reset" })
      }).pipe(Effect.scoped)
    ))

  it.effect("B132 close-delimited, then FIN, is complete", () =>
    run(Effect.gen(function*() {
      const up = yield* ending(`${ok}\r\nabc`)
      const { response, text } = yield* call(up)
      assert.strictEqual(text, "abc")
      assert.strictEqual(response.body.length, undefined)
    })))

  it.effect("B133 close-delimited, then RST, is truncated", () =>
    run(
      Effect.gen(function*() {
        const up = yield* answering(`${ok}\r\nabc`)
        const response = yield* exchange(up)
        up.sockets[0]?.resetAndDestroy()
        const error = yield* Effect.flip(collect(response))
        assert.deepInclude(error, { _tag: "UpstreamBodyTruncated", text: "abc", reason: "Reset" })
      }).pipe(Effect.scoped)
    ))

  const extra: ReadonlyArray<readonly [string, string, string, string]> = [
    ["B135 bytes after Content-Length", "GET", `${ok}Content-Length: 3\r\n\r\nabcX`, "abc"],
    ["B135 bytes after the last chunk", "GET", `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nX`, "abc"],
    ["B136 HEAD with a body", "HEAD", `${ok}Content-Length: 3\r\n\r\nabc`, ""],
    ["B136 204 with a body", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", ""],
    ["B136 204 that announces a body", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", ""],
    ["B136 304 with a body", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nabc", ""],
    ["B138 two final responses", "GET", `${ok}Content-Length: 3\r\n\r\nabc${ok}Content-Length: 3\r\n\r\nevil`, "abc"],
    ["Connection: close", "GET", `${ok}Connection: x, Close\r\nContent-Length: 3\r\n\r\nabc`, "abc"],
    ["HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"],
    ["Keep-Alive: timeout=1 is too short", "GET", `${ok}Keep-Alive: timeout=1\r\nContent-Length: 3\r\n\r\nabc`, "abc"]
  ]
  for (const [name, method, bytes, text] of extra) {
    it.effect(`${name}: the response is cut there and the connection is not used again`, () =>
      run(Effect.gen(function*() {
        const up = yield* answering(bytes)
        assert.strictEqual((yield* call(up, { method })).text, text)
        yield* up.closed(1)
        assert.strictEqual((yield* call(up, { method })).text, text)
        assert.strictEqual(up.sockets.length, 2)
      })))
  }

  const reusable: ReadonlyArray<readonly [string, string, string, string]> = [
    ["Content-Length", "GET", `${ok}Content-Length: 3\r\n\r\nabc`, "abc"],
    ["empty", "GET", `${ok}Content-Length: 0\r\n\r\n`, ""],
    [
      "chunked",
      "GET",
      `${ok}Transfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n`,
      "abc0123456789"
    ],
    [
      "B137 unsolicited 100",
      "GET",
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100\r\n\r\n${ok}Content-Length: 3\r\n\r\nabc`,
      "abc"
    ],
    ["B139 205", "GET", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", ""],
    ["B141 HEAD", "HEAD", `${ok}Content-Length: 3\r\n\r\n`, ""],
    ["B141 HEAD, chunked", "HEAD", `${ok}Transfer-Encoding: chunked\r\n\r\n`, ""],
    ["B142 204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", ""],
    ["B143 304 with Content-Length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nETag: x\r\n\r\n", ""],
    ["HTTP/1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\nabc", "abc"],
    ["no reason and no space", "GET", "HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", "abc"]
  ]
  for (const [name, method, bytes, text] of reusable) {
    it.effect(`B246 ${name}: three exchanges on one connection`, () =>
      run(Effect.gen(function*() {
        const up = yield* answering(bytes)
        for (let i = 0; i < 3; i++) assert.strictEqual((yield* call(up, { method })).text, text)
        assert.strictEqual(up.sockets.length, 1)
      })))
  }

  it.effect("B26 B27 B140 B150 fields keep order, case, repeats, empty values and Latin-1 bytes; reason kept", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(
        "HTTP/1.1 299 Gr\xfc\xdfe an alle\r\nSet-Cookie: a=1; foo=bar\r\nX-Empty:\r\nset-cookie: b\r\nX: \t\xe9\xff  \r\nContent-Length: 0\r\n\r\n"
      )
      const { response } = yield* call(up)
      assert.strictEqual(response.status, 299)
      assert.strictEqual(response.reason, "Gr\xfc\xdfe an alle")
      assert.deepStrictEqual(response.fields, [
        "Set-Cookie",
        "a=1; foo=bar",
        "X-Empty",
        "",
        "set-cookie",
        "b",
        "X",
        "\xe9\xff",
        "Content-Length",
        "0"
      ])
    })))

  it.effect("B183 103 with two Links, then 102 with three, then 200: each exactly once", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\nLink: b\r\n\r\n",
        "HTTP/1.1 102 Processing\r\nLink: c\r\nLink: d\r\nLink: e\r\n\r\n",
        `${ok}Link: f\r\nContent-Length: 0\r\n\r\n`
      )
      const seen: Array<readonly [number, ReadonlyArray<string>]> = []
      const { response } = yield* call(up, { onInformational: (status, fields) => seen.push([status, fields]) })
      assert.deepStrictEqual(seen, [[103, ["Link", "a", "Link", "b"]], [102, ["Link", "c", "Link", "d", "Link", "e"]]])
      assert.deepStrictEqual(response.fields, ["Link", "f", "Content-Length", "0"])
    })))

  it.effect("B192 103, then FIN", () =>
    run(Effect.gen(function*() {
      const up = yield* ending("HTTP/1.1 103 Early Hints\r\n\r\n")
      assert.deepInclude(yield* Effect.flip(call(up)), { _tag: "UpstreamResponseInvalid", reason: "Incomplete" })
    })))

  it.effect("B194 B195 B196 trailers arrive; B198 forbidden names are dropped", () =>
    run(Effect.gen(function*() {
      const up = yield* answering(
        `${ok}Transfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\nContent-Length: 5\r\nHost: evil\r\nAuthorization: x\r\nx-sum: 2\r\n\r\n`
      )
      const { text, trailers } = yield* call(up)
      assert.strictEqual(text, "")
      assert.deepStrictEqual(trailers, ["X-Sum", "1", "x-sum", "2"])
      yield* call(up)
      assert.strictEqual(up.sockets.length, 1)
    })))
})
