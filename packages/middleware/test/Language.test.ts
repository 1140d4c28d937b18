import { describe, expect, it } from "@effect/vitest"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Language from "../src/Language.ts"
import { refused } from "./kit.ts"
import { ask, pick } from "./utils/ask.ts"

class Locale extends RequestService.Service<Locale, "en" | "de" | "pt-BR" | "zh-Hant">()("test/Locale") {}

const language = Language.make(Locale, { supported: ["en", "de", "pt-BR", "zh-Hant"], fallback: "de" })
const locale = Effect.map(Locale, (locale) => HttpServerResponse.text(locale))

describe("Language", () => {
  it.effect("takes the range of the highest weight that goes with a language", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.get("/", language, locale))
      for (
        const [accept, expected] of [
          ["en", "en"],
          ["EN", "en"],
          ["de, en", "de"],
          ["en;q=0.5, de;q=0.4", "en"],
          ["en;q=0.4, de;q=0.5", "de"],
          ["de-CH", "de"],
          ["en-GB;q=0.9, de;q=0.8", "en"],
          ["pt", "pt-BR"],
          ["pt-PT", "de"],
          ["zh-Hant-TW", "zh-Hant"],
          ["zh-Hans", "de"],
          ["de-x-private, en", "de"],
          ["fr, *", "en"],
          ["fr, *, en;q=0", "de"],
          ["*;q=0", "de"],
          ["fr", "de"],
          ["eng", "de"],
          ["e", "de"],
          ["en;q=2, zh-Hant;q=0.1", "zh-Hant"],
          [";;;,,", "de"]
        ] as const
      ) {
        const response = yield* ask(server, "GET /", [`Accept-Language: ${accept}`])
        expect([accept, response.text, ...pick(response, "content-language", "vary")]).toEqual([
          accept,
          expected,
          expected,
          "Accept-Language"
        ])
      }
    }))

  it.effect("a range that is longer than any language's is no reason to work", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.get("/", language, locale))
      const accept = `en${"-a1".repeat(1000)}, pt`
      expect((yield* ask(server, "GET /", [`Accept-Language: ${accept}`])).text).toBe("pt-BR")
    }))

  it.effect("without a field it is the fallback, which varies all the same; several lines are one list", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.get("/", language, locale))
      const none = yield* ask(server, "GET /")
      expect([none.text, none.get("vary")]).toEqual(["de", "Accept-Language"])
      expect((yield* ask(server, "GET /", ["Accept-Language: fr", "Accept-Language: en"])).text).toBe("en")
    }))

  it.effect("keeps what the handler says, and errors have the fields", () =>
    Effect.gen(function*() {
      const headers = { "content-language": "la", vary: "Cookie" }
      const own = Effect.succeed(HttpServerResponse.empty({ headers }))
      const routes = Layer.mergeAll(Route.get("/", language, own), Route.get("/dies", language, Effect.die("boom")))
      const server = yield* App.listen(routes)
      expect(pick(yield* ask(server, "GET /"), "content-language", "vary")).toEqual(["la", "Cookie, Accept-Language"])
      expect(pick(yield* ask(server, "GET /dies"), "content-language", "vary")).toEqual(["de", "Accept-Language"])
    }))

  it("refuses what is no language, or no choice", () => {
    class Any extends RequestService.Service<Any, string>()("test/Any") {}
    for (const tag of ["", "e n", "en_US", "-", "toolonglanguage"]) {
      expect(refused(() => Language.make(Any, { supported: [tag] }))).toContain(
        "RangeError: supported must be language tags"
      )
    }
    expect(refused(() => Language.make(Any, { supported: ["en", "EN"] }))).toContain("must not have a tag twice")
    expect(refused(() => Language.make(Any, { supported: ["en"], fallback: "de" }))).toContain(
      "RangeError: fallback must be"
    )
  })
})
