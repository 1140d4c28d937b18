import { describe, expect, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as fc from "fast-check"
import * as TrailingSlash from "../src/TrailingSlash.ts"
import { ask } from "./utils/ask.ts"

const ok = Route.all("/*", Effect.succeed(HttpServerResponse.text("ok")))
const answer = (server: { readonly port: number }, line: string) =>
  Effect.map(ask(server, line), ({ get, status }) => status === 200 ? 200 : [status, get("location")])

describe("TrailingSlash", () => {
  it.effect("C64 trim redirects and keeps the query", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(ok, { edge: TrailingSlash.trim })
      for (
        const [line, expected] of [
          ["GET /a/", [301, "/a"]],
          ["HEAD /a/", [301, "/a"]],
          ["POST /a/?x=1&y=/", [308, "/a?x=1&y=/"]],
          ["DELETE /a/", [308, "/a"]],
          ["GET /a%2F/?", [301, "/a%2F?"]],
          ["GET /a//", [301, "/a"]],
          ["GET http://a.test/a/?q", [301, "/a?q"]],
          ["GET /", 200],
          ["GET /?x=/", 200],
          ["GET /a", 200],
          ["GET /a?x=/", 200],
          ["GET //", [301, "/"]]
        ] as const
      ) expect([line, yield* answer(server, line)]).toEqual([line, expected])
    }))

  it.effect("C64 append redirects, but for files", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(ok, { edge: TrailingSlash.append })
      for (
        const [line, expected] of [
          ["GET /a", [301, "/a/"]],
          ["PUT /a?x=1", [308, "/a/?x=1"]],
          ["GET /a.d/b", [301, "/a.d/b/"]],
          ["GET /a/app.js", 200],
          ["GET /a/", 200],
          ["GET /", 200],
          ["OPTIONS *", 200]
        ] as const
      ) expect([line, yield* answer(server, line)]).toEqual([line, expected])
    }))

  it.effect("C64 never leaves the origin", () =>
    Effect.gen(function*() {
      const trim = yield* App.listen(ok, { edge: TrailingSlash.trim })
      const append = yield* App.listen(ok, { edge: TrailingSlash.append })
      const away = fc.tuple(
        fc.array(fc.constantFrom("/", "\\", ".", "..", "%2F", "%5C", ":", "@", "%09"), { minLength: 0, maxLength: 6 }),
        fc.constantFrom("evil.test", "evil.test/", "user@evil.test/", "https://evil.test/", "")
      )
      const paths = [
        "//evil.test/",
        "/\\evil.test/",
        "/\\/evil.test/",
        "///evil.test//",
        "/.//evil.test/",
        "/%5Cevil.test/",
        ...fc.sample(away, 60).map(([before, host]) => `/${before.join("")}${host}`)
      ]
      for (const path of paths) {
        for (const server of [trim, append]) {
          const response = yield* ask(server, `GET ${path}`)
          const location = response.get("location")
          if (response.status === 200 || response.status === 400) continue
          expect([path, response.status, new URL(location!, "http://a.test/x/y").origin]).toEqual([
            path,
            301,
            "http://a.test"
          ])
        }
      }
      expect(yield* answer(trim, "GET //evil.test/")).toEqual([301, "/evil.test"])
      expect(yield* answer(trim, "GET /\\evil.test/")).toEqual([301, "/evil.test"])
    }))
})
