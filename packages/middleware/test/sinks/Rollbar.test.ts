import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as http from "node:http"
import * as Rollbar from "../../src/sinks/Rollbar.ts"
import { refused } from "../kit.ts"
import { collector } from "../utils/collector.ts"
import { failOnce, handlers, survives, traceId } from "../utils/failing.ts"

const taken = (response: http.ServerResponse) => response.end(JSON.stringify({ err: 0, result: { uuid: "u" } }))

describe("sinks/Rollbar", () => {
  it.live("sends an item that has everything the report has, at the latest when the scope closes", () =>
    Effect.gen(function*() {
      const before = { ...handlers(), request: http.request, log: console.log }
      const service = yield* collector(taken)
      const live = Rollbar.layer({
        accessToken: "token-1",
        endpoint: `${service.url}/api/1/item/`,
        codeVersion: "1.4.0",
        environment: "test"
      })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.provide(failOnce, yield* Layer.build(live))
        assert.deepStrictEqual({ ...handlers(), request: http.request, log: console.log }, before)
      }))
      assert.strictEqual(service.received.length, 1)
      const [{ body, headers, method, path }] = service.received
      assert.deepStrictEqual([method, path, headers["x-rollbar-access-token"]], ["POST", "/api/1/item/", "token-1"])
      const { data } = JSON.parse(body)
      assert.deepStrictEqual(
        data.body.trace_chain.slice(0, 3).map(({ exception }: any) => [exception.class, exception.message]),
        [["RangeError", "order 7 is gone"], ["Error", "the database is away"], ["TypeError", "no such host"]]
      )
      assert.isBelow(data.body.trace_chain.length, 12)
      assert.isTrue(data.body.trace_chain[0].frames.some(({ filename }: any) => filename.endsWith("failing.ts")))
      assert.deepInclude(data, {
        level: "error",
        environment: "test",
        context: "GET /orders/:id",
        fingerprint: "handler GET /orders/:id RangeError order # is gone",
        person: { id: "7", email: "ada@shop.test", username: "Ada" }
      })
      assert.strictEqual(data.code_version ?? data.server?.code_version, "1.4.0")
      assert.deepInclude(data.request, { method: "GET", url: "/orders/7" })
      assert.strictEqual(data.request.headers.authorization, "<redacted>")
      assert.deepInclude(data.custom, {
        sku: "a-1",
        "request.id": "abc-1",
        "http.response.status_code": "500",
        "trace.id": traceId,
        unhandled: true
      })
      assert.deepStrictEqual(data.custom.breadcrumbs[1], { time: 1000, message: "paid", category: "card" })
      assert.notInclude(body, "secret")
      assert.notInclude(body, "hidden")
    }))

  it.live("a service that is down or slow changes nothing, and what it did not take is counted", () =>
    survives((url, policy) => Rollbar.layer({ accessToken: "token-1", endpoint: url }, policy)))

  it("refuses an empty token", () => {
    assert.strictEqual(
      refused(() => Rollbar.layer({ accessToken: "" })),
      "RangeError: accessToken must not be empty"
    )
  })
})
