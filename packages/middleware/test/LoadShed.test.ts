import { assert, describe, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { spawnSync } from "node:child_process"
import * as Admission from "../src/Admission.ts"
import * as LoadShed from "../src/LoadShed.ts"
import * as LoadSignals from "../src/LoadSignals.ts"
import { exchanges, refused, send, settled, start, until } from "./kit.ts"

const ok = Effect.succeed(HttpServerResponse.text("done"))

describe("LoadShed", () => {
  it.effect("C48 refuses while a signal is above its threshold, and health routes answer all the same", () =>
    Effect.gen(function*() {
      const refusals = Metric.value(Admission.decisions("load_shed", "shed"))
      const before = (yield* refusals).count
      let ran = 0
      let signals: Partial<LoadSignals.Signals> = {}
      const shed = LoadShed.make({
        maxEventLoopDelay: "100 millis",
        maxEventLoopUtilization: 0.9,
        maxHeapUsed: 1000,
        maxRss: 2000,
        retryAfter: "3 seconds"
      })
      const { ended, observer } = exchanges()
      const Work = Route.get("/", shed, Effect.andThen(Effect.sync(() => void ran++), ok))
      const server = yield* start(
        Server.layer(Work, { edge: observer }).pipe(Layer.provide(LoadSignals.layerTest(() => signals)))
      )
      const busy: ReadonlyArray<Partial<LoadSignals.Signals>> = [
        { eventLoopDelay: 100.1 },
        { eventLoopUtilization: 0.91 },
        { heapUsed: 1001 },
        { rss: 2001 },
        { overloaded: true }
      ]
      for (signals of busy) {
        const reply = yield* send(server)
        assert.deepStrictEqual([reply.status, reply.headers.get("retry-after")], [503, "3"])
        assert.include(reply.body, "http-problem-types#temporary-reduced-capacity")
        assert.strictEqual((yield* send(server, "/livez")).status, 200)
        assert.strictEqual((yield* send(server, "/readyz")).status, 200)
      }
      assert.strictEqual(ran, 0)
      signals = { eventLoopDelay: 100, eventLoopUtilization: 0.9, heapUsed: 1000, rss: 2000 }
      assert.strictEqual((yield* send(server)).status, 200)
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome._tag), [...busy.map(() => "Shed"), "Completed"])
      assert.strictEqual((yield* refusals).count, before + busy.length)
    }))

  it.effect("C48 at the edge, too, health routes answer", () =>
    Effect.gen(function*() {
      const server = yield* start(
        Server.layer(Route.get("/", ok), { edge: LoadShed.make() }).pipe(
          Layer.provide(LoadSignals.layerTest(() => ({ overloaded: true })))
        )
      )
      assert.strictEqual((yield* send(server)).status, 503)
      assert.strictEqual((yield* send(server, "/livez")).status, 200)
      assert.strictEqual((yield* send(server, "/readyz")).status, 200)
    }))

  it.effect("counts the requests in flight until their responses are out", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const slow = Effect.andThen(Deferred.succeed(reached, void 0), Effect.andThen(Deferred.await(go), ok))
      const shed = LoadShed.make({ maxInFlight: 1 })
      const routes = Layer.mergeAll(Route.get("/slow", shed, slow), Route.get("/", shed, ok))
      const server = yield* start(Server.layer(routes).pipe(Layer.provide(LoadSignals.layerTest(() => ({})))))
      const first = yield* Effect.forkChild(send(server, "/slow"))
      yield* Deferred.await(reached)
      assert.strictEqual((yield* send(server)).status, 503)
      yield* Deferred.succeed(go, void 0)
      assert.strictEqual((yield* Fiber.join(first)).status, 200)
      yield* settled(server)
      assert.strictEqual((yield* send(server)).status, 200)
    }))

  it("refuses nonsense and names itself", () => {
    assert.include(refused(() => LoadShed.make({ maxEventLoopDelay: 0 })), "RangeError: maxEventLoopDelay")
    assert.strictEqual(
      refused(() => LoadShed.make({ maxEventLoopUtilization: 1.1 })),
      "RangeError: maxEventLoopUtilization must be a number from 0 to 1, got 1.1"
    )
    assert.include(refused(() => LoadShed.make({ maxHeapUsed: Number.NaN })), "RangeError: maxHeapUsed")
    assert.include(refused(() => LoadShed.make({ maxRss: 0 })), "RangeError: maxRss must be a number from 1")
    assert.include(refused(() => LoadShed.make({ maxInFlight: 0 })), "RangeError: maxInFlight")
    assert.include(refused(() => LoadShed.make({ retryAfter: -1 })), "RangeError: retryAfter")
    assert.include(refused(() => LoadSignals.layer({ every: Infinity })), "RangeError: every")
    const shed = LoadShed.make({ maxRss: 1, maxInFlight: 2 })
    assert.deepStrictEqual([shed.label, shed.response], ["LoadShed(rss, inFlight)", "none"])
  })
})

describe("LoadSignals", () => {
  const signals = (options: LoadSignals.Options) =>
    Effect.map(Layer.build(LoadSignals.layer(options)), Context.get(LoadSignals.LoadSignals))

  it.live("measures the event loop and the memory", () =>
    Effect.gen(function*() {
      const { current } = yield* signals({ every: "20 millis" })
      const { heapUsed, overloaded, rss } = current()
      assert.isAbove(heapUsed, 1e6)
      assert.isAbove(rss, heapUsed)
      assert.isFalse(overloaded)
      let late = 0
      let used = 0
      // Blocks again and again: a sample may begin in the middle of a block.
      yield* until(() => {
        const end = performance.now() + 60
        while (performance.now() < end);
        late = Math.max(late, current().eventLoopDelay)
        used = Math.max(used, current().eventLoopUtilization)
        return late > 20 && used > 0.5
      })
    }))

  it.live("asks its own signal in the background, one question at a time, and takes a failure for a yes", () =>
    Effect.gen(function*() {
      let asked = 0
      let answer: Effect.Effect<boolean, string> = Effect.never
      const { current } = yield* signals({
        every: "1 millis",
        overloaded: Effect.suspend(() => {
          asked++
          return answer
        })
      })
      const before = current()
      yield* until(() => asked === 1 && current() !== before)
      const samples = new Set<LoadSignals.Signals>()
      yield* until(() => samples.add(current()).size > 3)
      assert.strictEqual(asked, 1)
      assert.isFalse(current().overloaded)

      answer = Effect.succeed(true)
      const other = yield* signals({ every: "1 millis", overloaded: Effect.suspend(() => answer) })
      yield* until(() => other.current().overloaded)
      answer = Effect.succeed(false)
      yield* until(() => !other.current().overloaded)
      answer = Effect.fail("no connection")
      yield* until(() => other.current().overloaded)
    }))

  it.live("keeps no process alive", () =>
    Effect.sync(() => {
      const script = `
        import { Effect, Layer, Scope } from "effect"
        import * as LoadSignals from ${JSON.stringify(new URL("../src/LoadSignals.ts", import.meta.url).href)}
        await Effect.runPromise(Effect.flatMap(Scope.make(), (scope) =>
          Layer.buildWithScope(LoadSignals.layer({ every: 10 }), scope)))
        console.log("built")
      `
      const child = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
        cwd: new URL("..", import.meta.url),
        timeout: 20_000,
        encoding: "utf8"
      })
      assert.deepStrictEqual([child.status, child.stdout.trim()], [0, "built"], child.stderr)
    }), 30_000)
})
