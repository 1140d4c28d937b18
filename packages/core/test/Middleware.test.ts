import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type { HttpPlatform } from "effect/http/HttpPlatform"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as fc from "fast-check"
import { gunzipSync } from "node:zlib"
import * as Exchange from "../src/Exchange.ts"
import * as Middleware from "../src/Middleware.ts"
import * as Problem from "../src/Problem.ts"
import * as RequestService from "../src/RequestService.ts"
import * as Route from "../src/Route.ts"
import { App, RawClient } from "../src/testing/index.ts"

type Request = HttpServerRequest.HttpServerRequest

const ok = Effect.succeed(HttpServerResponse.text("ok"))

/** A middleware that leaves a mark on the way in and on the way out. */
const marking = (name: string, trace: Array<string>) =>
  Middleware.around(name, (handler) =>
    Effect.onExit(
      Effect.andThen(Effect.sync(() => trace.push(`>${name}`)), handler),
      () => Effect.sync(() => trace.push(`<${name}`))
    ), { response: "none" })

class Tenant extends RequestService.Service<Tenant, string>()("test/Tenant") {}

class Refused extends Problem.TaggedError<Refused>()("Refused", { status: 403 }) {}

class OutOfStock extends Data.TaggedError("OutOfStock")<{ readonly sku: string }> {}

class Sink extends Context.Service<Sink, Array<string>>()("test/Sink") {}

const tenant = Middleware.provide(
  Tenant,
  Effect.flatMap(
    HttpServerRequest.HttpServerRequest,
    (request) =>
      request.headers["x-tenant"] === undefined
        ? Effect.fail(new Refused({}))
        : Effect.succeed(request.headers["x-tenant"])
  )
)

