import { assert, describe, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as PropagateFields from "../src/PropagateFields.ts"
import { raw, refused, start } from "./kit.ts"
import { collector } from "./utils/collector.ts"

const request = (...lines: ReadonlyArray<string>): string =>
  ["GET / HTTP/1.1", "host: a", ...lines, "connection: close", "", ""].join("\r\n")

describe("PropagateFields", () => {
  it.effect("C104 the named fields, and no others, go to calls that are made for the request, and to no other", () =>
    Effect.gen(function*() {
      const upstream = yield* collector()
      const client = OutgoingFields.withClient(yield* HttpClient.HttpClient)
      const call = Effect.orDie(client.get(upstream.url))
      const handler = Effect.as(call, HttpServerResponse.empty())
      const middleware = PropagateFields.make(["X-Tenant", "X-Flags", "Cookie"])
      const server = yield* start(Server.layer(Route.get("/", middleware, handler)))
      yield* raw(
        server,
        request("x-tenant: acme", "X-Flags: a", "x-flags: b", "cookie: a=1", "Cookie: b=2", "authorization: secret")
      )
      yield* raw(server, request())
      yield* call
      const [full, without, outside] = yield* upstream.take(3)
      const names = ["x-tenant", "x-flags", "cookie", "authorization"]
      assert.deepStrictEqual(names.map((name) => full.headers[name]), ["acme", "a, b", "a=1; b=2", undefined])
      for (const { headers } of [without, outside]) {
        assert.deepStrictEqual(names.map((name) => headers[name]), [undefined, undefined, undefined, undefined])
      }
    }).pipe(Effect.provide(FetchHttpClient.layer)))

  it.effect("what an outer middleware sends is left to it", () =>
    Effect.gen(function*() {
      const outer = Middleware.around("tenant", (handler) => OutgoingFields.add(handler, "x-tenant", "checked"), {
        response: "none"
      })
      const handler = Effect.map(OutgoingFields.Current, (fields) => HttpServerResponse.text(fields.join(" ")))
      const stack = Middleware.stack(outer, PropagateFields.make(["X-Tenant"]))
      const server = yield* start(Server.layer(Route.get("/", stack, handler)))
      const reply = yield* raw(server, request("X-Tenant: forged"))
      assert.isTrue(reply.endsWith("\r\n\r\nx-tenant checked"))
    }))

  it("refuses no names, names that are none, and fields of one message", () => {
    assert.strictEqual(refused(() => PropagateFields.make([])), "RangeError: names must hold a field name, got none")
    assert.strictEqual(
      refused(() => PropagateFields.make(["x tenant"])),
      "RangeError: names must be a header field name, got \"x tenant\""
    )
    assert.strictEqual(
      refused(() => PropagateFields.make(["Content-Length"])),
      "RangeError: names must not hold Content-Length, which belongs to one message"
    )
  })
})
