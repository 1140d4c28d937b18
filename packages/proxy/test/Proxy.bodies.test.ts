import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Proxy from "../src/Proxy.ts"
import { answer, both, get, ok, post, proxied, raw, roundTrip } from "./utils/proxied.ts"

const chunked = (...chunks: ReadonlyArray<string>): string =>
  [...chunks, ""].map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("")

describe("Proxy, request bodies", () => {
  for (const [number, method] of [["B79", "DELETE"], ["B80", "OPTIONS"], ["B81", "GET"]] as const) {
    both(`${number} a chunked ${method} stays framed`, (path) =>
      Effect.gen(function*() {
        const request = raw(`${method} /`, ["Transfer-Encoding: chunked"], chunked("abc")) + get("/next")
        const { client, seen, upstream } = yield* roundTrip(path, request)
        assert.strictEqual(seen.framing, "Chunked")
        assert.strictEqual(seen.text, "abc")
        const second = yield* upstream.nextConnection
        assert.strictEqual((yield* second.nextRequest).target, "/next")
        yield* second.send(ok)
        assert.strictEqual((yield* client.response()).status, 200)
      }))
  }

  both("B83 fewer bytes than promised never become a whole request upstream", (path) =>
    Effect.gen(function*() {
      const { client, origin, upstream } = yield* proxied(path)
      yield* client.send(raw("POST /", ["Content-Length: 10"], "abc"))
      const connection = yield* origin
      yield* connection.nextRequestHead
      yield* connection.read("abc")
      yield* client.end
      assert.strictEqual((yield* connection.ended).unread, "")
      assert.strictEqual(yield* upstream.accepted, 1)
    }))

  both("B85 a body that somebody has read is a typed error, not a hang", (path) =>
    Effect.gen(function*() {
      const { app, client, upstream } = yield* proxied(path, {
        proxy: { direct: ({ request }) => Effect.as(Effect.orDie(request.text), Proxy.proceed()) }
      })
      const got = yield* client.request(post("/", "abc"))
      assert.strictEqual(got.status, 500)
      assert.include(String((yield* app.exchange(0)).cause), "RequestBodyLengthMismatch")
      assert.strictEqual(yield* upstream.accepted, 0)
    }))

  both("B86 chunk extensions are not relayed", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], "3;secret=1\r\nabc\r\n0\r\n\r\n"))
      const connection = yield* origin
      yield* connection.nextRequestHead
      assert.strictEqual(yield* connection.read("0\r\n\r\n"), chunked("abc"))
    }))

  both("a body within the limit passes", (path) =>
    Effect.gen(function*() {
      const setup = { proxy: { maxRequestBody: 4 } }
      assert.strictEqual((yield* Effect.scoped(roundTrip(path, post("/", "abcd"), ok, setup))).seen.text, "abcd")
      const request = raw("POST /", ["Transfer-Encoding: chunked"], chunked("ab", "cd"))
      assert.strictEqual((yield* roundTrip(path, request, ok, setup)).seen.text, "abcd")
    }))

  both("B115 Expect: 100-continue with an immediate body is one request", (path) =>
    Effect.gen(function*() {
      const { client, origin, upstream } = yield* proxied(path)
      yield* client.send(post("/", "abc", "Expect: 100-continue"))
      const connection = yield* origin
      assert.strictEqual((yield* connection.nextRequestHead).get("expect"), "100-continue")
      yield* connection.send(answer("100 Continue"))
      yield* connection.read("abc")
      yield* connection.send(ok)
      assert.strictEqual((yield* client.response()).status, 200)
      yield* client.end
      assert.strictEqual((yield* client.ended).unread, "")
      assert.strictEqual(yield* upstream.accepted, 1)
    }))
})
