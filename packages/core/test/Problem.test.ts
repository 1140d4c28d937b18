import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Problem from "../src/Problem.ts"
import * as Route from "../src/Route.ts"
import { App } from "../src/testing/index.ts"

class OutOfStock extends Problem.TaggedError<OutOfStock>()("OutOfStock", {
  status: 409,
  type: "https://shop.test/problems/out-of-stock",
  title: "Out of stock",
  headers: ({ retryAfter }) => ({ "retry-after": String(retryAfter) })
}, { sku: Schema.String, retryAfter: Schema.Number }) {}

class Gone extends Problem.TaggedError<Gone>()("Gone", { status: 410 }) {}

class DatabaseDown extends Problem.Opaque<{ readonly host: string }>()("DatabaseDown", {
  status: 503,
  headers: () => ({ "retry-after": "5" })
}) {}

const outOfStock = new OutOfStock({ sku: "a-1", retryAfter: 30, detail: "sold out yesterday" })

const routes = Layer.mergeAll(
  Route.get("/stock", Effect.fail(outOfStock)),
  Route.get("/gone", Effect.fail(new Gone())),
  Route.get("/database", Effect.fail(new DatabaseDown({ host: "10.0.0.7" }))),
  Route.get("/died", Effect.die(new Gone())),
  Route.get("/text", Effect.succeed(HttpServerResponse.text("teapot", { status: 418 }))),
  Route.get("/list", Effect.succeed(HttpServerResponse.jsonUnsafe([1], { status: 409 }))),
  Route.get(
    "/other",
    Effect.succeed(HttpServerResponse.jsonUnsafe({ type: "urn:x", status: 409, title: "Other" }, {
      status: 409,
      contentType: "application/problem+json"
    }))
  ),
  Route.get("/ok", Effect.succeed(HttpServerResponse.text("ok")))
)

