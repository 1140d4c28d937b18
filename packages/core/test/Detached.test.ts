import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Scope from "effect/Scope"
import * as Detached from "../src/Detached.ts"
import * as DirectResponse from "../src/DirectResponse.ts"
import * as Exchange from "../src/Exchange.ts"
import * as Middleware from "../src/Middleware.ts"
import * as Problem from "../src/Problem.ts"
import * as Route from "../src/Route.ts"
import { App, RawClient } from "../src/testing/index.ts"

const ask = Effect.fnUntraced(function*(port: number, ...fields: ReadonlyArray<string>) {
  const client = yield* RawClient.connect(port)
  yield* client.send(["GET /a?b HTTP/1.1", "Host: shop.test", ...fields, "", ""].join("\r\n"))
  return yield* client.response()
})

describe("Detached", () => {
  it.effect("the handler sees the same request, without the fields that are left out, and a scope of its own", () =>
    Effect.gen(function*() {
      let released = 0
      const seen: Array<unknown> = []
      const handler = Effect.gen(function*() {
        const request = yield* HttpServerRequest.HttpServerRequest
        const exchange = yield* Exchange.current
        yield* Scope.addFinalizer(yield* Effect.scope, Effect.sync(() => void released++))
        seen.push([request.method, request.url, request.originalUrl, request.headers["x-a"], request.headers["x-b"]])
        seen.push([exchange.target, exchange.route, exchange.peerAddress, exchange.attributes.get("id")])
        seen.push(yield* DirectResponse.take)
        return HttpServerResponse.text("hello")
      })
      const run = Effect.gen(function*() {
        yield* Exchange.annotate("id", 7)
        const scope = yield* Scope.make()
        const response = yield* Detached.run(handler, { scope, without: ["x-b"] })
        assert.strictEqual(released, 0)
        yield* Scope.close(scope, Exit.void)
        return response
      })
      const app = yield* App.listen(Route.get("/a", run))
      assert.strictEqual((yield* ask(app.port, "X-A: 1", "X-B: 2")).status, 200)
      assert.deepStrictEqual(seen, [
        ["GET", "/a?b", "http://shop.test/a?b", "1", undefined],
        ["/a?b", "/a", "127.0.0.1", 7],
        undefined
      ])
      assert.strictEqual(released, 1)
    }))

  it.effect("edits, hooks and observers from inside belong to the run, not to the exchange that asked", () =>
    Effect.gen(function*() {
      const ended: Array<unknown> = []
      const inside = Middleware.stack(
        Middleware.observe(
          "inside",
          ({ outcome, status }) => Effect.sync(() => void ended.push([status, outcome._tag]))
        ),
        Middleware.head("inside", (head) => head.set("x-edit", "1"))
      )
      const handler = inside(Effect.andThen(
        HttpEffect.appendPreResponseHandler((_, response) =>
          Effect.succeed(HttpServerResponse.setHeader(response, "x-hook", "2"))
        ),
        Effect.succeed(HttpServerResponse.text("hello"))
      ))
      const seen: Array<unknown> = []
      const run = Effect.gen(function*() {
        const scope = yield* Scope.make()
        const response = yield* Detached.run(handler, { scope })
        seen.push([response.headers["x-edit"], response.headers["x-hook"]])
        yield* Scope.close(scope, Exit.void)
        return HttpServerResponse.text("another")
      })
      const app = yield* App.listen(Route.get("/a", run))
      const response = yield* ask(app.port)
      assert.deepStrictEqual(seen, [["1", "2"]])
      assert.isFalse(response.fields.some((field) => field.toLowerCase().startsWith("x-")))
      assert.deepStrictEqual(ended, [[200, "Completed"]])
    }))

  it.effect("a failure is the handler's own", () =>
    Effect.gen(function*() {
      class Full extends Problem.TaggedError<Full>()("Full", { status: 409 }) {}
      const run = Effect.flatMap(Effect.scope, (scope) => Detached.run(Effect.fail(new Full({})), { scope }))
      const app = yield* App.listen(Route.get("/a", run))
      assert.strictEqual((yield* ask(app.port)).status, 409)
    }))
})

describe("Exchange", () => {
  const writesItself = Effect.flatMap(DirectResponse.take, (direct) => {
    if (direct === undefined) return Effect.succeed(HttpServerResponse.text("value"))
    direct.node.end("direct")
    return Effect.succeed(DirectResponse.receipt(200))
  })

  it.effect("needValue keeps a handler from writing its response itself", () =>
    Effect.gen(function*() {
      const onDemand = Middleware.around<never, HttpServerRequest.HttpServerRequest>(
        "onDemand",
        (handler) =>
          Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) =>
            headers["x-value"] === undefined ? handler : Effect.andThen(Exchange.needValue, handler)),
        { response: "head" }
      )
      const app = yield* App.listen(Route.get("/a", onDemand, writesItself))
      assert.strictEqual((yield* ask(app.port)).text, "direct")
      assert.strictEqual((yield* ask(app.port, "X-Value: 1")).text, "value")
    }))

  it.effect("editedValue has the edits from inside, once, and leaves them to the response of a failure", () =>
    Effect.gen(function*() {
      class Full extends Problem.TaggedError<Full>()("Full", { status: 409 }) {}
      const values: Array<unknown> = []
      const keeping = Middleware.around<never, HttpServerRequest.HttpServerRequest>(
        "keeping",
        (handler) =>
          Effect.tap(
            Exchange.editedValue(handler),
            ({ headers }) => Effect.sync(() => void values.push([headers["x-inside"], headers["x-outside"]]))
          )
      )
      const add = (name: string) => Middleware.head(name, (head) => head.append(name, "1"))
      const through = Middleware.stack(add("x-outside"), keeping, add("x-inside"))
      const handler = Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        ({ headers }) => headers["x-fail"] === undefined ? writesItself : Effect.fail(new Full({}))
      )
      const app = yield* App.listen(Route.get("/a", through, handler))
      for (const fields of [[], ["X-Fail: 1"]]) {
        const { fields: received } = yield* ask(app.port, ...fields)
        assert.deepStrictEqual(received.filter((field) => field.toLowerCase().startsWith("x-")).toSorted(), [
          "x-inside",
          "x-outside"
        ])
      }
      assert.deepStrictEqual(values, [["1", undefined]])
    }))
})
