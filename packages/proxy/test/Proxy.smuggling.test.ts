import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { both, get, ok, proxied, raw, roundTrip } from "./utils/proxied.ts"

const chunks = "3\r\nabc\r\n0\r\n\r\n"

describe("Proxy, request smuggling", () => {
  for (
    const [name, fields, body] of [
      ["B102 Transfer-Encoding twice", ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], chunks],
      ["B103 a space before the colon", ["Content-Length : 3"], "abc"]
    ] as const
  ) {
    both(name, (path) =>
      Effect.gen(function*() {
        const { client, upstream } = yield* proxied(path)
        yield* client.send(raw("POST /", fields, body) + get("/smuggled"))
        assert.strictEqual((yield* client.response()).status, 400)
        assert.strictEqual((yield* client.ended).unread, "")
        assert.strictEqual(yield* upstream.accepted, 0)
      }))
  }

  both("B101 Transfer-Encoding over HTTP/1.0", (path) =>
    Effect.gen(function*() {
      const { client, upstream } = yield* proxied(path)
      yield* client.send(`POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`)
      assert.strictEqual((yield* client.response()).status, 400)
      yield* client.ended
      assert.strictEqual(yield* upstream.accepted, 0)
    }))

  both("B109 Content_Length is not framing", (path) =>
    Effect.gen(function*() {
      const { client, seen, upstream } = yield* roundTrip(path, raw("POST /", ["Content_Length: 3"]) + get("/next"))
      assert.strictEqual(seen.get("content-length"), undefined)
      const second = yield* upstream.nextConnection
      assert.strictEqual((yield* second.nextRequest).target, "/next")
      yield* second.send(ok)
      assert.strictEqual((yield* client.response()).status, 200)
    }))

  both("B114 two pipelined requests are answered in order", (path) =>
    Effect.gen(function*() {
      const { client, upstream } = yield* proxied(path)
      yield* client.send(get("/one") + get("/two"))
      const one = yield* upstream.nextConnection
      const two = yield* upstream.nextConnection
      const targets = [(yield* one.nextRequest).target, (yield* two.nextRequest).target]
      assert.deepStrictEqual(targets, ["/one", "/two"])
      yield* two.send(ok.replace("\r\nok", "\r\n22").replace("ok", "22"))
      yield* one.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
      assert.strictEqual((yield* client.response()).text, "22")
    }))
})
