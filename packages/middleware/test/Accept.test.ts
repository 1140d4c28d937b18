import { assert, describe, it } from "@effect/vitest"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Accept from "../src/Accept.ts"
import { refused, send, start } from "./kit.ts"

const types = ["application/json", "text/html", "text/html;level=1", "text/plain"] as const

const server = start(Server.layer(
  Route.get("/", Accept.make(types), Effect.map(Accept.MediaType, (type) => HttpServerResponse.text(type)))
))

describe("Accept", () => {
  it.effect("chooses by weight and specificity, and then in the order of the list", () =>
    Effect.gen(function*() {
      const running = yield* server
      const chosen = (accept: string) => Effect.map(send(running, "/", { headers: { accept } }), ({ body }) => body)
      const cases = {
        "*/*": "application/json",
        "text/*": "text/html",
        "text/plain": "text/plain",
        "TEXT/Plain": "text/plain",
        "text/html;q=0.5, text/plain;q=0.7": "text/plain",
        "text/*, text/html;q=0.1": "text/plain",
        "text/*;q=0.3, text/html;q=0.7, text/html;level=1, */*;q=0.5": "text/html;level=1",
        "*/*, application/json;q=0": "text/html",
        "text/html;level=2, text/plain;q=0.1": "text/plain",
        "nonsense": "application/json",
        "application/xml, */*;q=0.1": "application/json"
      }
      for (const [accept, type] of Object.entries(cases)) assert.strictEqual(yield* chosen(accept), type, accept)
    }))

  it.effect("what can't be had is a 406 that says what can", () =>
    Effect.gen(function*() {
      const running = yield* server
      for (const accept of ["image/png", "*/*;q=0", "text/html;q=0, text/plain;q=0"]) {
        const { body, headers, status } = yield* send(running, "/", { headers: { accept } })
        assert.strictEqual(status, 406, accept)
        assert.deepStrictEqual(JSON.parse(body).available, types)
        assert.strictEqual(headers.get("vary"), "Accept")
      }
    }))

  it.effect("a service of one's own says which there are", () =>
    Effect.gen(function*() {
      class Format extends RequestService.Service<Format, "text/html" | "text/csv">()("test/Format") {}
      const exact: Effect.Effect<"text/html" | "text/csv", never, Format> = Effect.map(Format, (format) => format)
      const through = Accept.provide(Format, ["text/csv", "text/html"])
      // @ts-expect-error: there is no such format
      assert.include(refused(() => Accept.provide(Format, ["nonsense"])), "types must be media types")
      const handler = Effect.map(exact, (format) => HttpServerResponse.text(format))
      const running = yield* start(Server.layer(Route.get("/", through, handler)))
      const { body, headers } = yield* send(running, "/", { headers: { accept: "text/*" } })
      assert.deepStrictEqual([body, headers.get("vary")], ["text/csv", "Accept"])
    }))

  it("refuses nonsense and names itself", () => {
    assert.include(refused(() => Accept.make([])), "RangeError: types must not be empty")
    assert.include(refused(() => Accept.make(["text/*"])), "RangeError: types must be media types, got \"text/*\"")
    assert.strictEqual(Accept.make(["a/b", "c/d"]).label, "Accept(a/b, c/d)")
    assert.strictEqual(Accept.make(["a/b"]).response, "head")
  })
})
