import { describe, expect, it } from "@effect/vitest"
import * as ClientAddress from "@sluice/core/ClientAddress"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Ref from "effect/Ref"
import * as ClientIp from "../src/ClientIp.ts"
import * as IpFilter from "../src/IpFilter.ts"
import { refused } from "./kit.ts"
import { ask } from "./utils/ask.ts"

class Down extends Problem.TaggedError<Down>()("Down", { status: 503 }) {}

const ok = Effect.succeed(HttpServerResponse.text("ok"))
const clientIp = ClientIp.make({ trust: TrustedPeers.networks(["loopback"], { source: "Forwarded" }) })
const from = (server: { readonly port: number }, address: string) => {
  const node = address.includes(":") ? `"[${address}]"` : address
  return Effect.map(ask(server, "GET /", [`Forwarded: for=${node}`]), ({ status }) => status)
}

const table = (options: IpFilter.Options, expected: Readonly<Record<string, number>>) =>
  Effect.gen(function*() {
    const server = yield* App.listen(Route.get("/", Middleware.stack(clientIp, IpFilter.make(options)), ok))
    const seen: Record<string, number> = {}
    for (const address of Object.keys(expected)) seen[address] = yield* from(server, address)
    expect(seen).toEqual(expected)
  })

describe("IpFilter", () => {
  it.effect("deny goes before allow, for either family", () =>
    table({ allow: ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"], deny: ["10.1.0.0/16", "2001:db8:bad::/48"] }, {
      "10.0.0.1": 200,
      "10.255.255.255": 200,
      "10.1.2.3": 403,
      "11.0.0.1": 403,
      "192.0.2.7": 200,
      "192.0.2.8": 403,
      "::ffff:10.0.0.1": 200,
      "::ffff:10.1.0.1": 403,
      "2001:db8::1": 200,
      "2001:db8:bad::1": 403,
      "2001:db9::1": 403,
      "unknown": 403
    }))

  it.effect("without allow, whoever is not denied passes, but for who is unknown", () =>
    table({ deny: ["203.0.113.0/24", "::ffff:198.51.100.0/120"] }, {
      "203.0.113.9": 403,
      "198.51.100.1": 403,
      "203.0.114.1": 200,
      "2001:db8::1": 200,
      "unknown": 403,
      "_hidden": 403
    }))

  it.effect("a list may change, and its failure is the middleware's", () =>
    Effect.gen(function*() {
      const banned = yield* Ref.make<IpFilter.Networks | undefined>(IpFilter.networks([]))
      const deny = Effect.flatMap(Ref.get(banned), (list) =>
        list === undefined ? Effect.fail(new Down()) : Effect.succeed(list))
      const server = yield* App.listen(Route.get("/", Middleware.stack(clientIp, IpFilter.make({ deny })), ok))
      expect(yield* from(server, "203.0.113.9")).toBe(200)
      yield* Ref.set(banned, IpFilter.networks(["203.0.113.0/24"]))
      expect(yield* from(server, "203.0.113.9")).toBe(403)
      yield* Ref.set(banned, undefined)
      expect(yield* from(server, "203.0.113.10")).toBe(503)
    }))

  it.effect("the handler does not run, and the answer does not say why", () =>
    Effect.gen(function*() {
      let runs = 0
      const handler = Effect.sync(() => HttpServerResponse.text(String(++runs)))
      const none = Middleware.provide(
        ClientAddress.ClientAddress,
        Effect.succeed({ address: undefined, host: undefined, proto: undefined })
      )
      const server = yield* App.listen(
        Route.get("/", Middleware.stack(none, IpFilter.make({ allow: ["0.0.0.0/0", "::/0"] })), handler)
      )
      const response = yield* ask(server, "GET /")
      expect([response.status, JSON.parse(response.text), runs]).toEqual([
        403,
        { type: "about:blank", title: "Client address refused", status: 403 },
        0
      ])
    }))

  it("refuses what is no network and names the option", () => {
    expect(refused(() => IpFilter.make({}))).toContain("RangeError: allow or deny must be given")
    for (const entry of ["10.0.0.0/33", "10.0.0", "localhost", "10.0.0.1-10.0.0.9", "unix", ""]) {
      expect(refused(() => IpFilter.make({ allow: [entry] }))).toContain("RangeError: allow must be networks")
      expect(refused(() => IpFilter.make({ deny: [entry] }))).toContain("RangeError: deny must be networks")
      expect(refused(() => IpFilter.networks([entry]))).toContain("RangeError: networks must be networks")
    }
  })
})
