import { describe, expect, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Sunset from "../src/Sunset.ts"
import { refused, turn } from "./kit.ts"
import { ask, lines, pick } from "./utils/ask.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))
const sunset = Sunset.make({
  deprecation: "2023-06-30T23:59:59Z",
  sunset: new Date("2024-06-30T23:59:59Z"),
  links: {
    deprecation: "https://developer.example.com/deprecation",
    sunset: "/sunset?policy",
    "successor-version": "/v2/orders"
  }
})

describe("Sunset", () => {
  it.effect("C67 both times and the links, on errors, too", () =>
    Effect.gen(function*() {
      const routes = Layer.mergeAll(Route.get("/", sunset, ok), Route.get("/dies", sunset, Effect.die("boom")))
      const server = yield* App.listen(routes)
      for (const path of ["/", "/dies"]) {
        const response = yield* ask(server, `GET ${path}`)
        expect(pick(response, "deprecation", "sunset")).toEqual(["@1688169599", "Sun, 30 Jun 2024 23:59:59 GMT"])
        expect(lines(response, "link")).toEqual([
          "<https://developer.example.com/deprecation>; rel=\"deprecation\"",
          "</sunset?policy>; rel=\"sunset\"",
          "</v2/orders>; rel=\"successor-version\""
        ])
      }
    }))

  it.effect("C67 keeps what the handler says, and says nothing twice", () =>
    Effect.gen(function*() {
      const headers = { sunset: "Sat, 01 Jan 2028 00:00:00 GMT", link: "</next>; rel=\"next\"" }
      const own = Effect.succeed(HttpServerResponse.empty({ headers }))
      const server = yield* App.listen(Route.get("/", Middleware.stack(sunset, sunset), own))
      const response = yield* ask(server, "GET /")
      expect(pick(response, "deprecation", "sunset")).toEqual(["@1688169599", headers.sunset])
      expect(lines(response, "link").slice(0, 2)).toEqual([
        headers.link,
        "<https://developer.example.com/deprecation>; rel=\"deprecation\""
      ])
      expect(lines(response, "link").length).toBe(4)
    }))

  it.effect("one of the times is enough", () =>
    Effect.gen(function*() {
      const routes = Layer.mergeAll(
        Route.get("/a", Sunset.make({ deprecation: 0 }), ok),
        Route.get("/b", Sunset.make({ sunset: 0 }), ok)
      )
      const server = yield* App.listen(routes)
      expect(pick(yield* ask(server, "GET /a"), "deprecation", "sunset", "link")).toEqual(["@0", undefined, undefined])
      expect(pick(yield* ask(server, "GET /b"), "deprecation", "sunset")).toEqual([
        undefined,
        "Thu, 01 Jan 1970 00:00:00 GMT"
      ])
    }))

  it.effect("counts the requests of each route", () =>
    Effect.gen(function*() {
      const routes = Layer.mergeAll(Route.get("/sunset-test/:id", sunset, ok), Route.get("/new", ok))
      const server = yield* App.listen(routes)
      for (const path of ["/sunset-test/1", "/sunset-test/2", "/new"]) yield* ask(server, `GET ${path}`)
      while ((yield* server.active) > 0) yield* turn
      expect((yield* Metric.value(Sunset.requests("/sunset-test/:id"))).count).toBe(2)
      expect((yield* Metric.value(Sunset.requests("/new"))).count).toBe(0)
    }))

  it("refuses nonsense and names the option", () => {
    expect(refused(() => Sunset.make({}))).toContain("RangeError: deprecation or sunset must be given")
    expect(refused(() => Sunset.make({ sunset: "soon" }))).toContain("RangeError: sunset must be a time, got \"soon\"")
    expect(refused(() => Sunset.make({ deprecation: Number.NaN }))).toContain("RangeError: deprecation must be a time")
    expect(refused(() => Sunset.make({ deprecation: 2, sunset: 1 }))).toContain("sunset must not be before deprecation")
    for (const url of ["", "a b", "<x>", "a\"b", "https://[", "a\r\nb"]) {
      expect(refused(() => Sunset.make({ sunset: 0, links: { sunset: url } }))).toContain(
        "RangeError: links.sunset must be"
      )
    }
  })
})
