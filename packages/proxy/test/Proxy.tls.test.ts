import { assert, describe } from "@effect/vitest"
import { RawClient, RawServer } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import { other, shop } from "./utils/certificates.ts"
import { bothLive, get, ok, proxied } from "./utils/proxied.ts"

const upstreamWith = (tls: { readonly key: string; readonly cert: string }) =>
  RawServer.make(() => Effect.void, { tls })

describe("Proxy over TLS", () => {
  bothLive("B36 a client over TLS is said to be one", (path) =>
    Effect.gen(function*() {
      const { app, origin } = yield* proxied(path, { listen: { node: { tls: shop } } })
      const client = yield* RawClient.connect({ port: app.port, tls: { ca: shop.cert, servername: "shop.test" } })
      yield* client.send(get("/"))
      const upstream = yield* origin
      assert.strictEqual((yield* upstream.nextRequest).get("x-forwarded-proto"), "https")
      yield* upstream.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
    }))

  bothLive(
    "an upstream over TLS is verified, and reached when its certificate is trusted",
    (path) =>
      Effect.gen(function*() {
        const upstream = yield* upstreamWith(shop)
        const { client } = yield* proxied(path, { target: upstream.url, upstream: { tls: { ca: shop.cert } } })
        yield* client.send(get("/"))
        const connection = yield* upstream.nextConnection
        yield* connection.nextRequest
        yield* connection.send(ok)
        assert.strictEqual((yield* client.response()).text, "ok")
      })
  )

  bothLive(
    "B166 a certificate that is not trusted, or for another name, is a 502 that says no more",
    (path) =>
      Effect.gen(function*() {
        for (const tls of [undefined, { ca: other.cert }]) {
          const upstream = yield* upstreamWith(other)
          const setup = tls === undefined ? {} : { upstream: { tls } }
          const { app, client } = yield* proxied(path, { target: upstream.url, ...setup })
          const response = yield* client.request(get("/"))
          assert.strictEqual(response.status, 502)
          assert.strictEqual(response.get("proxy-status"), "sluice; error=tls_certificate_error")
          assert.notMatch(response.text, /certificate|other\.test|127\.0\.0\.1/)
          assert.deepInclude((yield* app.exchange(0)).outcome, { _tag: "Failed" })
        }
      })
  )
})
