import { assert, describe, it } from "@effect/vitest"
import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as StatusPages from "../src/StatusPages.ts"
import { exchanges, send, settled, start } from "./kit.ts"

class Broke extends Problem.TaggedError<Broke>()("Broke", {
  status: 503,
  title: "<Broke>",
  headers: () => ({ "retry-after": "5" })
}) {}

const browser = { headers: { accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8" } }

const routes = Layer.mergeAll(
  Route.get(
    "/bare",
    Effect.succeed(HttpServerResponse.empty({ status: 404, headers: { "x-a": "1", vary: "Origin" } }))
  ),
  Route.get("/own", Effect.succeed(HttpServerResponse.text("mine", { status: 500 }))),
  Route.get("/fine", Effect.succeed(HttpServerResponse.empty())),
  Route.get("/typed", Effect.fail(new Broke({}))),
  Route.get("/defect", Effect.die(new Error("the secret is 42"))),
  Route.get(
    "/direct",
    Effect.gen(function*() {
      const direct = yield* DirectResponse.take
      direct?.node.writeHead(404).end()
      return DirectResponse.receipt(direct === undefined ? 500 : 404)
    })
  )
)

const json = "application/problem+json"

describe("StatusPages", () => {
  it.effect("an empty 4xx or 5xx gets a problem, and nothing else changes", () =>
    Effect.gen(function*() {
      const { ended, observer } = exchanges()
      const edge = Middleware.stack(observer, StatusPages.make())
      const server = yield* start(Server.layer(routes, { edge }))
      const bare = yield* send(server, "/bare")
      assert.strictEqual(bare.status, 404)
      assert.deepStrictEqual(JSON.parse(bare.body), { type: "about:blank", title: "Not Found", status: 404 })
      assert.deepStrictEqual(
        ["content-type", "content-length", "x-a", "vary"].map((name) => bare.headers.get(name)),
        [json, String(bare.body.length), "1", "Origin"]
      )
      const head = yield* send(server, "/bare", { method: "HEAD" })
      assert.deepStrictEqual([head.status, head.headers.get("content-type"), head.body], [404, json, ""])
      assert.strictEqual((yield* send(server, "/own")).body, "mine")
      assert.deepStrictEqual((yield* send(server, "/fine")).status, 204)
      assert.include((yield* send(server, "/nowhere")).body, "\"status\":404")
      const direct = yield* send(server, "/direct")
      assert.deepStrictEqual([direct.status, direct.body], [404, ""])
      yield* settled(server)
      assert.isTrue(ended.every(({ outcome }) => outcome._tag === "Completed"))
      assert.strictEqual(ended[0].bytesOut, bare.body.length)
    }))

  it.effect("C23 whoever prefers html gets a page of every problem, others the problem", () =>
    Effect.gen(function*() {
      const page = StatusPages.html(({ status, title }) => `<h1>${status} ${StatusPages.escape(title ?? "")}</h1>`)
      const edge = Middleware.stack(page, StatusPages.make())
      const server = yield* start(Server.layer(routes, { edge }))
      const typed = yield* send(server, "/typed", browser)
      assert.deepStrictEqual([typed.status, typed.body], [503, "<h1>503 &#60;Broke&#62;</h1>"])
      assert.deepStrictEqual(
        ["content-type", "content-length", "retry-after", "vary"].map((name) => typed.headers.get(name)),
        ["text/html; charset=utf-8", String(typed.body.length), "5", "Accept"]
      )
      assert.strictEqual((yield* send(server, "/nowhere", browser)).body, "<h1>404 Not Found</h1>")
      assert.strictEqual((yield* send(server, "/defect", browser)).body, "<h1>500 Internal Server Error</h1>")
      const bare = yield* send(server, "/bare", browser)
      assert.deepStrictEqual([bare.body, bare.headers.get("vary")], ["<h1>404 Not Found</h1>", "Origin, Accept"])
      assert.strictEqual((yield* send(server, "/own", browser)).body, "mine")
      for (const accept of ["*/*", "text/html, application/json", "application/problem+json", "text/html;q=0.5, */*"]) {
        const { headers } = yield* send(server, "/typed", { headers: { accept } })
        assert.deepStrictEqual([headers.get("content-type"), headers.get("vary")], [json, "Accept"], accept)
      }
    }))

  it.effect("C23 without a renderer it is a problem for everybody", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(routes))
      assert.strictEqual((yield* send(server, "/typed", browser)).headers.get("content-type"), json)
    }))

  it.effect("a page that can't be rendered leaves the problem, and the page there is shows no more than the title", () =>
    Effect.gen(function*() {
      const broken = StatusPages.html(() => {
        throw new Error("no template")
      })
      const server = yield* start(Server.layer(routes, { edge: broken }))
      assert.strictEqual((yield* send(server, "/typed", browser)).headers.get("content-type"), json)
      const plain = yield* start(Server.layer(routes, { edge: StatusPages.html() }))
      assert.include((yield* send(plain, "/typed", browser)).body, "<h1>503 &#60;Broke&#62;</h1>")
      assert.notInclude((yield* send(plain, "/defect", browser)).body, "42")
    }))

  it("streams past", () => {
    assert.strictEqual(Middleware.stack(StatusPages.html(), StatusPages.make()).response, "none")
    assert.strictEqual(StatusPages.html().label, "StatusPages.html")
  })
})
