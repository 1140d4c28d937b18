import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as TestClock from "effect/testing/TestClock"
import * as Middleware from "../src/Middleware.ts"
import * as Problem from "../src/Problem.ts"
import * as Route from "../src/Route.ts"
import { App } from "../src/testing/index.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))

class Unauthorized extends Problem.TaggedError<Unauthorized>()("Unauthorized", { status: 401 }) {}

const body = (response: Response) => Effect.promise(() => response.json())

describe("Health", () => {
  it.effect("says that it lives and is ready, in health+json that nobody caches", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(Route.get("/", ok))
      for (const path of ["/livez", "/readyz", "/readyz?verbose=1"]) {
        const response = yield* app.fetch(path)
        assert.strictEqual(response.status, 200, path)
        assert.strictEqual(response.headers.get("content-type"), "application/health+json")
        assert.strictEqual(response.headers.get("cache-control"), "no-store")
        assert.deepStrictEqual(yield* body(response), { status: "pass" })
      }
      const head = yield* app.fetch("/livez", { method: "HEAD" })
      assert.strictEqual(head.status, 200)
    }))

  it.effect("C101 a check that hangs is timed out and named; liveness does not care", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(Route.get("/", ok), {
        health: {
          timeout: "2 seconds",
          checks: {
            fine: Effect.void,
            hanging: Effect.never,
            broken: Effect.fail("no"),
            dying: Effect.die(new Error("boom"))
          }
        }
      })
      assert.strictEqual((yield* app.fetch("/livez")).status, 200)
      const asking = yield* Effect.forkChild(app.fetch("/readyz"), { startImmediately: true })
      while ((yield* app.active) === 0) yield* Effect.promise(() => new Promise(setImmediate))
      yield* TestClock.adjust("2 seconds")
      const response = yield* Fiber.join(asking)
      assert.strictEqual(response.status, 503)
      assert.deepStrictEqual(yield* body(response), {
        status: "fail",
        checks: { hanging: "timed out", broken: "failed", dying: "failed" }
      })
    }))

  it.effect("C101 neither is behind the edge: no authentication, no access log", () =>
    Effect.gen(function*() {
      const auth = Middleware.around<Unauthorized>("auth", () => Effect.fail(new Unauthorized()))
      const app = yield* App.listen(Route.get("/", ok), { edge: auth })
      assert.strictEqual((yield* app.fetch("/")).status, 401)
      assert.strictEqual((yield* app.fetch("/livez")).status, 200)
      assert.strictEqual((yield* app.fetch("/readyz")).status, 200)
      assert.strictEqual((yield* app.fetch("/")).status, 401)
      yield* app.exchange(1)
      assert.deepStrictEqual((yield* app.exchanges).map(({ path }) => path), ["/", "/"])
    }))

  it.effect("checks run at once", () =>
    Effect.gen(function*() {
      const slow = Effect.sleep("1 second")
      const app = yield* App.listen(Route.get("/", ok), {
        health: { timeout: "5 seconds", checks: { a: slow, b: slow, c: slow } }
      })
      const asking = yield* Effect.forkChild(app.fetch("/readyz"), { startImmediately: true })
      while ((yield* app.active) === 0) yield* Effect.promise(() => new Promise(setImmediate))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(asking)).status, 200)
    }))

  it.effect("paths may be others, or none", () =>
    Effect.gen(function*() {
      const renamed = yield* App.listen(Route.get("/", ok), { health: { livePath: "/live", readyPath: "/ready" } })
      assert.strictEqual((yield* renamed.fetch("/live")).status, 200)
      assert.strictEqual((yield* renamed.fetch("/ready")).status, 200)
      assert.strictEqual((yield* renamed.fetch("/livez")).status, 404)
      const none = yield* App.listen(Route.get("/", ok), { health: false })
      assert.strictEqual((yield* none.fetch("/readyz")).status, 404)
    }))

  it.effect("refuses a timeout that is none", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(App.listen(Route.get("/", ok), { health: { timeout: 0 } }))
      assert.strictEqual(exit._tag, "Failure")
    }))
})
