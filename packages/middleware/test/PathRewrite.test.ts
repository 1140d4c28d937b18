import { describe, expect, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as fc from "fast-check"
import * as MethodOverride from "../src/MethodOverride.ts"
import * as PathRewrite from "../src/PathRewrite.ts"
import { refused } from "./kit.ts"
import { ask } from "./utils/ask.ts"

const url = Effect.map(HttpServerRequest.HttpServerRequest, (request) => HttpServerResponse.text(request.url))
const everywhere = Route.all("/*", url)
const text = (server: { readonly port: number }, line: string) => Effect.map(ask(server, line), (_) => _.text)

describe("PathRewrite", () => {
  it.effect("stripPrefix takes whole segments, and leaves the rest as it was sent", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(everywhere, { edge: PathRewrite.stripPrefix("/api/v1") })
      for (
        const [sent, seen] of [
          ["/api/v1/orders", "/orders"],
          ["/api/v1", "/"],
          ["/api/v1/", "/"],
          ["/api/v1?x=/api/v1", "/?x=/api/v1"],
          ["/api/v1/a%2Fb/%7E;p=1?q=%2f&&=+%20%zz", "/a%2Fb/%7E;p=1?q=%2f&&=+%20%zz"],
          ["/api/v1/api/v1/x", "/api/v1/x"],
          ["//api//v1/x", "/x"],
          ["/%61pi/v%31/x", "/x"],
          ["/api/v1//evil.test/x", "/evil.test/x"],
          ["/api/v1/\\evil.test/x", "/evil.test/x"],
          ["http://b.test/api/v1/x?y", "/x?y"],
          ["/api/v10/x", "/api/v10/x"],
          ["/api/v1%2Fx", "/api/v1%2Fx"],
          ["/api%2Fv1/x", "/api%2Fv1/x"],
          ["/API/v1/x", "/API/v1/x"],
          ["/api", "/api"],
          ["/x/api/v1/y", "/x/api/v1/y"]
        ] as const
      ) expect([sent, yield* text(app, `GET ${sent}`)]).toEqual([sent, seen])
    }))

  it.effect("the router finds what is left, with 404 and 405, and the exchange keeps what was sent", () =>
    Effect.gen(function*() {
      const route = Route.get("/orders/:id", url)
      const app = yield* App.listen(route, { edge: PathRewrite.stripPrefix("/api") })
      expect(yield* text(app, "GET /api/orders/7?x")).toBe("/orders/7?x")
      expect(yield* app.exchange(0)).toMatchObject({ target: "/api/orders/7?x", route: "/orders/:id", status: 200 })
      const refusal = yield* ask(app, "POST /api/orders/7")
      expect([refusal.status, refusal.get("allow")]).toEqual([405, "GET, HEAD, OPTIONS"])
      expect((yield* ask(app, "GET /api/other")).status).toBe(404)
      expect((yield* ask(app, "OPTIONS *")).status).toBe(204)
      expect(yield* text(app, "GET /orders/7")).toBe("/orders/7")
    }))

  it.effect("replacePrefix puts another in its place", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(everywhere, { edge: PathRewrite.replacePrefix("/v1/", "/legacy/v1") })
      expect(yield* text(app, "GET /v1/a%2Fb?q")).toBe("/legacy/v1/a%2Fb?q")
      expect(yield* text(app, "GET /v1?q")).toBe("/legacy/v1?q")
      expect(yield* text(app, "GET /v1/")).toBe("/legacy/v1/")
      expect(yield* text(app, "GET /v2")).toBe("/v2")
    }))

  it.effect("together with MethodOverride, in either order", () =>
    Effect.gen(function*() {
      const seen = Effect.map(HttpServerRequest.HttpServerRequest, ({ method, url }) =>
        HttpServerResponse.text(`${method} ${url}`))
      const route = Route.put("/a", seen)
      const [path, method] = [PathRewrite.stripPrefix("/api"), MethodOverride.make()]
      for (const edge of [Middleware.stack(path, method), Middleware.stack(method, path)]) {
        const app = yield* App.listen(route, { edge })
        expect((yield* ask(app, "POST /api/a", ["X-HTTP-Method-Override: PUT"])).text).toBe("PUT /a")
      }
    }))

  it.effect("whatever follows the prefix stays, behind one slash", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(everywhere, { edge: PathRewrite.stripPrefix("/a+b.c") })
      const rest = fc.array(fc.constantFrom("x", "/", "%2F", "%5c", ".", "?", "&", "=", ";", "%41", "~", "$&", "$1"))
      for (const parts of fc.sample(rest, 60)) {
        const after = `/y${parts.join("")}`
        expect(yield* text(app, `GET /a+b.c${after}`)).toBe(after)
        expect(yield* text(app, `GET /a+bXc${after}`)).toBe(`/a+bXc${after}`)
      }
    }))

  it("refuses prefixes that are none, and has a label", () => {
    for (
      const bad of ["", "/", "api", "//api", "/a//b", "/a/../b", "/.", "/a%2Fb", "/:id", "/a/*", "/a?b", "/a#b", "/a b"]
    ) {
      expect([bad, refused(() => PathRewrite.stripPrefix(bad))]).toEqual([
        bad,
        expect.stringContaining("RangeError: prefix must")
      ])
      expect(refused(() => PathRewrite.replacePrefix("/a", bad))).toContain("RangeError: to must")
      expect(refused(() => PathRewrite.replacePrefix(bad, "/a"))).toContain("RangeError: from must")
    }
    expect(PathRewrite.stripPrefix("/api").label).toBe("PathRewrite.stripPrefix(/api)")
  })
})
