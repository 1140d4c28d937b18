import { describe, expect, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import { App, RawClient } from "@sluice/core/testing"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpsRedirect from "../src/HttpsRedirect.ts"
import { refused } from "./kit.ts"
import { ask } from "./utils/ask.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))
const edge = HttpsRedirect.make()
const trusting = Effect.provide(TrustedPeers.layer(TrustedPeers.networks(["loopback"])))
const answer = (server: { readonly port: number }, line: string, ...fields: ReadonlyArray<string>) =>
  Effect.map(ask(server, line, fields), ({ get, status }) => [status, get("location")])

describe("HttpsRedirect", () => {
  it.effect("redirects to the same place over TLS", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.all("/*", ok), { edge })
      expect(yield* answer(server, "GET /a%20b/?q=1&r=%2F")).toEqual([308, "https://a.test/a%20b/?q=1&r=%2F"])
      expect(yield* answer(server, "POST /", "Host: a.test:8080")).toEqual([308, "https://a.test/"])
      expect(yield* answer(server, "GET /", "Host: [::1]:8080")).toEqual([308, "https://[::1]/"])
      expect(yield* answer(server, "GET //evil.test/")).toEqual([308, "https://a.test//evil.test/"])
      expect(yield* answer(server, "GET http://b.test?q")).toEqual([
        308,
        expect.stringMatching(/^https:\/\/b\.test[/?]/)
      ])
      expect(yield* answer(server, "OPTIONS *")).toEqual([308, "https://a.test/"])
    }))

  it.effect("believes a trusted peer about scheme and host, and nobody else", () =>
    Effect.gen(function*() {
      const tls = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: b.test"]
      const plain = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: b.test:80"]
      const open = yield* App.listen(Route.all("/*", ok), { edge })
      expect(yield* answer(open, "GET /", ...tls)).toEqual([308, "https://a.test/"])
      const server = yield* trusting(App.listen(Route.all("/*", ok), { edge }))
      expect(yield* answer(server, "GET /", ...tls)).toEqual([200, undefined])
      expect(yield* answer(server, "GET /", ...plain)).toEqual([308, "https://b.test/"])
      expect(yield* answer(server, "GET /", "X-Forwarded-For: nobody")).toEqual([400, undefined])
    }))

  it.effect("redirects to another port", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.all("/*", ok), { edge: HttpsRedirect.make({ port: 8443 }) })
      expect(yield* answer(server, "GET /x", "Host: a.test:8080")).toEqual([308, "https://a.test:8443/x"])
    }))

  it.effect("refuses where there is no host to go to", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.all("/*", ok), { edge })
      expect(yield* answer(server, "GET /", "Host: a!b")).toEqual([400, undefined])
      const client = yield* RawClient.connect(server.port)
      expect((yield* client.request("GET / HTTP/1.0\r\n\r\n")).status).toBe(400)
    }))

  it("refuses what is no port", () => {
    for (const port of [0, 65_536, 1.5, Number.NaN]) {
      expect(refused(() => HttpsRedirect.make({ port }))).toContain("RangeError: port must be")
    }
  })
})
