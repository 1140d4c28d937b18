import { assert, describe, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as ContentType from "../src/ContentType.ts"
import { parseMediaType } from "../src/internal/mediaTypes.ts"
import { refused, send, start } from "./kit.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))

describe("ContentType", () => {
  it.effect("C43 another type is a 415 that says which there are, in the field of the method", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.all("/", ContentType.make(["application/json", "image/*"]), ok)))
      const as = (method: string, type?: string) =>
        send(server, "/", {
          method,
          body: new Uint8Array(3),
          ...(type === undefined ? undefined : { headers: { "content-type": type } })
        })
      const post = yield* as("POST", "text/plain")
      assert.strictEqual(post.status, 415)
      assert.strictEqual(post.headers.get("accept-post"), "application/json, image/*")
      assert.strictEqual(post.headers.get("content-type"), "application/problem+json")
      const patch = yield* as("PATCH", "application/jsonp")
      assert.deepStrictEqual(
        [patch.status, patch.headers.get("accept-patch"), patch.headers.get("accept-post")],
        [415, "application/json, image/*", null]
      )
      assert.strictEqual((yield* as("PUT", "text/plain")).headers.get("accept"), "application/json, image/*")
      assert.strictEqual((yield* as("POST")).status, 415)
      assert.strictEqual((yield* as("POST", "nonsense")).status, 415)
      assert.strictEqual((yield* as("POST", "Application/JSON; charset=latin1")).status, 200)
      assert.strictEqual((yield* as("POST", "image/png")).status, 200)
    }))

  it.effect("C43 without a body nothing is asked", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.all("/", ContentType.make(["application/json"]), ok)))
      assert.strictEqual((yield* send(server)).status, 200)
      assert.strictEqual((yield* send(server, "/", { method: "POST" })).status, 200)
    }))

  it.effect("C43 the charset counts when it is asked for", () =>
    Effect.gen(function*() {
      const through = ContentType.make(["text/plain"], { charsets: ["UTF-8"] })
      const server = yield* start(Server.layer(Layer.mergeAll(Route.post("/", through, ok))))
      const as = (type: string) => send(server, "/", { method: "POST", body: "a", headers: { "content-type": type } })
      assert.strictEqual((yield* as("text/plain; charset=\"utf-8\"")).status, 200)
      assert.strictEqual((yield* as("text/plain")).status, 200)
      const latin = yield* as("text/plain; charset=latin1")
      assert.deepStrictEqual([latin.status, JSON.parse(latin.body).charsets], [415, ["utf-8"]])
    }))

  it("refuses nonsense and names itself", () => {
    assert.include(refused(() => ContentType.make([])), "RangeError: types must not be empty")
    assert.include(refused(() => ContentType.make(["json"])), "RangeError: types must be media types, got \"json\"")
    assert.strictEqual(ContentType.make(["text/plain"]).label, "ContentType(text/plain)")
  })

  it("reads media types", () => {
    assert.deepStrictEqual(parseMediaType("Text/HTML ; Charset=\"a\\\"b\";x=1"), {
      type: "text",
      subtype: "html",
      parameters: ["charset=a\"b", "x=1"]
    })
    for (const text of ["", "text", "text/", "/html", "*/html", "text/html;charset", "a b/c"]) {
      assert.isUndefined(parseMediaType(text), text)
    }
  })
})