describe("Middleware", () => {
  it.effect("C68 a stack runs outermost first on the way in and last on the way out", () =>
    Effect.gen(function*() {
      const trace: Array<string> = []
      // Built later than the others, as one that loads its keys would be.
      const late = yield* Effect.promise(() => Promise.resolve(marking("b", trace)))
      const through = Middleware.stack(marking("a", trace), late, marking("c", trace))
      const app = yield* App.make(Route.get("/", through, Effect.andThen(Effect.sync(() => trace.push("handler")), ok)))
      yield* app.fetch("/")
      assert.deepStrictEqual(trace, [">a", ">b", ">c", "handler", "<c", "<b", "<a"])
      assert.strictEqual(through.label, "a > b > c")
    }))

  it.effect("C68 the edge is around the group's stack, and that around the route's", () =>
    Effect.gen(function*() {
      const trace: Array<string> = []
      const group = Route.group("/api", marking("group", trace))
      const app = yield* App.make(group.get("/x", marking("route", trace), ok), { edge: marking("edge", trace) })
      yield* app.fetch("/api/x")
      assert.deepStrictEqual(trace, [">edge", ">group", ">route", "<route", "<group", "<edge"])
    }))

  it.effect("C68 the way out is the same when the handler fails", () =>
    Effect.gen(function*() {
      const trace: Array<string> = []
      const through = Middleware.stack(marking("a", trace), marking("b", trace))
      const app = yield* App.make(Route.get("/", through, Effect.fail(new Refused({}))))
      const response = yield* app.fetch("/")
      assert.strictEqual(response.status, 403)
      assert.deepStrictEqual(trace, [">a", ">b", "<b", "<a"])
    }))

  it.effect("C70 compose is associative: however a stack is bracketed, it does the same", () =>
    Effect.gen(function*() {
      type Tree = string | readonly [Tree, Tree]
      const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
        tree: fc.oneof({ maxDepth: 4 }, fc.constantFrom("a", "b", "c", "d"), fc.tuple(tie("tree"), tie("tree")))
      }))
      const leaves = (tree: Tree): ReadonlyArray<string> => typeof tree === "string" ? [tree] : tree.flatMap(leaves)
      const run = (middleware: Middleware.Any, trace: Array<string>) => {
        const handler: Effect.Effect<unknown> = middleware(ok) as never
        return Effect.as(handler, trace)
      }
      yield* Effect.promise(() =>
        fc.assert(fc.asyncProperty(tree, async (tree) => {
          const bracketed: Array<string> = []
          const flat: Array<string> = []
          const build = (tree: Tree): Middleware.Any =>
            typeof tree === "string" ? marking(tree, bracketed) : Middleware.compose(build(tree[0]), build(tree[1]))
          const left = build(tree)
          const right = leaves(tree).map((name) => marking(name, flat)).reduceRight<Middleware.Any>(
            (inner, outer) => Middleware.compose(outer, inner),
            Middleware.identity
          )
          assert.deepStrictEqual(left.labels, right.labels)
          assert.deepStrictEqual(
            await Effect.runPromise(run(left, bracketed)),
            await Effect.runPromise(run(right, flat))
          )
        }))
      )
    }))

  it.effect("C70 identity is neutral on both sides, and a stack of nothing is identity", () =>
    Effect.gen(function*() {
      const trace: Array<string> = []
      const one = marking("a", trace)
      const before = Middleware.compose(Middleware.identity, one)
      const after = Middleware.compose(one, Middleware.identity)
      assert.deepStrictEqual([before.label, after.label], ["a", "a"])
      assert.deepStrictEqual([before.response, after.response], ["none", "none"])
      yield* before(ok)
      yield* after(ok)
      assert.deepStrictEqual(trace, [">a", "<a", ">a", "<a"])
      assert.strictEqual(Middleware.stack()(ok), ok)
      assert.strictEqual(Middleware.stack().label, "")
    }))

  it("folds what its parts do to the response, and their observers", () => {
    const nosniff = Middleware.head("nosniff", (head) => head.set("x-content-type-options", "nosniff"))
    const log = Middleware.observe("log", () => Effect.void)
    const whole = Middleware.around("whole", (handler) => handler)
    assert.strictEqual(Middleware.stack(log).response, "none")
    assert.strictEqual(Middleware.stack(log, nosniff).response, "head")
    assert.strictEqual(Middleware.stack(nosniff, whole, log).response, "value")
    assert.strictEqual(Middleware.stack(log, nosniff, log).observers.length, 2)
    assert.strictEqual(Middleware.when(() => true, nosniff).response, "head")
  })

  describe("provide", () => {
    it.effect("gives the handler its service", () =>
      Effect.gen(function*() {
        const app = yield* App.make(Route.get("/", tenant, Effect.map(Tenant, HttpServerResponse.text)))
        assert.strictEqual(yield* app.text("/", { headers: { "x-tenant": "acme" } }), "acme")
      }))

    it.effect("a failure of it is answered, and the handler does not run", () =>
      Effect.gen(function*() {
        let ran = false
        const handler = Effect.map(Tenant, (name) => {
          ran = true
          return HttpServerResponse.text(name)
        })
        const app = yield* App.make(Route.get("/", tenant, handler))
        assert.strictEqual((yield* app.fetch("/")).status, 403)
        assert.isFalse(ran)
      }))

    it.effect("is there for the middleware under it and for a group's routes", () =>
      Effect.gen(function*() {
        const stamp = Middleware.head("stamp", Effect.map(Tenant, (name) => (head) => head.set("x-for", name)))
        const routes = Route.group("/t", tenant).group("/u", stamp)
        const app = yield* App.make(routes.get("/", Effect.map(Tenant, HttpServerResponse.text)))
        const response = yield* app.fetch("/t/u", { headers: { "x-tenant": "acme" } })
        assert.strictEqual(response.headers.get("x-for"), "acme")
      }))
  })

  describe("handle", () => {
    const soldOut = Middleware.handle(
      OutOfStock,
      ({ sku }) => Effect.succeed(HttpServerResponse.text(`no ${sku}`, { status: 500 }))
    )

    it.effect("turns its error into a response, which keeps the error as its cause", () =>
      Effect.gen(function*() {
        const error = new OutOfStock({ sku: "a-1" })
        const app = yield* App.make(Route.get("/", soldOut, Effect.fail(error)))
        const response = yield* app.fetch("/")
        assert.strictEqual(response.status, 500)
        assert.strictEqual(yield* Effect.promise(() => response.text()), "no a-1")
        const { cause } = yield* app.exchange(0)
        assert.strictEqual(cause === undefined ? undefined : Cause.squash(cause), error)
      }))

    it.effect("leaves other errors and defects alone", () =>
      Effect.gen(function*() {
        const app = yield* App.make(Layer.mergeAll(
          Route.get("/refused", soldOut, Effect.fail(new Refused({}))),
          Route.get("/defect", soldOut, Effect.die(new Error("boom")))
        ))
        assert.strictEqual((yield* app.fetch("/refused")).status, 403)
        assert.strictEqual((yield* app.fetch("/defect")).status, 500)
      }))
  })

  describe("head", () => {
    const nosniff = Middleware.head("nosniff", (head) => head.set("X-Content-Type-Options", "nosniff"))

    const routes = Layer.mergeAll(
      Route.get("/value", ok),
      Route.get("/json", Effect.succeed(HttpServerResponse.jsonUnsafe({ a: 1 }))),
      Route.get("/error", Effect.fail(new Refused({}))),
      Route.get("/defect", Effect.die(new Error("boom"))),
      Route.get("/thrown", Effect.die(HttpServerResponse.empty({ status: 418 }))),
      Route.get("/options", ok)
    )
    const requests = [
      ["GET", "/value", 200],
      ["HEAD", "/value", 200],
      ["GET", "/json", 200],
      ["GET", "/error", 403],
      ["GET", "/defect", 500],
      ["GET", "/thrown", 418],
      ["GET", "/none", 404],
      ["POST", "/value", 405],
      ["OPTIONS", "/options", 204]
    ] as const

    for (const run of ["make", "listen"] as const) {
      it.effect(`edits whatever leaves (${run})`, () =>
        Effect.gen(function*() {
          const app: App.App = run === "make"
            ? yield* App.make(routes, { edge: nosniff })
            : yield* App.listen(routes, { edge: nosniff })
          for (const [method, path, status] of requests) {
            const response = yield* app.fetch(path, { method })
            assert.strictEqual(response.status, status, `${method} ${path}`)
            assert.strictEqual(response.headers.get("x-content-type-options"), "nosniff", `${method} ${path}`)
            yield* Effect.promise(() => response.text())
          }
          const last = yield* app.exchange(requests.length - 1)
          assert.include(last.responseFields.map((field) => field.toLowerCase()), "x-content-type-options")
        }))

      it.effect(`runs edits from the inside out, and sees what was set before (${run})`, () =>
        Effect.gen(function*() {
          const inner = Middleware.head("inner", (head) => {
            head.set("x-seen", `${head.status} ${head.get("x-app")}`)
            head.append("x-trace", "inner")
            head.remove("x-app")
          })
          const outer = Middleware.head("outer", Effect.succeed((head) => head.append("x-trace", "outer")))
          const route = Route.get(
            "/",
            Middleware.stack(outer, inner),
            Effect.succeed(HttpServerResponse.empty({
              status: 201,
              headers: { "x-app": "a" }
            }))
          )
          const app: App.App = run === "make" ? yield* App.make(route) : yield* App.listen(route)
          const { headers } = yield* app.fetch("/")
          assert.strictEqual(headers.get("x-trace"), "inner, outer")
          assert.strictEqual(headers.get("x-seen"), "201 a")
          assert.isFalse(headers.has("x-app"))
        }))

      it.effect(`an edit that throws is a 500, not a hang (${run})`, () =>
        Effect.gen(function*() {
          const broken = Middleware.head("broken", () => {
            throw new Error("boom")
          })
          const route = Route.get("/", broken, ok)
          const app: App.App = run === "make" ? yield* App.make(route) : yield* App.listen(route)
          assert.strictEqual((yield* app.fetch("/")).status, 500)
          const exchange = yield* app.exchange(0)
          assert.strictEqual(exchange.status, 500)
          assert.deepStrictEqual(exchange.outcome, { _tag: "Failed", phase: "handler" })
        }))
    }

    it.effect("keeps each Set-Cookie line", () =>
      Effect.gen(function*() {
        const cookie = Middleware.head("cookie", (head) => head.append("Set-Cookie", "edge=1"))
        const route = Route.get(
          "/",
          cookie,
          Effect.succeed(
            HttpServerResponse.text("x").pipe(
              HttpServerResponse.setCookieUnsafe("a", "1"),
              HttpServerResponse.setCookieUnsafe("b", "2")
            )
          )
        )
        const app = yield* App.listen(route)
        const { headers } = yield* app.fetch("/")
        assert.deepStrictEqual(headers.getSetCookie(), ["a=1", "b=2", "edge=1"])
        const inProcess = yield* App.make(route)
        assert.deepStrictEqual((yield* inProcess.fetch("/")).headers.getSetCookie(), ["a=1", "b=2", "edge=1"])
      }))
  })

  describe("observe", () => {
    for (const run of ["make", "listen"] as const) {
      it.effect(`reads the response that Effect's hooks left, not the handler's (${run})`, () =>
        Effect.gen(function*() {
          const statuses: Array<number | undefined> = []
          const log = Middleware.observe("log", ({ status }) => Effect.sync(() => statuses.push(status)))
          const notModified = HttpEffect.appendPreResponseHandler((_, response) =>
            Effect.succeed(HttpServerResponse.setStatus(response, 304))
          )
          const route = Route.get("/", log, Effect.andThen(notModified, ok))
          const app: App.App = run === "make" ? yield* App.make(route) : yield* App.listen(route)
          const response = yield* app.fetch("/")
          assert.strictEqual(response.status, 304)
          assert.strictEqual((yield* app.exchange(0)).status, 304)
          assert.deepStrictEqual(statuses, [304])
        }))
    }

    it.effect("one that fails is logged and changes nothing, nor stops the next", () =>
      Effect.gen(function*() {
        const logged: Array<string> = []
        const seen: Array<string> = []
        const logger = Logger.layer([Logger.make(({ message }) => void logged.push(String(message)))])
        const dying = Middleware.observe("dying", () => Effect.die(new Error("boom")))
        const throwing = Middleware.observe("throwing", () => {
          throw new Error("boom")
        })
        const next = Middleware.observe("next", ({ path }) => Effect.sync(() => seen.push(path)))
        const program = Effect.gen(function*() {
          const app = yield* App.make(Route.get("/", ok), { edge: Middleware.stack(dying, throwing, next) })
          assert.strictEqual(yield* app.text("/"), "ok")
        })
        yield* Effect.provide(program, logger)
        assert.deepStrictEqual(seen, ["/"])
        assert.deepStrictEqual(logged.filter((line) => line.includes("observer")).length, 2)
      }))

    it.effect("one that is called plainly is logged when it throws, has services, and may leave something to be done", () =>
      Effect.gen(function*() {
        const logged: Array<string> = []
        const seen: Array<string> = []
        const logger = Logger.layer([Logger.make(({ message }) => void logged.push(String(message)))])
        const throwing = Middleware.observeUnsafe("throwing", () => {
          throw new Error("boom")
        })
        const plain = Middleware.observeUnsafe<Sink>("plain", ({ status }, context) => {
          Context.get(context, Sink).push(`plain ${status}`)
          return undefined
        })
        const released = yield* Deferred.make<void>()
        const slow = Middleware.observeUnsafe<Sink>(
          "slow",
          ({ path }) =>
            Effect.flatMap(
              Sink,
              (sink) => Effect.andThen(Deferred.await(released), Effect.sync(() => sink.push(`slow ${path}`)))
            )
        )
        const failing = Middleware.observeUnsafe("failing", () => Effect.die(new Error("boom")))
        const last = yield* Deferred.make<void>()
        const next = Middleware.observe("next", () =>
          Effect.andThen(
            Effect.sync(() => seen.push("next")),
            Deferred.succeed(last, undefined)
          ))
        const program = Effect.gen(function*() {
          const edge = Middleware.stack(throwing, plain, slow, failing, next)
          const app = yield* App.make(Route.get("/", ok), { edge })
          assert.strictEqual(yield* app.text("/"), "ok")
          assert.deepStrictEqual(seen, ["plain 200"])
          yield* Deferred.succeed(released, undefined)
          yield* Deferred.await(last)
        })
        yield* program.pipe(Effect.provideService(Sink, seen), Effect.provide(logger))
        assert.deepStrictEqual(seen, ["plain 200", "slow /", "next"])
        assert.strictEqual(logged.filter((line) => line.includes("observer")).length, 2)
      }))

    it.effect("has the services of the application", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const log = Middleware.observe("log", ({ path }) => Effect.map(Sink, (sink) => sink.push(path)))
        const app = yield* App.make(Route.get("/a", ok), { edge: log }).pipe(Effect.provideService(Sink, seen))
        yield* app.fetch("/a")
        assert.deepStrictEqual(seen, ["/a"])
      }))

    it.effect("sees requests that never reach a pipeline, when it is at the edge", () =>
      Effect.gen(function*() {
        const seen: Array<Exchange.Outcome> = []
        const log = Middleware.observe("log", ({ outcome }) => Effect.sync(() => seen.push(outcome)))
        const app = yield* App.listen(Route.get("/", ok), { edge: log })
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request("garbage\r\n\r\n")
        assert.strictEqual(response.status, 400)
        assert.deepStrictEqual(seen.map(({ _tag }) => _tag), ["Rejected"])
      }))
  })

  describe("when", () => {
    const stamped = Middleware.head("stamp", (head) => head.set("x-stamp", "1"))

    it.effect("applies to the requests that satisfy the predicate", () =>
      Effect.gen(function*() {
        const posts = Middleware.when((request) => request.method === "POST", stamped)
        const app = yield* App.make(Route.all("/", ok), { edge: posts })
        assert.isFalse((yield* app.fetch("/")).headers.has("x-stamp"))
        assert.isTrue((yield* app.fetch("/", { method: "POST" })).headers.has("x-stamp"))
        assert.strictEqual(posts.label, "when(stamp)")
      }))

    it.effect("takes an effectful predicate, whose failure is answered", () =>
      Effect.gen(function*() {
        const asked = Middleware.when(
          (request) => request.headers["x-bad"] === undefined ? Effect.succeed(true) : Effect.fail(new Refused({})),
          stamped
        )
        const app = yield* App.make(Route.get("/", asked, ok))
        assert.isTrue((yield* app.fetch("/")).headers.has("x-stamp"))
        assert.strictEqual((yield* app.fetch("/", { headers: { "x-bad": "1" } })).status, 403)
      }))
  })

  describe("beside Effect's own middleware", () => {
    const long = "x".repeat(4000)
    const compression = Middleware.around<never, Request | HttpPlatform>(
      "compression",
      (handler) => HttpMiddleware.compression()(handler)
    )

    it.effect("takes compression as it is, and the exchange counts the compressed bytes", () =>
      Effect.gen(function*() {
        const app = yield* App.listen(Route.get("/", compression, Effect.succeed(HttpServerResponse.text(long))))
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request("GET / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n")
        assert.strictEqual(response.get("content-encoding"), "gzip")
        assert.strictEqual(gunzipSync(response.body).toString(), long)
        assert.strictEqual((yield* app.exchange(0)).bytesOut, response.body.length)
      }))

    it.effect("takes cors as it is; its fields are on errors, too", () =>
      Effect.gen(function*() {
        const cors = Middleware.around<never, Request>("cors", (handler) =>
          HttpMiddleware.cors({ allowedOrigins: ["https://a.test", "https://b.test"] })(handler))
        const app = yield* App.make(Route.get("/", Effect.fail(new Refused({}))), { edge: cors })
        for (const path of ["/", "/none"]) {
          const { headers } = yield* app.fetch(path, { headers: { origin: "https://a.test" } })
          assert.strictEqual(headers.get("access-control-allow-origin"), "https://a.test")
        }
      }))

    it.effect("fromRouterMiddleware is built once and provides what it says", () =>
      Effect.gen(function*() {
        let built = 0
        const theirs = HttpRouter.middleware<{ provides: Tenant }>()(Effect.sync(() => {
          built++
          return (handler) => Effect.provideService(handler, Tenant, "theirs")
        }))
        const ours = yield* Middleware.fromRouterMiddleware("theirs", theirs)
        const app = yield* App.make(Route.get("/", ours, Effect.map(Tenant, HttpServerResponse.text)))
        assert.strictEqual(yield* app.text("/"), "theirs")
        assert.strictEqual(yield* app.text("/"), "theirs")
        assert.strictEqual(built, 1)
        assert.strictEqual(ours.label, "theirs")
      }))

    it.effect("fromRouterMiddleware keeps the order of a combined one: the later is outer", () =>
      Effect.gen(function*() {
        const trace: Array<string> = []
        const theirs = (name: string) =>
          HttpRouter.middleware((handler) => Effect.andThen(Effect.sync(() => trace.push(name)), handler))
        const combined = theirs("a").combine(theirs("b"))
        const direct = yield* App.make(HttpRouter.add("GET", "/", ok).pipe(Layer.provide(combined.layer)))
        yield* direct.fetch("/")
        const order = trace.splice(0)
        const ours = yield* Middleware.fromRouterMiddleware("combined", combined)
        const app = yield* App.make(Route.get("/", ours, ok))
        yield* app.fetch("/")
        assert.deepStrictEqual(trace, order)
      }))

    it.effect("toRouterMiddleware puts one of ours on Effect's routes", () =>
      Effect.gen(function*() {
        const theirs = Middleware.toRouterMiddleware(tenant)
        const routes = HttpRouter.add("GET", "/", Effect.map(Tenant, HttpServerResponse.text)).pipe(
          Layer.provide(theirs.layer)
        )
        const app = yield* App.make(routes)
        assert.strictEqual(yield* app.text("/", { headers: { "x-tenant": "acme" } }), "acme")
        assert.strictEqual((yield* app.fetch("/")).status, 403)
      }))

    it.effect("an Effect middleware that reads the response makes its value needed", () =>
      Effect.gen(function*() {
        const needed: Array<boolean> = []
        const peek = Effect.map(Exchange.current, (exchange) => {
          needed.push((exchange as unknown as { readonly valueNeeded: boolean }).valueNeeded)
          return HttpServerResponse.text("ok")
        })
        const theirs = HttpRouter.middleware((handler) => Effect.map(handler, (response) => response))
        const global = HttpRouter.middleware((handler) => Effect.map(handler, (response) => response), { global: true })
        const routed = yield* App.listen(HttpRouter.add("GET", "/", peek).pipe(Layer.provide(theirs.layer)))
        yield* routed.text("/")
        const globally = yield* App.listen(Layer.merge(HttpRouter.add("GET", "/", peek), global))
        yield* globally.text("/")
        const plain = yield* App.listen(Route.get("/", Middleware.head("x", (head) => head.remove("x")), peek))
        yield* plain.text("/")
        assert.deepStrictEqual(needed, [true, true, false])
      }))
  })
})
