import { assert, describe, it } from "@effect/vitest"
import * as Handler from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Reporter from "@sluice/core/Reporter"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Recover from "../src/Recover.ts"
import * as Reporting from "../src/Reporting.ts"
import { exchanges, open, reports, send, settled, start } from "./kit.ts"

class Teapot extends Problem.TaggedError<Teapot>()("Teapot", { status: 418 }) {}

/** A middleware that must see a response's value: it says which status it saw. */
const seen = Middleware.around(
  "seen",
  (handler) =>
    Effect.map(handler, (response) => HttpServerResponse.setHeader(response, "x-seen", String(response.status)))
)

describe("Recover", () => {
  it.effect("C7 a defect is a 500 problem that tells nothing, and further out it is a response", () =>
    Effect.gen(function*() {
      const boom = new Error("the secret is 42")
      const through = Middleware.stack(Reporting.make(), seen, Recover.make())
      const server = yield* start(Server.layer(Route.get("/", through, Effect.die(boom))))
      const { body, headers, status } = yield* send(server)
      yield* settled(server)
      assert.strictEqual(status, 500)
      assert.strictEqual(headers.get("x-seen"), "500")
      assert.strictEqual(headers.get("content-type"), "application/problem+json")
      assert.deepStrictEqual(JSON.parse(body), { type: "about:blank", title: "Internal Server Error", status: 500 })
      const [report, ...more] = yield* reports
      assert.deepStrictEqual([report.error, report.unhandled, report.status, more.length], [boom, true, 500, 0])
      assert.strictEqual(report.cause.reasons.length, 1)
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("C8 a response that was thrown passes through", () =>
    Effect.gen(function*() {
      const thrown = Effect.die(HttpServerResponse.text("thrown", { status: 409 }))
      const server = yield* start(Server.layer(Route.get("/", Recover.make(), thrown)))
      const { body, status } = yield* send(server)
      assert.deepStrictEqual([status, body], [409, "thrown"])
    }))

  it.effect("a typed error passes through", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Recover.make(), Effect.fail(new Teapot({})))))
      assert.strictEqual((yield* send(server)).status, 418)
    }))

  it.effect("a defect with a response of its own has that one", () =>
    Effect.gen(function*() {
      const through = Middleware.stack(seen, Recover.make())
      const server = yield* start(Server.layer(Route.get("/", through, Effect.die(new Teapot({})))))
      const { headers, status } = yield* send(server)
      assert.deepStrictEqual([status, headers.get("x-seen")], [418, "418"])
    }))

  it.effect("an interruption passes through, and so does a defect of its finalizer", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      let rendered = 0
      const recover = Recover.make({
        render: () =>
          Effect.sync(() => {
            rendered++
            return HttpServerResponse.empty()
          })
      })
      const handler = Effect.andThen(Deferred.succeed(reached, undefined), Effect.never).pipe(
        Effect.onInterrupt(() => Effect.die("in the finalizer"))
      )
      const { ended, observer } = exchanges()
      const server = yield* start(Server.layer(Route.get("/", recover, handler), { edge: observer }))
      const client = yield* open(server)
      client.socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Deferred.await(reached)
      client.socket.destroy()
      yield* settled(server)
      assert.strictEqual(rendered, 0)
      assert.strictEqual(ended.length, 1)
    }))

  it.effect("renders as it is told, with the defect and the cause", () =>
    Effect.gen(function*() {
      const recover = Recover.make({
        render: (defect, cause) =>
          Effect.succeed(HttpServerResponse.text(`${String(defect)} ${Cause.hasDies(cause)}`, { status: 503 }))
      })
      const server = yield* start(Server.layer(Route.get("/", recover, Effect.die("boom"))))
      const { body, status } = yield* send(server)
      assert.deepStrictEqual([status, body], [503, "boom true"])
    }))

  it.effect("a renderer that dies leaves the default, and both defects are reported", () =>
    Effect.gen(function*() {
      const recover = Recover.make({
        render: () => {
          throw new Error("in the renderer")
        }
      })
      const through = Middleware.stack(Reporting.make(), recover)
      const server = yield* start(Server.layer(Route.get("/", through, Effect.die("boom"))))
      assert.strictEqual((yield* send(server)).status, 500)
      yield* settled(server)
      assert.deepStrictEqual(
        (yield* reports).map(({ cause }) => Cause.prettyErrors(cause).map(({ message }) => message)),
        [["boom", "in the renderer"]]
      )
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("a defect that was answered with less than 500 is reported, too", () =>
    Effect.gen(function*() {
      const recover = Recover.make({ render: () => Effect.succeed(HttpServerResponse.text("fallback")) })
      const through = Middleware.stack(Reporting.make(), recover)
      const server = yield* start(Server.layer(Route.get("/", through, Effect.die("boom"))))
      assert.strictEqual((yield* send(server)).body, "fallback")
      yield* settled(server)
      assert.deepStrictEqual((yield* reports).map(({ error, status }) => [error, status]), [["boom", 200]])
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("aborts the connection when the head has been written", () =>
    Effect.gen(function*() {
      const direct = Effect.andThen(
        Effect.raceFirst(
          Handler.fromNodeHandler((_, response) => {
            response.writeHead(200, { "content-length": 10 })
            response.write("half")
          }),
          Effect.yieldNow
        ),
        Effect.die("boom")
      )
      const { ended, observer } = exchanges()
      const routes = Layer.mergeAll(Route.get("/", Recover.make(), direct))
      const server = yield* start(Server.layer(routes, { edge: observer }))
      const failed = yield* Effect.exit(Effect.tryPromise(() => fetch(server.url).then((_) => _.text())))
      assert.strictEqual(failed._tag, "Failure")
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome), [{ _tag: "Failed", phase: "responseBody" }])
    }))
})
