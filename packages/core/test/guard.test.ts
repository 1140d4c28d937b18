import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Middleware from "../src/Middleware.ts"
import * as Problem from "../src/Problem.ts"
import * as RequestService from "../src/RequestService.ts"
import * as Route from "../src/Route.ts"
import { App, RawClient } from "../src/testing/index.ts"
import { get, raw } from "./support.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))

const secret = "jdbc://root:hunter2@10.0.0.7"

class Down extends Problem.Opaque()("Down", { status: 503 }) {}

const squashed = (cause: Cause.Cause<unknown> | undefined) => cause === undefined ? undefined : Cause.squash(cause)

describe("guard", () => {
  it.effect("C7 a defect is a 500 problem without its message, and the connection stays usable", () =>
    Effect.gen(function*() {
      const defect = new Error(secret)
      const app = yield* App.listen(Layer.mergeAll(Route.get("/die", Effect.die(defect)), Route.get("/ok", ok)))
      const client = yield* RawClient.connect(app.port)
      const response = yield* client.request(get("/die"))
      assert.strictEqual(response.status, 500)
      assert.strictEqual(response.get("content-type"), "application/problem+json")
      assert.deepStrictEqual(JSON.parse(response.text), {
        type: "about:blank",
        title: "Internal Server Error",
        status: 500
      })
      assert.strictEqual((yield* client.request(get("/ok"))).text, "ok")
      assert.strictEqual(squashed((yield* app.exchange(0)).cause), defect)
    }))

  it.effect("C7 the same for what is thrown in a middleware, in the edge, and while a service is built", () =>
    Effect.gen(function*() {
      class Tenant extends RequestService.Service<Tenant, string>()("test/Tenant") {}
      const throwing = Middleware.around("throwing", () =>
        Effect.sync((): never => {
          throw new Error(secret)
        }))
      const built = Middleware.provide(Tenant, Effect.die(new Error(secret)))
      const routes = Layer.mergeAll(Route.get("/a", throwing, ok), Route.get("/b", built, ok))
      const app = yield* App.make(routes)
      const broken = yield* App.make(routes, { edge: throwing })
      for (
        const text of [
          yield* app.text("/a"),
          yield* app.text("/b"),
          yield* broken.text("/a"),
          yield* broken.text("/none")
        ]
      ) {
        assert.strictEqual(JSON.parse(text).status, 500)
        assert.notInclude(text, "hunter2")
      }
    }))

  it.effect("C8 a response that is thrown is the response, and no failure", () =>
    Effect.gen(function*() {
      const teapot = HttpServerResponse.text("short and stout", { status: 418 })
      const app = yield* App.listen(Route.get("/", Effect.die(teapot)))
      const client = yield* RawClient.connect(app.port)
      const response = yield* client.request(get("/"))
      assert.deepStrictEqual([response.status, response.text], [418, "short and stout"])
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Completed" })
    }))

  for (const run of ["make", "listen"] as const) {
    it.effect(`C24, B265 a hook that fails or dies is a 500, not a hang (${run})`, () =>
      Effect.gen(function*() {
        const failing = (
          effect: Effect.Effect<HttpServerResponse.HttpServerResponse, HttpServerError.HttpServerError>
        ) => Effect.andThen(HttpEffect.appendPreResponseHandler(() => effect), ok)
        const routes = Layer.mergeAll(
          Route.get("/dies", failing(Effect.die(new Error("boom")))),
          Route.get(
            "/fails",
            Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
              failing(Effect.fail(
                new HttpServerError.HttpServerError({
                  reason: new HttpServerError.InternalError({ request, description: "boom" })
                })
              )))
          ),
          Route.get("/error", Effect.andThen(failing(Effect.die(new Error("boom"))), Effect.fail(new Down()))),
          Route.get("/ok", ok)
        )
        const app: App.App = run === "make" ? yield* App.make(routes) : yield* App.listen(routes)
        const paths = ["/dies", "/fails", "/error"]
        for (const [index, path] of paths.entries()) {
          assert.strictEqual((yield* app.fetch(path)).status, 500, path)
          const exchange = yield* app.exchange(index)
          assert.deepStrictEqual(exchange.outcome, { _tag: "Failed", phase: "handler" })
          assert.isDefined(exchange.cause)
        }
        assert.strictEqual(yield* app.text("/ok"), "ok")
        assert.strictEqual((yield* app.exchanges).length, 4)
      }))
  }

  it.effect("C25, B265 an invalid field value or status is a 500, and the connection stays usable", () =>
    Effect.gen(function*() {
      const routes = Layer.mergeAll(
        Route.get(
          "/value",
          Effect.succeed(HttpServerResponse.text("x", { headers: { "x-a": "a\r\nSet-Cookie: b=1" } }))
        ),
        Route.get("/status", Effect.succeed(HttpServerResponse.text("x", { status: 99 }))),
        Route.get("/high", Effect.succeed(HttpServerResponse.text("x", { status: 1000 }))),
        Route.get("/edit", Middleware.head("bad", (head) => head.set("x-a", "a\nb")), ok),
        Route.get("/ok", ok)
      )
      const app = yield* App.listen(routes)
      const client = yield* RawClient.connect(app.port)
      const paths = ["/value", "/status", "/high", "/edit"]
      for (const [index, path] of paths.entries()) {
        const response = yield* client.request(get(path))
        assert.strictEqual(response.status, 500, path)
        assert.isUndefined(response.get("set-cookie"))
        const exchange = yield* app.exchange(index)
        assert.deepStrictEqual([exchange.status, exchange.outcome], [500, { _tag: "Failed", phase: "handler" }], path)
        assert.isDefined(exchange.cause, path)
      }
      assert.strictEqual((yield* client.request(get("/ok"))).text, "ok")
      assert.strictEqual((yield* app.exchanges).length, 5)
    }))

  it.effect("C10 a client that leaves interrupts the handler, whose finalizers run", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      const released = yield* Deferred.make<string>()
      const handler = Effect.andThen(Deferred.succeed(started, undefined), Effect.never).pipe(
        Effect.onInterrupt(() => Deferred.succeed(released, "handler"))
      )
      const app = yield* App.listen(Route.get("/", handler))
      const client = yield* RawClient.connect(app.port)
      yield* client.send(get("/"))
      yield* Deferred.await(started)
      yield* client.reset
      assert.strictEqual(yield* Deferred.await(released), "handler")
    }))

  it.effect("C11 and a middleware at the edge, too, that no route is reached behind", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      const released = yield* Deferred.make<string>()
      const auth = Middleware.around("auth", (handler) =>
        Effect.andThen(
          Effect.andThen(Deferred.succeed(started, undefined), Effect.never).pipe(
            Effect.onInterrupt(() => Deferred.succeed(released, "auth"))
          ),
          handler
        ))
      const app = yield* App.listen(Route.get("/", ok), { edge: auth })
      const client = yield* RawClient.connect(app.port)
      yield* client.send(get("/none"))
      yield* Deferred.await(started)
      yield* client.reset
      assert.strictEqual(yield* Deferred.await(released), "auth")
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "ClientAborted", phase: "handler" })
    }))

  it.effect("C10 a client that ends its side only (FIN) and waits still gets its response or is seen to leave", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(Route.get("/", ok))
      const client = yield* RawClient.connect({ port: app.port, allowHalfOpen: true })
      yield* client.send(get("/"))
      yield* client.end
      assert.strictEqual((yield* client.response()).text, "ok")
    }))

  it.effect("C22 HEAD on a failing route: the same status and fields, no body", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(Route.get("/", Effect.fail(new Down())))
      const client = yield* RawClient.connect(app.port)
      const viaGet = yield* client.request(get("/"))
      const viaHead = yield* client.request(raw("HEAD /"))
      assert.deepStrictEqual([viaHead.status, viaHead.body.length], [503, 0])
      const comparable = (fields: ReadonlyArray<string>) => fields.filter((_, i) => fields[i - (i % 2)] !== "Date")
      assert.deepStrictEqual(comparable(viaHead.fields), comparable(viaGet.fields))
    }))

  it.effect("an Effect ErrorReporter that throws changes no response", () =>
    Effect.gen(function*() {
      const reporter = ErrorReporter.layer([ErrorReporter.make(() => {
        throw new Error("reporter")
      })])
      const program = Effect.gen(function*() {
        const app = yield* App.listen(Route.get("/", Effect.fail(new Down())))
        assert.strictEqual((yield* app.fetch("/")).status, 503)
      })
      yield* Effect.provide(program, reporter)
    }))

  it.effect("an error whose own response fails is a 500", () =>
    Effect.gen(function*() {
      class Broken extends Problem.Opaque()("Broken", {
        status: 400,
        headers: () => {
          throw new Error("boom")
        }
      }) {}
      const app = yield* App.make(Route.get("/", Effect.fail(new Broken())))
      assert.strictEqual((yield* app.fetch("/")).status, 500)
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "Failed", phase: "handler" })
    }))

  it.effect("a defect beside a typed failure is a defect, as everywhere in Effect", () =>
    Effect.gen(function*() {
      const cause = Cause.combine(Cause.die(new Error("boom")), Cause.fail(new Down()))
      const app = yield* App.make(Route.get("/", Effect.failCause(cause)))
      assert.strictEqual((yield* app.fetch("/")).status, 500)
    }))
})
