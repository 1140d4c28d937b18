import { describe, expect, it } from "@effect/vitest"
import * as ClientAddress from "@sluice/core/ClientAddress"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ClientIp from "../src/ClientIp.ts"
import { logs } from "./kit.ts"
import { ask } from "./utils/ask.ts"

const who = Effect.map(ClientAddress.ClientAddress, (client) => HttpServerResponse.text(JSON.stringify(client)))
const loopback = TrustedPeers.networks(["loopback", "10.0.0.0/8"])
const listen = (options: ClientIp.Options) => App.listen(Route.get("/", ClientIp.make(options), who))
const client = (server: { readonly port: number }, ...fields: ReadonlyArray<string>) =>
  Effect.map(
    ask(server, "GET /", fields),
    ({ status, text }) => status === 200 ? JSON.parse(text) as TrustedPeers.Client : status
  )

describe("ClientIp", () => {
  it.effect("C103 a peer that is not trusted is the client, whatever it says", () =>
    Effect.gen(function*() {
      const server = yield* listen({})
      const fields = [
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: b",
        "Forwarded: for=1.2.3.4"
      ]
      expect(yield* client(server, ...fields)).toEqual({ address: "127.0.0.1" })
      expect(yield* client(server, "X-Forwarded-For: garbage")).toEqual({ address: "127.0.0.1" })
    }))

  it.effect("C103 the spellings of X-Forwarded-For", () =>
    Effect.gen(function*() {
      const server = yield* listen({ trust: loopback })
      for (
        const [entry, address] of [
          ["203.0.113.7", "203.0.113.7"],
          ["203.0.113.7:4711", "203.0.113.7"],
          ["[2001:DB8::1]:4711", "2001:db8::1"],
          ["2001:db8:0:0::1", "2001:db8::1"],
          ["::ffff:203.0.113.7", "203.0.113.7"]
        ] as const
      ) expect([entry, yield* client(server, `X-Forwarded-For: ${entry}`)]).toEqual([entry, { address }])
    }))

  it.effect("C103 Forwarded, with scheme and host of the trusted hop alone", () =>
    Effect.gen(function*() {
      const server = yield* listen({ trust: TrustedPeers.networks(["loopback"], { source: "Forwarded" }) })
      expect(yield* client(server, "Forwarded: for=\"[2001:db8::1]:4711\";proto=https")).toEqual({
        address: "2001:db8::1",
        proto: "https"
      })
      expect(yield* client(server, "Forwarded: for=1.2.3.4;host=evil;proto=http, for=203.0.113.7;proto=https")).toEqual(
        {
          address: "203.0.113.7",
          proto: "https"
        }
      )
    }))

  it.effect("C88 what stands left of the client is not looked at; what is needed and garbage is refused", () =>
    Effect.gen(function*() {
      const server = yield* listen({ trust: loopback })
      expect(yield* client(server, "X-Forwarded-For: 1.2.3.4, garbage, 203.0.113.7, 10.0.0.9")).toEqual({
        address: "203.0.113.7"
      })
      expect(yield* client(server, "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 203.0.113.7, 10.0.0.9")).toEqual({
        address: "203.0.113.7"
      })
      expect(yield* client(server, "X-Forwarded-For: 1.2.3.4, garbage, 10.0.0.9")).toBe(400)
      expect(yield* client(server, "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Host: a/b")).toBe(400)
    }))

  it.effect("without an option the application's TrustedPeers decide, and with one it holds further in, too", () =>
    Effect.gen(function*() {
      const forwarded = "X-Forwarded-For: 203.0.113.7"
      const outside = Effect.provide(TrustedPeers.layer(TrustedPeers.hops(1)))
      expect(yield* client(yield* outside(listen({})), forwarded)).toEqual({ address: "203.0.113.7" })
      expect(yield* client(yield* outside(listen({ trust: TrustedPeers.none })), forwarded)).toEqual({
        address: "127.0.0.1"
      })
      const inner = Effect.map(ClientAddress.fromRequest, ({ address }) => HttpServerResponse.text(address ?? "-"))
      const server = yield* App.listen(Route.get("/", ClientIp.make({ trust: loopback }), inner))
      expect((yield* ask(server, "GET /", [forwarded])).text).toBe("203.0.113.7")
    }))

  it.effect("the address is with the exchange and with the log lines", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const handler = Effect.as(Effect.log("hello"), HttpServerResponse.empty())
      const server = yield* App.listen(Route.get("/", ClientIp.make({ trust: loopback }), handler))
      yield* ask(server, "GET /", ["X-Forwarded-For: 203.0.113.7"])
      expect((yield* server.exchange(0)).attributes.get("client.address")).toBe("203.0.113.7")
      expect(lines.map(({ annotations, message }) => [message, annotations["client.address"]])).toEqual([
        ["hello", "203.0.113.7"]
      ])
    }).pipe(Effect.provide(layer))
  })
})
