import { describe, expect, it } from "@effect/vitest"
import * as Handler from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Csrf from "../src/Csrf.ts"
import * as MethodOverride from "../src/MethodOverride.ts"
import { refused } from "./kit.ts"
import { ask } from "./utils/ask.ts"

const echo = Effect.flatMap(
  HttpServerRequest.HttpServerRequest,
  (request) => Effect.map(Effect.orDie(request.text), (body) => HttpServerResponse.text(`${request.method} ${body}`))
)
const routes = Layer.mergeAll(
  Route.get("/", Effect.succeed(HttpServerResponse.text("got"))),
  Route.post("/", Effect.succeed(HttpServerResponse.text("posted"))),
  Route.del("/", Effect.succeed(HttpServerResponse.text("deleted"))),
  Route.put("/", echo),
  Route.all("/node", Handler.fromNodeHandler((request, response) => void response.end(request.method)))
)
const edge = MethodOverride.make({ methods: ["PUT", "DELETE"] })
const by = (method: string) => [`X-HTTP-Method-Override: ${method}`]
const text = (server: { readonly port: number }, line: string, fields: ReadonlyArray<string> = [], body = "") =>
  Effect.map(ask(server, line, fields, body), (response) => response.text)

describe("MethodOverride", () => {
  it.effect("C66 a POST takes a method of the list: routes, handlers and Node handlers see it", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(routes, { edge })
      expect(yield* text(server, "POST /", by("DELETE"))).toBe("deleted")
      expect(yield* text(server, "POST /", by("put"), "body")).toBe("PUT body")
      expect(yield* text(server, "POST /node", by("DELETE"))).toBe("DELETE")
      expect((yield* server.exchange(0)).method).toBe("POST")
    }))

  it.effect("C66 nothing but a POST, and nothing but the list", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(routes, { edge })
      for (const method of ["PATCH", "GET", "POST", "nonsense", "", "PUT, DELETE"]) {
        expect([method, yield* text(server, "POST /", by(method))]).toEqual([method, "posted"])
      }
      expect(yield* text(server, "POST /", [...by("DELETE"), ...by("DELETE")])).toBe("posted")
      expect(yield* text(server, "GET /", by("DELETE"))).toBe("got")
      expect(yield* text(server, "PUT /", by("DELETE"))).toBe("PUT ")
    }))

  it.effect("C66 off unless somebody puts it there", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(routes)
      expect(yield* text(server, "POST /", by("DELETE"))).toBe("posted")
    }))

  it.effect("what checks a POST still checks it, on either side", () =>
    Effect.gen(function*() {
      for (const stack of [Middleware.stack(edge, Csrf.make()), Middleware.stack(Csrf.make(), edge)]) {
        const server = yield* App.listen(routes, { edge: stack })
        expect((yield* ask(server, "POST /", [...by("DELETE"), "Sec-Fetch-Site: cross-site"])).status).toBe(403)
      }
    }))

  it.effect("in a fetch handler, too, in every view of the request, with another field", () =>
    Effect.gen(function*() {
      const view = Effect.updateService(echo, HttpServerRequest.HttpServerRequest, (request) =>
        request.modify({ url: "/other" }).modify({}))
      const fetch = yield* Handler.toWebHandler(Route.put("/", view), {
        edge: MethodOverride.make({ header: "x-method" })
      })
      const init = { method: "POST", body: "body", headers: { "x-method": "PUT" } }
      const response = yield* Effect.promise(() =>
        fetch(new Request("http://a.test/", init))
      )
      expect(yield* Effect.promise(() => response.text())).toBe("PUT body")
    }))

  it("refuses methods that would get past checks", () => {
    for (const method of ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "CONNECT", "POST", "put", "a b", ""]) {
      expect(refused(() => MethodOverride.make({ methods: [method] }))).toContain("RangeError: methods must be")
    }
    expect(refused(() => MethodOverride.make({ header: "a b" }))).toContain("RangeError: header must be")
  })
})
