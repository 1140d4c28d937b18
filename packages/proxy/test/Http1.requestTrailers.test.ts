import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Readable } from "node:stream"
import type * as Body from "../src/Body.ts"
import type * as Transport from "../src/Transport.ts"
import * as Http1 from "../src/transport/Http1.ts"
import { call, upstream } from "./utils/upstream.ts"

const run = <A, E>(effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>) =>
  Effect.provide(effect, Http1.layer())

const withTrailers = (...trailers: ReadonlyArray<string>): Body.OneShot => ({
  _tag: "OneShot",
  stream: Readable.from([Buffer.from("abc")]),
  contentLength: undefined,
  trailers: () => trailers
})

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

describe("Http1, request trailers", () => {
  it.effect("B201 they follow the last chunk, and the connection is used again", () =>
    run(Effect.gen(function*() {
      const up = yield* upstream({
        onConnection: (socket) => {
          let rest = ""
          socket.on("data", (data: Buffer) => {
            rest += data.toString("latin1")
            if (!rest.endsWith("\r\nX-A: \xe9\r\nx-a:  2\r\n\r\n")) return
            rest = ""
            socket.write(ok)
          })
        }
      })
      for (let i = 0; i < 2; i++) {
        yield* call(up, { method: "POST", body: withTrailers("X-A", "\xe9", "x-a", " 2") })
      }
      assert.strictEqual(up.sockets.length, 1)
      assert.include(up.received[0], "3\r\nabc\r\n0\r\nX-A: \xe9\r\n")
    })))

  for (
    const [name, value, reason] of [
      ["Content-Length", "5", "FieldName"],
      ["transfer-encoding", "chunked", "FieldName"],
      ["Connection", "close", "FieldName"],
      ["no name", "1", "FieldName"],
      ["", "1", "FieldName"],
      ["X-A", "1\r\nX-B: 2", "FieldValue"]
    ] as const
  ) {
    it.effect(`B201 ${JSON.stringify(`${name}: ${value}`)} is an error, and the request is never completed`, () =>
      run(Effect.gen(function*() {
        const up = yield* upstream({})
        const error = yield* Effect.flip(call(up, { method: "POST", body: withTrailers(name, value) }))
        assert.deepInclude(error, { _tag: "UpstreamRequestInvalid", reason })
        yield* up.closed(1)
        assert.notInclude(up.received[0], "\r\n0\r\n")
      })))
  }
})
