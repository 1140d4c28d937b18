import { assert, describe, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as CacheControl from "../src/CacheControl.ts"
import { refused, send, start } from "./kit.ts"

describe("CacheControl", () => {
  it.effect("sets the field where there is none, and not on errors", () =>
    Effect.gen(function*() {
      const through = CacheControl.make({ visibility: "public", maxAge: "1 hour" })
      const own = { headers: { "cache-control": "no-cache" } }
      const server = yield* start(Server.layer(Layer.mergeAll(
        Route.get("/", through, Effect.succeed(HttpServerResponse.empty())),
        Route.get("/own", through, Effect.succeed(HttpServerResponse.empty(own))),
        Route.get("/gone", through, Effect.succeed(HttpServerResponse.empty({ status: 410 }))),
        Route.get("/none", CacheControl.noStore, Effect.succeed(HttpServerResponse.empty(own))),
        Route.get("/broken", CacheControl.noStore, Effect.die("boom"))
      )))
      const field = (path: string) => Effect.map(send(server, path), ({ headers }) => headers.get("cache-control"))
      assert.deepStrictEqual(
        [
          yield* field("/"),
          yield* field("/own"),
          yield* field("/gone"),
          yield* field("/none"),
          yield* field("/broken")
        ],
        ["public, max-age=3600", "no-cache", null, "no-store", "no-store"]
      )
    }))

  it("writes every directive", () => {
    assert.strictEqual(
      CacheControl.format({
        visibility: "public",
        noCache: ["Set-Cookie", "x-a"],
        maxAge: "90 seconds",
        sharedMaxAge: "0 seconds",
        proxyRevalidate: true,
        mustUnderstand: true,
        noTransform: true,
        staleWhileRevalidate: "1 minute",
        staleIfError: "1 day",
        immutable: true
      }),
      "public, no-cache=\"set-cookie, x-a\", max-age=90, s-maxage=0, proxy-revalidate, must-understand, no-transform, " +
        "stale-while-revalidate=60, stale-if-error=86400, immutable"
    )
    assert.strictEqual(
      CacheControl.format({ noStore: true, mustUnderstand: true, maxAge: "1 second" }),
      "no-store, max-age=1, must-understand"
    )
  })

  it("refuses what can't be meant", () => {
    const cases: ReadonlyArray<readonly [CacheControl.Directives, RegExp]> = [
      [{}, /at least one/],
      [{ maxAge: -1 }, /maxAge/],
      [{ staleIfError: Infinity }, /staleIfError/],
      [{ noStore: true, maxAge: "1 second" }, /noStore contradicts maxAge/],
      [{ noStore: true, staleIfError: "1 second" }, /noStore contradicts staleIfError/],
      [{ noStore: true, visibility: "public" }, /noStore contradicts visibility public/],
      [{ visibility: "private", sharedMaxAge: "1 second" }, /sharedMaxAge contradicts visibility private/],
      [{ mustRevalidate: true, staleWhileRevalidate: "1 second" }, /mustRevalidate contradicts/],
      [{ noCache: true, staleWhileRevalidate: "1 second" }, /noCache contradicts/],
      [{ immutable: true }, /immutable takes a maxAge/],
      [{ noCache: [] }, /noCache/],
      [{ noCache: ["a b"] }, /noCache/]
    ]
    for (const [directives, message] of cases) assert.match(refused(() => CacheControl.make(directives)), message)
  })
})
