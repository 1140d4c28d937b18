import { describe, expect, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as fc from "fast-check"
import * as Redirect from "../src/Redirect.ts"
import { refused } from "./kit.ts"
import { ask } from "./utils/ask.ts"

const routes = Layer.mergeAll(
  Route.all("/plain", Redirect.to("/there")),
  Route.get("/own", Redirect.to("/there?lang=en#top", { status: 301 })),
  Route.post("/done", Redirect.to("/result", { status: 303 })),
  Route.all("/first/:id", Redirect.to("/:id/last")),
  Route.all("/old/*", Redirect.to("/*", { status: 302 })),
  Route.get("/wrong", Redirect.to("/:nobody"))
)
const answer = (server: { readonly port: number }, line: string) =>
  Effect.map(ask(server, line), ({ get, status }) => [status, get("location")])

describe("Redirect", () => {
  it.effect("to a path, with the query of the request or of its own", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      for (
        const [line, expected] of [
          ["GET /plain", [308, "/there"]],
          ["POST /plain?a=%2f&&b", [308, "/there?a=%2f&&b"]],
          ["GET http://b.test/plain?a", [308, "/there?a"]],
          ["GET /own?a=1", [301, "/there?lang=en#top"]],
          ["POST /done", [303, "/result"]],
          ["GET /first/a%20b%2Fc?x", [308, "/a%20b%2Fc/last?x"]],
          ["GET /first/%C3%A9%3F%23%5C", [308, "/%C3%A9%3F%23%5C/last"]],
          ["GET /first/%2E%2E", [404, undefined]],
          ["GET /old/a/b%20c?x", [302, "/a/b%20c?x"]],
          ["GET /old/", [302, "/"]],
          ["GET /old", [302, "/"]],
          ["GET /old/a/%2e%2e/%2e%2e/b", [404, undefined]],
          ["GET /wrong", [500, undefined]]
        ] as const
      ) expect([line, yield* answer(app, line)]).toEqual([line, expected])
    }))

  it.effect("C64 never leaves the origin", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      const before = fc.array(fc.constantFrom("/", "\\", "%2F", "%5C", ":", "@", "%09", "%0d%0a", "."), {
        maxLength: 5
      })
      const after = fc.constantFrom("evil.test", "evil.test/", "user@evil.test", "https://evil.test/", "javascript:x")
      let redirected = 0
      for (const [parts, host] of fc.sample(fc.tuple(before, after), 80)) {
        for (const path of ["/old/", "/first/"]) {
          const [status, location] = yield* answer(app, `GET ${path}${parts.join("")}${host}`)
          if (location === undefined) {
            expect([400, 404]).toContain(status)
            continue
          }
          redirected++
          expect(new URL(String(location), "http://a.test/x/y").origin).toBe("http://a.test")
        }
      }
      expect(redirected).toBeGreaterThan(20)
      expect(yield* answer(app, "GET /old//evil.test")).toEqual([302, "/evil.test"])
    }))

  it("refuses what is not of this origin, and other statuses", () => {
    for (
      const bad of [
        "",
        "there",
        "//evil.test",
        "/\\evil.test",
        "https://evil.test/",
        "/a/../b",
        "/a\nb",
        "/a b",
        "/é",
        "/%2e%2e/x"
      ]
    ) {
      expect([bad, refused(() => Redirect.to(bad))]).toEqual([bad, expect.stringContaining("RangeError: path must be")])
    }
    expect(refused(() => Redirect.to("/a", { status: 304 as never }))).toContain("RangeError: status must be")
  })
})
