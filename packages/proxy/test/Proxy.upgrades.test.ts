import { assert, describe } from "@effect/vitest"
import { RawClient } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import { shop } from "./utils/certificates.ts"
import { answer, both, bothLive, get, lines, ok, proxied, raw, roundTrip } from "./utils/proxied.ts"

const upgrade = (path: string): string => get(path, "Connection: Upgrade", "Upgrade: foo")

/** Each on a connection of its own. */
const refusal = answer("403 Forbidden", ["Content-Length: 2", "Connection: close"], "no")

describe("Proxy, upgrades that do not happen", () => {
  both("B205 what is pipelined behind a refused upgrade is forwarded in order", (path) =>
    Effect.gen(function*() {
      const { client, upstream } = yield* proxied(path)
      yield* client.send(upgrade("/one") + raw("POST /two", ["Content-Length: 3"], "abc") + upgrade("/three"))
      for (const [target, body] of [["/one", ""], ["/two", "abc"], ["/three", ""]]) {
        const origin = yield* upstream.nextConnection
        const seen = yield* origin.nextRequest
        assert.deepStrictEqual([seen.target, seen.text], [target, body])
        yield* origin.send(refusal)
      }
      for (let i = 0; i < 3; i++) assert.strictEqual((yield* client.response()).text, "no")
    }))

  bothLive("B205 over TLS, too", (path) =>
    Effect.gen(function*() {
      const { app, upstream } = yield* proxied(path, { listen: { node: { tls: shop } } })
      const client = yield* RawClient.connect({ port: app.port, tls: { ca: shop.cert, servername: "shop.test" } })
      yield* client.send(upgrade("/0") + upgrade("/1"))
      for (let i = 0; i < 4; i++) {
        const origin = yield* upstream.nextConnection
        assert.strictEqual((yield* origin.nextRequest).target, `/${i}`)
        yield* origin.send(refusal)
        assert.strictEqual((yield* client.response()).text, "no")
        if (i === 1) yield* client.send(upgrade("/2"))
        if (i === 2) yield* client.send(get("/3"))
      }
      assert.strictEqual((yield* app.exchange(3)).outcome._tag, "Completed")
    }))

  const bodies = [
    ["Content-Length: 3", "abc"],
    ["Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"]
  ] as const
  for (const [field, body] of bodies) {
    both(
      `B210 with a body (${field}) it is forwarded as an ordinary request, and nothing behind it`,
      (path) =>
        Effect.gen(function*() {
          const head = raw("POST /", ["Connection: Upgrade", "Upgrade: foo", field])
          const { client, got, origin, seen, upstream } = yield* roundTrip(path, head + body + get("/smuggled"))
          assert.strictEqual(seen.text, "abc")
          assert.deepStrictEqual(lines(seen, "upgrade"), [])
          assert.deepStrictEqual([got.text, got.get("connection")], ["ok", "close"])
          assert.strictEqual((yield* client.ended).unread, "")
          assert.strictEqual(yield* upstream.accepted, 1)
          yield* origin.send("")
        })
    )
  }

  both("B210 a 101 to it is a 502", (path) =>
    Effect.gen(function*() {
      const request = raw("POST /", ["Connection: Upgrade", "Upgrade: foo", "Content-Length: 3"], "abc")
      const switching = answer("101 Switching Protocols", ["Connection: Upgrade", "Upgrade: foo"])
      const { got, origin } = yield* roundTrip(path, request, switching)
      assert.strictEqual(got.status, 502)
      yield* origin.ended
    }))

  both(
    "B211 h2c with a body, as some clients ask for it with each request, is answered",
    (path) =>
      Effect.gen(function*() {
        const fields = [
          "Connection: Upgrade, HTTP2-Settings",
          "Upgrade: h2c",
          "HTTP2-Settings: AAM",
          "Content-Length: 3"
        ]
        const { got, seen } = yield* roundTrip(path, raw("POST /", fields, "abc"), ok)
        assert.deepStrictEqual([seen.text, seen.get("upgrade"), got.text], ["abc", undefined, "ok"])
      })
  )
})
