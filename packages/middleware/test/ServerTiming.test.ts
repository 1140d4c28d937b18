import { assert, describe, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import * as ServerTiming from "../src/ServerTiming.ts"
import { refused, send, start } from "./kit.ts"

const marking = (name: string, mark?: ServerTiming.Mark) =>
  Effect.gen(function*() {
    const timing = yield* ServerTiming.ServerTiming
    yield* timing.mark(name, mark)
    return HttpServerResponse.empty()
  })

const shown = ServerTiming.make({ show: "always" })

/** `name;param=value` as the standard's grammar has it, the value a token or a quoted string. */
const grammar = /^[\w!#$%&'*+.^`|~-]+(?:;dur=\d+(?:\.\d+)?)?(?:;desc="(?:[\t !#-[\]-~]|\\[\t -~])*")?$/

describe("ServerTiming", () => {
  it.effect("C60 sends what was marked and measured, and the total", () =>
    Effect.gen(function*() {
      const handler = Effect.gen(function*() {
        const timing = yield* ServerTiming.ServerTiming
        yield* timing.mark("cache", { description: "miss" })
        yield* TestClock.adjust("4 millis").pipe(timing.measure("db", "orders"))
        yield* Effect.ignore(
          TestClock.adjust("2 millis").pipe(
            Effect.andThen(Effect.fail("no")),
            timing.measure("failing")
          )
        )
        yield* timing.mark("known", { duration: "1500 micros" })
        return HttpServerResponse.empty()
      })
      const server = yield* start(Server.layer(Route.get("/", shown, handler)))
      const { headers } = yield* send(server)
      assert.strictEqual(
        headers.get("server-timing"),
        "cache;desc=\"miss\", db;dur=4;desc=\"orders\", failing;dur=2, known;dur=1.5, total;dur=6"
      )
      assert.isNull(headers.get("timing-allow-origin"))
    }))

  it.effect("C60 names and descriptions are escaped", () =>
    Effect.gen(function*() {
      const mark = marking("d b,;\u00fc", { description: "a \"quoted\" \\ b\r\nset-cookie: x=1\u20ac" })
      const server = yield* start(Server.layer(Route.get("/", shown, mark)))
      const { headers } = yield* send(server)
      assert.strictEqual(
        headers.get("server-timing"),
        "d_b___;desc=\"a \\\"quoted\\\" \\\\ b??set-cookie: x=1?\", total;dur=0"
      )
      assert.isNull(headers.get("set-cookie"))
    }))

  it.effect("C60 whatever the name and description, the field is well formed", () =>
    Effect.gen(function*() {
      let next: readonly [name: string, description: string] = ["", ""]
      const handler = Effect.suspend(() => marking(next[0], { description: next[1] }))
      const server = yield* start(Server.layer(Route.get("/", shown, handler)))
      const text = fc.array(fc.integer({ min: 0, max: 0x2ff })).map((codes) => String.fromCharCode(...codes))
      for (next of fc.sample(fc.tuple(text, text), 50)) {
        const field = (yield* send(server)).headers.get("server-timing") ?? ""
        assert.match(field.replace(/, total;dur=\d+$/, ""), grammar)
      }
    }))

  it.effect("C60 is absent when disabled, and for whom nobody trusts, which is the default", () =>
    Effect.gen(function*() {
      const routes = Layer.mergeAll(
        Route.get("/", ServerTiming.make({ allowOrigin: "*" }), marking("a")),
        Route.get("/never", ServerTiming.make({ show: "never" }), marking("a")),
        Route.get("/asked", ServerTiming.make({ show: ({ target }) => target.endsWith("?on") }), marking("a"))
      )
      const server = yield* start(Server.layer(routes))
      for (const path of ["/", "/never", "/asked"]) {
        const { headers } = yield* send(server, path)
        assert.deepStrictEqual([headers.get("server-timing"), headers.get("timing-allow-origin")], [null, null])
      }
      assert.strictEqual((yield* send(server, "/asked?on")).headers.get("server-timing"), "a, total;dur=0")
      const trusting = yield* Effect.provide(
        start(Server.layer(routes)),
        TrustedPeers.layer(TrustedPeers.networks(["loopback"]))
      )
      const { headers } = yield* send(trusting)
      assert.deepStrictEqual([headers.get("server-timing"), headers.get("timing-allow-origin")], [
        "a, total;dur=0",
        "*"
      ])
    }))

  it.effect("keeps the entries that are there, adds origins, stays within its bound, and is on errors too", () =>
    Effect.gen(function*() {
      const many = Effect.gen(function*() {
        const timing = yield* ServerTiming.ServerTiming
        for (let i = 0; i < 100; i++) yield* timing.mark(`m${i}`)
        return yield* Effect.die("boom")
      })
      const edge = ServerTiming.make({ show: "always", allowOrigin: ["https://a.test", "null"] })
      const routes = Layer.merge(
        Route.get("/own", Effect.succeed(HttpServerResponse.empty({ headers: { "server-timing": "upstream;dur=1" } }))),
        Route.get("/many", shown, many)
      )
      const server = yield* start(Server.layer(routes, { edge }))
      const own = yield* send(server, "/own")
      assert.strictEqual(own.headers.get("server-timing"), "upstream;dur=1, total;dur=0")
      assert.strictEqual(own.headers.get("timing-allow-origin"), "https://a.test, null")
      const failed = yield* send(server, "/many")
      assert.strictEqual(failed.status, 500)
      assert.match(failed.headers.get("server-timing") ?? "", /^m0, .*m63, total;dur=0/)
    }))

  it("refuses what is no origin", () => {
    assert.strictEqual(
      refused(() => ServerTiming.make({ allowOrigin: ["https://a.test/path"] })),
      "RangeError: allowOrigin must be * or origins such as https://example.com, got https://a.test/path"
    )
    assert.include(refused(() => ServerTiming.make({ allowOrigin: [] })), "got none")
  })
})
