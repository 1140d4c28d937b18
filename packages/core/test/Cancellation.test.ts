import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { ClientAbort } from "effect/http/HttpServerError"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import * as Cancellation from "../src/Cancellation.ts"
import * as Deadline from "../src/Deadline.ts"
import * as Route from "../src/Route.ts"
import { App, RawClient } from "../src/testing/index.ts"
import { closeable, get } from "./support.ts"

const origin = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cancellation.of(exit.cause)) : undefined

/** A handler that never answers, and what it was told when it was interrupted. */
const waiting = Effect.gen(function*() {
  const started = yield* Deferred.make<void>()
  const cancelled = yield* Deferred.make<Cancellation.Cancellation>()
  const handler = Cancellation.onCancel(
    Effect.andThen(Deferred.succeed(started, undefined), Effect.never),
    (cancellation) => Deferred.succeed(cancelled, cancellation)
  )
  return { started: Deferred.await(started), cancelled: Deferred.await(cancelled), handler }
})

describe("Cancellation", () => {
  describe("an interrupted handler is told", () => {
    for (const leave of ["reset", "fetch"] as const) {
      it.effect(`that its client left (${leave})`, () =>
        Effect.gen(function*() {
          const { cancelled, handler, started } = yield* waiting
          const app = yield* App.listen(Route.get("/", handler))
          if (leave === "reset") {
            const client = yield* RawClient.connect(app.port)
            yield* client.send(get("/"))
            yield* started
            yield* client.reset
          } else {
            const fetching = yield* Effect.forkChild(app.fetch("/"), { startImmediately: true })
            yield* started
            yield* Fiber.interrupt(fetching)
          }
          assert.deepStrictEqual(yield* cancelled, { _tag: "ClientAborted" })
        }))
    }

    it.effect("which clock ran out, and after how long", () =>
      Effect.gen(function*() {
        const { cancelled, handler, started } = yield* waiting
        const limited = Deadline.enforce(handler, {
          clock: "handler",
          after: "2 seconds",
          orElse: () => Effect.succeed(HttpServerResponse.empty({ status: 503 }))
        })
        const app = yield* App.make(Route.get("/", limited))
        const fetching = yield* Effect.forkChild(app.fetch("/"), { startImmediately: true })
        yield* started
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* Fiber.join(fetching)).status, 503)
        assert.deepStrictEqual(yield* cancelled, {
          _tag: "DeadlineExceeded",
          clock: "handler",
          after: Duration.seconds(2)
        })
      }))

    it.effect("that the server drains", () =>
      Effect.gen(function*() {
        const { cancelled, handler, started } = yield* waiting
        const [app, close] = yield* closeable(App.listen(Route.get("/", handler), { drain: { deadline: "1 second" } }))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/"))
        yield* started
        const closing = yield* Effect.forkChild(close, { startImmediately: true })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* cancelled, { _tag: "Draining" })
        assert.strictEqual((yield* client.response()).status, 503)
        yield* Fiber.join(closing)
      }))

    it.effect("the same under a deadline, which passes the origin on", () =>
      Effect.gen(function*() {
        const { cancelled, handler, started } = yield* waiting
        const limited = Deadline.enforce(handler, {
          clock: "handler",
          after: "1 hour",
          orElse: () => Effect.die("late")
        })
        const app = yield* App.listen(Route.get("/", limited))
        const client = yield* RawClient.connect(app.port)
        yield* client.send(get("/"))
        yield* started
        yield* client.reset
        assert.deepStrictEqual(yield* cancelled, { _tag: "ClientAborted" })
      }))

    it.effect("what the program itself said", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(origin(yield* Effect.exit(Cancellation.cancel("enough"))), {
          _tag: "UserCancelled",
          reason: "enough"
        })
      }))
  })

  it.effect("interrupt carries every origin to the fiber", () =>
    Effect.gen(function*() {
      const origins = [
        Cancellation.clientAborted,
        Cancellation.draining,
        Cancellation.hedgeLoser,
        Cancellation.deadlineExceeded("total", "1 second"),
        Cancellation.userCancelled("why")
      ]
      for (const cancellation of origins) {
        const fiber = yield* Effect.forkChild(Effect.never, { startImmediately: true })
        Cancellation.interrupt(fiber, cancellation)
        assert.strictEqual(origin(yield* Fiber.await(fiber)), cancellation)
      }
    }))

  it.effect("an interruption that says nothing is a user's, and Effect's own mark of a client abort is one", () =>
    Effect.gen(function*() {
      const plain = yield* Effect.forkChild(Effect.never, { startImmediately: true })
      yield* Fiber.interrupt(plain)
      assert.deepStrictEqual(origin(yield* Fiber.await(plain)), { _tag: "UserCancelled", reason: undefined })
      const marked = yield* Effect.forkChild(Effect.never, { startImmediately: true })
      marked.interruptUnsafe(undefined, ClientAbort.annotation)
      assert.deepStrictEqual(origin(yield* Fiber.await(marked)), { _tag: "ClientAborted" })
    }))

  it("has no origin for what is no interruption", () => {
    assert.isTrue(Option.isNone(Cancellation.of(Cause.fail("no"))))
    assert.isTrue(Option.isNone(Cancellation.of(Cause.die("no"))))
    assert.isTrue(Option.isNone(Cancellation.of(Cause.empty)))
  })

  it.effect("onCancel runs on interruption only", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const watch = <A, E>(self: Effect.Effect<A, E>) =>
        Effect.exit(Cancellation.onCancel(self, ({ _tag }) => Effect.sync(() => seen.push(_tag))))
      yield* watch(Effect.void)
      yield* watch(Effect.fail("no"))
      yield* watch(Effect.die("no"))
      assert.deepStrictEqual(seen, [])
      yield* watch(Cancellation.cancel())
      assert.deepStrictEqual(seen, ["UserCancelled"])
    }))
})
