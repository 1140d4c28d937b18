import { assert, describe, it } from "@effect/vitest"
import * as Problem from "@sluice/core/Problem"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Breaker from "effect/persistence/CircuitBreaker"
import * as TestClock from "effect/testing/TestClock"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import { exchanges, open, send, settled, start, until } from "./kit.ts"
import { hasRedis, redisNote, redisServer } from "./utils/redis.ts"

class NotThere extends Problem.TaggedError<NotThere>()("NotThere", { status: 404 }) {}
class Broken extends Problem.TaggedError<Broken>()("Broken", { status: 502 }) {}

const breaker = Breaker.layer({ tripPolicy: Breaker.consecutive(2), openDuration: "30 seconds" })
const memory = Layer.provide(breaker, Breaker.layerStoreMemory())

/** A handler that does what the request's `?` says. */
const handler = (runs: { count: number }) =>
  Effect.gen(function*() {
    runs.count++
    const { url } = yield* HttpServerRequest.HttpServerRequest
    const what = new URL(url, "http://a").searchParams.get("do")
    if (what === "fail") return yield* new Broken({})
    if (what === "die") return yield* Effect.die(new Error("broken"))
    if (what === "404") return yield* new NotThere({})
    if (what === "wait") return yield* Effect.never
    return HttpServerResponse.empty({ status: what === "500" ? 500 : 200 })
  })

const serve = (runs: { count: number }) =>
  Layer.mergeAll(
    Route.get("/a/:id", CircuitBreaker.make(), handler(runs)),
    Route.get("/b", CircuitBreaker.make({ isFailure: () => false }), handler(runs))
  )

describe("CircuitBreaker", () => {
  for (const what of ["fail", "die", "500"]) {
    it.effect(`opens after failures (${what}), is tried again, and closes`, () =>
      Effect.gen(function*() {
        const runs = { count: 0 }
        const { ended, observer } = exchanges()
        const server = yield* start(Server.layer(serve(runs), { edge: observer }))
        yield* send(server, `/a/1?do=${what}`)
        yield* send(server, `/a/2?do=${what}`)
        const refused = yield* send(server, "/a/3")
        assert.deepStrictEqual([refused.status, refused.headers.get("retry-after")], [503, "30"])
        assert.strictEqual(runs.count, 2)
        // Another route has a circuit of its own.
        assert.strictEqual((yield* send(server, "/b")).status, 200)
        yield* TestClock.adjust("31 seconds")
        assert.strictEqual((yield* send(server, "/a/4")).status, 200)
        assert.strictEqual((yield* send(server, "/a/5")).status, 200)
        yield* settled(server)
        assert.deepStrictEqual(ended.map(({ outcome }) => outcome._tag).filter((tag) => tag === "Shed"), ["Shed"])
      }).pipe(Effect.provide(memory)))
  }

  it.effect("stays closed for what is the client's fault, and for what counts as none", () =>
    Effect.gen(function*() {
      const runs = { count: 0 }
      const server = yield* start(Server.layer(serve(runs)))
      for (let i = 0; i < 4; i++) assert.strictEqual((yield* send(server, "/a/1?do=404")).status, 404)
      for (let i = 0; i < 4; i++) assert.strictEqual((yield* send(server, "/b?do=500")).status, 500)
      assert.strictEqual(runs.count, 8)
    }).pipe(Effect.provide(memory)))

  it.effect("learns nothing from clients that leave", () =>
    Effect.gen(function*() {
      const runs = { count: 0 }
      const server = yield* start(Server.layer(serve(runs)))
      for (let i = 1; i <= 3; i++) {
        const client = yield* open(server)
        client.socket.write("GET /a/1?do=wait HTTP/1.1\r\nHost: a\r\n\r\n")
        yield* until(() => runs.count === i)
        client.socket.destroy()
        yield* settled(server)
      }
      assert.strictEqual((yield* send(server, "/a/1")).status, 200)
    }).pipe(Effect.provide(memory)))

  it.effect("a store that is down lets requests through, or refuses them", () =>
    Effect.gen(function*() {
      const down = Effect.fail(
        new Breaker.CircuitBreakerError({ reason: new Breaker.CircuitBreakerStoreError({ message: "down" }) })
      )
      const store = Layer.succeed(Breaker.CircuitBreakerStore, {
        admit: () => down,
        record: () => down,
        state: () => down
      })
      const statusWith = Effect.fnUntraced(function*(onStoreError: "allow" | "fail") {
        const layer = Breaker.layer({ tripPolicy: Breaker.consecutive(1), openDuration: "1 second", onStoreError })
        const server = yield* start(Server.layer(serve({ count: 0 }))).pipe(
          Effect.provide(Layer.provide(layer, store))
        )
        return (yield* send(server, "/a/1")).status
      })
      assert.deepStrictEqual([yield* statusWith("allow"), yield* statusWith("fail")], [200, 503])
    }))

  it.live.skipIf(!hasRedis)(
    `what one server learns another knows, through Redis${redisNote}`,
    () =>
      Effect.gen(function*() {
        const redis = yield* redisServer
        const shared = Layer.provide(breaker, Layer.provide(Breaker.layerStoreRedis(), redis.layer))
        const runs = { count: 0 }
        const serving = Effect.flatMap(
          Layer.build(Layer.fresh(shared)),
          (context) => Effect.provideContext(start(Server.layer(serve(runs))), context)
        )
        const one = yield* serving
        const other = yield* serving
        yield* send(one, "/a/1?do=500")
        yield* send(one, "/a/1?do=500")
        assert.strictEqual((yield* send(other, "/a/1")).status, 503)
        assert.strictEqual(runs.count, 2)
      })
  )
})
