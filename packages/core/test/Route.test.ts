import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Middleware from "../src/Middleware.ts"
import * as Problem from "../src/Problem.ts"
import * as RequestService from "../src/RequestService.ts"
import * as Route from "../src/Route.ts"
import { App, RawClient } from "../src/testing/index.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))

/** Says which handler answered. */
const says = (text: string) => Effect.succeed(HttpServerResponse.text(text))

class Forbidden extends Problem.TaggedError<Forbidden>()("Forbidden", { status: 403 }) {}

describe("Route", () => {
  describe("methods", () => {
    const routes = Layer.mergeAll(
      Route.post("/orders/:id", says("post")),
      Route.get("/orders/:id", says("get")),
      Route.del("/orders/:id", says("del")),
      Route.put("/put", says("put")),
      Route.patch("/patch", says("patch")),
      Route.query("/query", says("query")),
      Route.options("/own", says("own options")),
      Route.get("/own", ok),
      Route.all("/all/*", says("all")),
      Route.get("/files/*", says("file"))
    )

    it.effect("C61 a wrong method is a 405 problem with a sorted Allow", () =>
      Effect.gen(function*() {
        const app = yield* App.make(routes)
        const response = yield* app.fetch("/orders/7?x=1", { method: "PATCH" })
        assert.strictEqual(response.status, 405)
        assert.strictEqual(response.headers.get("allow"), "DELETE, GET, HEAD, OPTIONS, POST")
        assert.strictEqual(response.headers.get("content-type"), "application/problem+json")
        assert.deepStrictEqual(yield* Effect.promise(() => response.json()), {
          type: "about:blank",
          title: "Method Not Allowed",
          status: 405
        })
        const noGet = yield* app.fetch("/put", { method: "DELETE" })
        assert.strictEqual(noGet.headers.get("allow"), "OPTIONS, PUT")
      }))

    it.effect("C61 every spelling of a path that the router takes has its 405, and a wildcard's own root, too", () =>
      Effect.gen(function*() {
        const app = yield* App.make(routes)
        for (const path of ["//orders/7", "/ORDERS/7", "/%6frders/7", "/orders/7/", "/files/a/b", "/files"]) {
          const known = yield* app.fetch(path)
          const response = yield* app.fetch(path, { method: "PUT" })
          assert.strictEqual(known.status, 200, path)
          assert.strictEqual(response.status, 405, path)
        }
      }))

    it.effect("C61 a wrong method is found out among a thousand routes, first and last", () =>
      Effect.gen(function*() {
        const many = Array.from({ length: 1000 }, (_, i) => Route.get(`/things${i}/:id`, ok))
        const app = yield* App.make(Layer.mergeAll(Route.put("/things0/:id", ok), ...many))
        for (
          const [path, allow] of [["/things0/7", "GET, HEAD, OPTIONS, PUT"], ["/things999/7", "GET, HEAD, OPTIONS"]]
        ) {
          const response = yield* app.fetch(path, { method: "DELETE" })
          assert.strictEqual(response.status, 405, path)
          assert.strictEqual(response.headers.get("allow"), allow, path)
        }
        assert.strictEqual((yield* app.fetch("/things1000/7", { method: "DELETE" })).status, 404)
      }))

    it.effect("C62 OPTIONS on a known path is 204 with Allow, on an unknown one 404", () =>
      Effect.gen(function*() {
        const app = yield* App.make(routes)
        const known = yield* app.fetch("/orders/7", { method: "OPTIONS" })
        assert.strictEqual(known.status, 204)
        assert.strictEqual(known.headers.get("allow"), "DELETE, GET, HEAD, OPTIONS, POST")
        const unknown = yield* app.fetch("/nope", { method: "OPTIONS" })
        assert.strictEqual(unknown.status, 404)
        assert.isFalse(unknown.headers.has("allow"))
      }))

    it.effect("C62 a route's own OPTIONS takes the place of the automatic one", () =>
      Effect.gen(function*() {
        const app = yield* App.make(routes)
        assert.strictEqual(yield* app.text("/own", { method: "OPTIONS" }), "own options")
        assert.strictEqual(yield* app.text("/all/x", { method: "OPTIONS" }), "all")
      }))

    it.effect("OPTIONS * lists the methods of every route", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n")
        assert.strictEqual(response.status, 204)
        assert.strictEqual(response.get("allow"), "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY")
      }))

    it.effect("each verb answers its method and no other", () =>
      Effect.gen(function*() {
        const app = yield* App.make(routes)
        const expected = [["/put", "PUT"], ["/patch", "PATCH"], ["/query", "QUERY"]] as const
        for (const [path, method] of expected) {
          assert.strictEqual(yield* app.text(path, { method }), method.toLowerCase())
          assert.strictEqual((yield* app.fetch(path, { method: "POST" })).status, 405)
        }
        for (const method of ["GET", "POST", "DELETE"]) {
          assert.strictEqual(yield* app.text("/all/a/b", { method }), "all")
        }
      }))

    it.effect("an unknown path is a 404 problem", () =>
      Effect.gen(function*() {
        const app = yield* App.make(routes)
        const response = yield* app.fetch("/nope")
        assert.strictEqual(response.status, 404)
        assert.strictEqual(response.headers.get("content-type"), "application/problem+json")
        const { outcome, route } = yield* app.exchange(0)
        assert.deepStrictEqual(outcome, { _tag: "Completed" })
        assert.isUndefined(route)
      }))

    it.effect("the same route twice does not start", () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(App.make(Layer.mergeAll(Route.get("/a", ok), Route.get("/a", ok))))
        assert.strictEqual(exit._tag, "Failure")
      }))
  })

  it.effect("C63 a guard on a route holds for every spelling of its path", () =>
    Effect.gen(function*() {
      const guard = Middleware.around<Forbidden>("guard", () => Effect.fail(new Forbidden({})))
      const app = yield* App.listen(Route.get("/admin/:x", guard, ok))
      const client = yield* RawClient.connect(app.port)
      for (const path of ["/admin/x", "//admin/x", "/ADMIN/x", "/%61dmin/x", "/admin/x/", "/admin//x"]) {
        const response = yield* client.request(`GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`)
        assert.strictEqual(response.status, 403, path)
      }
      // Dots are not resolved: this is another path, and no route has it.
      const dots = yield* client.request("GET /x/../admin/x HTTP/1.1\r\nHost: test\r\n\r\n")
      assert.strictEqual(dots.status, 404)
      const absolute = yield* client.request("GET http://other.test//ADMIN/x HTTP/1.1\r\nHost: test\r\n\r\n")
      assert.strictEqual(absolute.status, 403)
    }))

  it.effect("C65 HEAD of a streamed GET has its head, no body, and the stream's finalizer", () =>
    Effect.gen(function*() {
      let pulled = 0
      let released = 0
      const body = Stream.fromEffectRepeat(Effect.sync(() => {
        pulled++
        return new Uint8Array(1000)
      })).pipe(Stream.take(3))
      const handler = Effect.gen(function*() {
        yield* Effect.addFinalizer(() => Effect.sync(() => void released++))
        return HttpServerResponse.stream(body, { contentType: "text/x", headers: { "x-a": "1" } })
      })
      const app = yield* App.listen(Route.get("/", handler))
      const client = yield* RawClient.connect(app.port)
      const head = yield* client.request("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n")
      assert.deepStrictEqual([head.status, head.get("content-type"), head.get("x-a")], [200, "text/x", "1"])
      const exchange = yield* app.exchange(0)
      assert.strictEqual(exchange.bytesOut, 0)
      assert.deepStrictEqual(exchange.outcome, { _tag: "Completed" })
      assert.deepStrictEqual([pulled, released], [0, 1])
      // The connection carries the next response, so the first had no body indeed.
      const next = yield* client.request("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
      assert.strictEqual(next.body.length, 3000)
      yield* app.exchange(1)
      assert.deepStrictEqual([pulled, released], [3, 2])
    }))

  it.effect("HEAD of a known body has its Content-Length", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(Route.get("/", says("hello")))
      const client = yield* RawClient.connect(app.port)
      const head = yield* client.request("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n")
      assert.strictEqual(head.get("content-length"), "5")
    }))

  describe("paths", () => {
    it.effect("groups prefix, nest, and share their stack", () =>
      Effect.gen(function*() {
        const stamp = (value: string) => Middleware.head(value, (head) => head.append("x-stamp", value))
        const api = Route.group("/api", stamp("api"))
        const v1 = api.group("/v1", stamp("v1"))
        const plain = api.group("/plain")
        const app = yield* App.make(Layer.mergeAll(
          api.get("/a", ok),
          v1.get("/b/:id", stamp("b"), ok),
          plain.get("/", ok)
        ))
        const stamps = (path: string) => Effect.map(app.fetch(path), ({ headers }) => headers.get("x-stamp"))
        assert.strictEqual(yield* stamps("/api/a"), "api")
        assert.strictEqual(yield* stamps("/api/v1/b/7"), "b, v1, api")
        assert.strictEqual(yield* stamps("/api/plain"), "api")
        assert.strictEqual((yield* app.exchange(1)).route, "/api/v1/b/:id")
      }))

    it.effect("parameters reach the handler decoded", () =>
      Effect.gen(function*() {
        const handler = Effect.map(HttpRouter.params, (params) => HttpServerResponse.text(params["id"] ?? ""))
        const app = yield* App.make(Route.get("/users/:id", handler))
        assert.strictEqual(yield* app.text("/users/a%20b"), "a b")
      }))

    it.effect("what cannot be decoded is a 400 or 404, never a crash", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(Route.get("/users/:id", ok))
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request("GET /users/%ff%zz HTTP/1.1\r\nHost: test\r\n\r\n")
        assert.include([400, 404], response.status)
        const after = yield* client.request("GET /users/1 HTTP/1.1\r\nHost: test\r\n\r\n")
        assert.strictEqual(after.status, 200)
      }))
  })

  describe("below an edge", () => {
    class User extends RequestService.Service<User, string>()("test/User") {}

    it.effect("a route may count on what the edge provides and handles", () =>
      Effect.gen(function*() {
        const edge = Middleware.stack(
          Middleware.provide(User, Effect.succeed("ann")),
          Middleware.handle(Error, () => Effect.succeed(HttpServerResponse.text("handled", { status: 400 })))
        )
        const route = Route.below(edge)
        const app = yield* App.make(
          Layer.mergeAll(
            route.get("/me", Effect.map(User, HttpServerResponse.text)),
            route.get("/error", Effect.fail(new Error("boom")))
          ),
          { edge }
        )
        assert.strictEqual(yield* app.text("/me"), "ann")
        assert.strictEqual(yield* app.text("/error"), "handled")
      }))
  })

  describe("beside Effect's own routes", () => {
    const Api = HttpApi.make("api").add(
      HttpApiGroup.make("users").add(
        HttpApiEndpoint.get("get", "/users/:id", {
          params: { id: Schema.FiniteFromString },
          success: Schema.Struct({ id: Schema.Number })
        })
      )
    )
    const ApiRoutes = HttpApiBuilder.layer(Api).pipe(
      Layer.provide(
        HttpApiBuilder.group(
          Api,
          "users",
          (handlers) => handlers.handle("get", ({ params }) => Effect.succeed({ id: params.id }))
        )
      )
    )
    const routes = Layer.mergeAll(
      Route.get("/ours", says("ours")),
      HttpRouter.add("GET", "/theirs/:id", says("theirs")),
      HttpRouter.use((router) => router.prefixed("/prefixed").add("PUT", "/x", says("prefixed"))),
      HttpRouter.addAll([HttpRouter.route("POST", "/all", says("all"))]),
      ApiRoutes
    )
    const edge = Middleware.head("edge", (head) => head.set("x-edge", "1"))

    for (const run of ["make", "listen"] as const) {
      it.effect(`the same edge is around all of them, and exchanges know their routes (${run})`, () =>
        Effect.gen(function*() {
          const app: App.App = run === "make" ? yield* App.make(routes, { edge }) : yield* App.listen(routes, { edge })
          const requests = [
            ["GET", "/ours", 200, "/ours"],
            ["GET", "/theirs/1", 200, "/theirs/:id"],
            ["PUT", "/prefixed/x", 200, "/prefixed/x"],
            ["POST", "/all", 200, "/all"],
            ["GET", "/users/7", 200, "/users/:id"],
            ["GET", "/users/x", 400, "/users/:id"],
            ["POST", "/users/7", 405, undefined],
            ["GET", "/prefixed/x", 405, undefined],
            ["OPTIONS", "/theirs/1", 204, undefined]
          ] as const
          for (const [index, [method, path, status, route]] of requests.entries()) {
            const response = yield* app.fetch(path, { method })
            yield* Effect.promise(() => response.text())
            assert.strictEqual(response.status, status, `${method} ${path}`)
            assert.strictEqual(response.headers.get("x-edge"), "1", `${method} ${path}`)
            assert.strictEqual((yield* app.exchange(index)).route, route, `${method} ${path}`)
          }
        }))
    }

    it.effect("their Allow counts theirs in", () =>
      Effect.gen(function*() {
        const app = yield* App.make(Layer.mergeAll(Route.put("/theirs/:id", ok), routes))
        const response = yield* app.fetch("/theirs/1", { method: "DELETE" })
        assert.strictEqual(response.headers.get("allow"), "GET, HEAD, OPTIONS, PUT")
      }))
  })

  describe("what has no problem class of its own", () => {
    it.effect("C3 schema failures are 400 problems, missing elements 404", () =>
      Effect.gen(function*() {
        const body = Schema.Struct({ n: Schema.Number })
        const app = yield* App.make(Layer.mergeAll(
          Route.post("/schema", Effect.as(HttpServerRequest.schemaBodyJson(body), HttpServerResponse.empty())),
          Route.get("/missing", Effect.flatMap(Effect.fromOption(Option.none<never>()), () => ok))
        ))
        const wrong = yield* app.fetch("/schema", { method: "POST", body: "{\"n\":\"x\"}" })
        const malformed = yield* app.fetch("/schema", { method: "POST", body: "{" })
        const missing = yield* app.fetch("/missing")
        assert.deepStrictEqual([wrong.status, malformed.status, missing.status], [400, 400, 404])
        for (const response of [wrong, malformed, missing]) {
          assert.strictEqual(response.headers.get("content-type"), "application/problem+json")
        }
        const ended = yield* app.exchanges
        assert.deepStrictEqual(ended.map(({ outcome }) => outcome._tag), ["Completed", "Completed", "Completed"])
      }))
  })
})