describe("Problem", () => {
  describe("refuses at declaration", () => {
    for (const status of [200, 399, 600, 404.5, Number.NaN]) {
      it(`status ${status}`, () => {
        assert.throws(() => Problem.TaggedError()("Wrong", { status }), RangeError, `got ${status}`)
        assert.throws(
          () => Problem.Opaque()("Wrong", { status }),
          RangeError,
          "Problem Wrong: status must be an integer"
        )
      })
    }
  })

  for (const run of ["make", "listen"] as const) {
    it.effect(`C21 is rendered with its own status, type, title and members (${run})`, () =>
      Effect.gen(function*() {
        const app: App.App = run === "make" ? yield* App.make(routes) : yield* App.listen(routes)
        const response = yield* app.fetch("/stock")
        assert.strictEqual(response.status, 409)
        assert.strictEqual(response.headers.get("content-type"), "application/problem+json")
        assert.strictEqual(response.headers.get("retry-after"), "30")
        assert.deepStrictEqual(yield* Effect.promise(() => response.json()), {
          type: "https://shop.test/problems/out-of-stock",
          title: "Out of stock",
          status: 409,
          detail: "sold out yesterday",
          sku: "a-1",
          retryAfter: 30
        })
      }))
  }

  it.effect("C21 type and title have defaults, and `type` is always there", () =>
    Effect.gen(function*() {
      const app = yield* App.make(routes)
      const body = JSON.parse(yield* app.text("/gone"))
      assert.deepStrictEqual(body, { type: "about:blank", title: "Gone", status: 410 })
    }))

  it.effect("C22 HEAD has the same status and fields, and no body", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      const get = yield* app.fetch("/stock")
      yield* Effect.promise(() => get.text())
      const head = yield* app.fetch("/stock", { method: "HEAD" })
      assert.strictEqual(head.status, 409)
      for (const name of ["content-type", "content-length", "retry-after"]) {
        assert.strictEqual(head.headers.get(name), get.headers.get(name), name)
      }
      assert.strictEqual(yield* Effect.promise(() => head.text()), "")
    }))

  it.effect("C23 stays a problem for a client that asks for something else", () =>
    Effect.gen(function*() {
      const app = yield* App.make(routes)
      for (const path of ["/stock", "/none"]) {
        const response = yield* app.fetch(path, { headers: { accept: "text/html" } })
        assert.strictEqual(response.headers.get("content-type"), "application/problem+json")
      }
    }))

  it.effect("an opaque one keeps its members inside", () =>
    Effect.gen(function*() {
      const app = yield* App.make(routes)
      const response = yield* app.fetch("/database")
      assert.strictEqual(response.headers.get("retry-after"), "5")
      const body = yield* Effect.promise(() => response.text())
      assert.deepStrictEqual(JSON.parse(body), { type: "about:blank", title: "Service Unavailable", status: 503 })
      assert.notInclude(body, "10.0.0.7")
    }))

  it.effect("one that is thrown as a defect is rendered all the same", () =>
    Effect.gen(function*() {
      const app = yield* App.make(routes)
      assert.strictEqual((yield* app.fetch("/died")).status, 410)
    }))

  it("says whether it is reported, and how the exchange ended", () => {
    class Quiet extends Problem.Opaque()("Quiet", { status: 503, report: false, ending: "Shed" }) {}
    class Loud extends Problem.TaggedError<Loud>()("Loud", { status: 404, report: true }) {}
    const ignored = (error: object) => Reflect.get(error, ErrorReporter.ignore)
    const ending = (error: object) => Reflect.get(error, Problem.ending)
    assert.deepStrictEqual([outOfStock, new DatabaseDown({ host: "" }), new Quiet(), new Loud()].map(ignored), [
      true,
      false,
      true,
      false
    ])
    assert.deepStrictEqual([outOfStock, new DatabaseDown({ host: "" }), new Quiet(), new Loud()].map(ending), [
      undefined,
      "Failed",
      "Shed",
      undefined
    ])
  })

  it("is an error, respondable, and tagged", () => {
    assert.instanceOf(outOfStock, Error)
    assert.strictEqual(outOfStock._tag, "OutOfStock")
    assert.strictEqual(outOfStock.message, "sold out yesterday")
    assert.isTrue(HttpServerRespondable.isRespondable(outOfStock))
    assert.isTrue(HttpServerRespondable.isRespondable(new DatabaseDown({ host: "" })))
    assert.strictEqual(new DatabaseDown({ host: "10.0.0.7" }).host, "10.0.0.7")
  })

  describe("fromResponse", () => {
    const ask = Effect.fnUntraced(function*(path: string) {
      const app = yield* App.listen(routes)
      return yield* HttpClient.get(app.url + path).pipe(
        Effect.flatMap(Problem.fromResponse(Gone, OutOfStock)),
        Effect.flatMap((response) => response.text),
        Effect.exit,
        Effect.provide(FetchHttpClient.layer)
      )
    })
    const failure = Effect.fnUntraced(function*(path: string) {
      const exit = yield* ask(path)
      return yield* Effect.flip(exit)
    })

    it.effect("decodes the class that the server failed with", () =>
      Effect.gen(function*() {
        const error = yield* failure("/stock")
        assert.instanceOf(error, OutOfStock)
        assert.deepStrictEqual(Object.entries(error), Object.entries(outOfStock))
        assert.instanceOf(yield* failure("/gone"), Gone)
      }))

    it.effect("lets what is not an error pass", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* (yield* ask("/ok")), "ok")
      }))

    it.effect("a problem that none of the classes is, is unknown, and keeps what the server said", () =>
      Effect.gen(function*() {
        const error = yield* failure("/other")
        assert.strictEqual(error._tag, "UnknownProblem")
        if (error._tag !== "UnknownProblem") return
        assert.strictEqual(error.status, 409)
        assert.strictEqual(error.problem.type, "urn:x")
        assert.strictEqual((yield* failure("/database"))._tag, "UnknownProblem")
        assert.strictEqual((yield* failure("/list"))._tag, "UnknownProblem")
      }))

    it.effect("what is no JSON is the client's own error", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* failure("/text"))._tag, "HttpClientError")
      }))
  })

  it.effect("toResponse stands in where there is no class", () =>
    Effect.gen(function*() {
      const app = yield* App.make(Route.get(
        "/",
        Effect.succeed(
          Problem.toResponse({ status: 422, detail: "no", errors: [1] }, { "x-a": "1" })
        )
      ))
      const response = yield* app.fetch("/")
      assert.strictEqual(response.headers.get("x-a"), "1")
      assert.deepStrictEqual(yield* Effect.promise(() => response.json()), {
        type: "about:blank",
        title: "Unprocessable Entity",
        status: 422,
        detail: "no",
        errors: [1]
      })
    }))
})
