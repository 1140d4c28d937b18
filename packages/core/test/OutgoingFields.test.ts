import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Middleware from "../src/Middleware.ts"
import * as OutgoingFields from "../src/OutgoingFields.ts"
import * as Route from "../src/Route.ts"
import { App, RawServer } from "../src/testing/index.ts"

describe("OutgoingFields", () => {
  it.effect("are inherited by the fibers of the request and by no other; the inner one replaces the outer", () =>
    Effect.gen(function*() {
      const read = OutgoingFields.Current
      const inner = OutgoingFields.add(Effect.flatMap(Effect.forkChild(read), Fiber.join), "x-b", "inner")
      const both = OutgoingFields.add(OutgoingFields.add(inner, "X-B", "outer"), "X-A", "1")
      assert.deepStrictEqual(yield* both, ["X-A", "1", "X-B", "inner"])
      assert.deepStrictEqual(yield* read, [])
    }))

  it.effect("C104 a client sends them, over what the request says itself, and a fiber outside the request sends none", () =>
    Effect.gen(function*() {
      const sent: Array<string | undefined> = []
      const upstream = yield* RawServer.make(({ nextRequest, send }) =>
        Effect.forever(Effect.flatMap(nextRequest, (request) => {
          sent.push(request.get("x-id"))
          return send("HTTP/1.1 204 No Content\r\n\r\n")
        }))
      )
      const client = OutgoingFields.withClient(yield* HttpClient.HttpClient)
      const forged = HttpClientRequest.setHeader(HttpClientRequest.get(upstream.url), "x-id", "forged")
      const id = Middleware.around("id", (handler) => OutgoingFields.add(handler, "X-Id", "7f3a"), { response: "none" })
      const handler = Effect.as(Effect.orDie(client.execute(forged)), HttpServerResponse.empty())
      const app = yield* App.make(Route.get("/", id, handler))
      yield* app.fetch("/")
      yield* client.get(upstream.url)
      assert.deepStrictEqual(sent, ["7f3a", undefined])
    }).pipe(Effect.provide(FetchHttpClient.layer)))
})
