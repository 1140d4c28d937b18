import { assert, describe, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import * as Maintenance from "../src/Maintenance.ts"
import { exchanges, refused, send, settled, start } from "./kit.ts"

const Hello = Route.get("/", Effect.succeed(HttpServerResponse.text("hello")))

describe("Maintenance", () => {
  it.effect("is switched on and off while the server runs", () =>
    Effect.gen(function*() {
      const down = yield* Ref.make(false)
      const { ended, observer } = exchanges()
      const maintenance = Maintenance.make({ active: Ref.get(down), retryAfter: "10 minutes" })
      const server = yield* start(Server.layer(Hello, { edge: Middleware.stack(observer, maintenance) }))
      assert.strictEqual((yield* send(server)).status, 200)
      yield* Ref.set(down, true)
      const reply = yield* send(server)
      assert.deepStrictEqual([reply.status, reply.headers.get("retry-after")], [503, "600"])
      assert.deepStrictEqual(JSON.parse(reply.body), {
        type: "about:blank",
        title: "The service is under maintenance",
        status: 503,
        retryAfter: 600
      })
      yield* Ref.set(down, false)
      assert.strictEqual((yield* send(server)).status, 200)
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome._tag), ["Completed", "Shed", "Completed"])
    }))

  it.effect("at the edge it leaves the health routes alone", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Hello, { edge: Maintenance.make({ active: Effect.succeed(true) }) }))
      assert.strictEqual((yield* send(server)).status, 503)
      assert.strictEqual((yield* send(server, "/nowhere")).status, 503)
      assert.strictEqual((yield* send(server, "/readyz")).status, 200)
    }))

  it.effect("lets through what the predicate allows", () =>
    Effect.gen(function*() {
      const edge = Maintenance.make({
        active: Effect.succeed(true),
        allow: (request) => request.headers["x-operator"] === "ann"
      })
      const server = yield* start(Server.layer(Hello, { edge }))
      assert.strictEqual((yield* send(server)).status, 503)
      assert.strictEqual((yield* send(server, "/", { headers: { "x-operator": "ann" } })).status, 200)
    }))

  it.effect("lets addresses through, believes only trusted peers, and refuses a client whose address it can't tell", () =>
    Effect.gen(function*() {
      const edge = Maintenance.make({ active: Effect.succeed(true), allowFrom: ["203.0.113.0/24"] })
      const from = (address: string) => ({ headers: { "x-forwarded-for": address } })
      const credulous = yield* start(
        Server.layer(Hello, { edge }).pipe(Layer.provide(TrustedPeers.layer(TrustedPeers.networks(["loopback"]))))
      )
      assert.strictEqual((yield* send(credulous, "/", from("203.0.113.7"))).status, 200)
      assert.strictEqual((yield* send(credulous, "/", from("203.0.113.7, 198.51.100.4"))).status, 503)
      assert.strictEqual((yield* send(credulous, "/", from("garbage"))).status, 503)
      const careful = yield* start(Server.layer(Hello, { edge }))
      assert.strictEqual((yield* send(careful, "/", from("203.0.113.7"))).status, 503)
      const loopback = Maintenance.make({ active: Effect.succeed(true), allowFrom: ["loopback"] })
      const local = yield* start(Server.layer(Hello, { edge: loopback }))
      assert.strictEqual((yield* send(local)).status, 200)
    }))

  it("refuses nonsense", () => {
    const active = Effect.succeed(true)
    assert.include(refused(() => Maintenance.make({ active, retryAfter: 0 })), "RangeError: retryAfter")
    assert.include(refused(() => Maintenance.make({ active, allowFrom: ["here"] })), "is not a network")
    assert.deepStrictEqual(Maintenance.make({ active }).response, "none")
  })
})
