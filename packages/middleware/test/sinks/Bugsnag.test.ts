import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as http from "node:http"
import * as Bugsnag from "../../src/sinks/Bugsnag.ts"
import { refused } from "../kit.ts"
import { collector } from "../utils/collector.ts"
import { failOnce, handlers, survives, traceId } from "../utils/failing.ts"

const apiKey = "0123456789abcdef0123456789abcdef"

describe("sinks/Bugsnag", () => {
  it.live("sends an event that has everything the report has, at the latest when the scope closes", () =>
    Effect.gen(function*() {
      const before = { ...handlers(), request: http.request, log: console.log }
      const service = yield* collector()
      const live = Bugsnag.layer({ apiKey, endpoint: service.url, appVersion: "1.4.0", releaseStage: "test" })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.provide(failOnce, yield* Layer.build(live))
        assert.deepStrictEqual({ ...handlers(), request: http.request, log: console.log }, before)
      }))
      assert.strictEqual(service.received.length, 1)
      const [{ body, headers, method, path }] = service.received
      assert.deepStrictEqual([method, path, headers["bugsnag-api-key"]], ["POST", "/", apiKey])
      const { events: [event], ...payload } = JSON.parse(body)
      assert.strictEqual(payload.apiKey, apiKey)
      assert.deepStrictEqual(
        event.exceptions.slice(0, 3).map(({ errorClass, message }: any) => [errorClass, message]),
        [["RangeError", "order 7 is gone"], ["Error", "the database is away"], ["TypeError", "no such host"]]
      )
      assert.isBelow(event.exceptions.length, 12)
      assert.isTrue(event.exceptions[0].stacktrace.some(({ file }: any) => file.endsWith("failing.ts")))
      assert.deepInclude(event, {
        severity: "error",
        unhandled: true,
        context: "GET /orders/:id",
        groupingHash: "handler GET /orders/:id RangeError order # is gone",
        user: { id: "7", email: "ada@shop.test", name: "Ada" }
      })
      assert.deepInclude(event.app, { releaseStage: "test", version: "1.4.0" })
      assert.deepInclude(event.request, { httpMethod: "GET", url: "/orders/7" })
      assert.strictEqual(event.request.headers.authorization, "<redacted>")
      assert.strictEqual(event.response.statusCode, 500)
      assert.deepInclude(event.metaData.report, { "request.id": "abc-1", "http.route": "/orders/:id" })
      assert.strictEqual(event.metaData.notes.sku, "a-1")
      assert.strictEqual(event.correlation.traceId ?? event.correlation.traceid, traceId)
      assert.deepStrictEqual(
        event.breadcrumbs.map(({ metaData, name, timestamp }: any) => [name, metaData.category, timestamp]).at(1),
        ["paid", "card", "1970-01-01T00:00:01.000Z"]
      )
      assert.notInclude(body, "secret")
      assert.notInclude(body, "hidden")
    }))

  it.live("a service that is down or slow changes nothing, and what it did not take is counted", () =>
    survives((url, policy) => Bugsnag.layer({ apiKey, endpoint: url }, policy)))

  it("refuses what is no key", () => {
    assert.strictEqual(
      refused(() => Bugsnag.layer({ apiKey: "key" })),
      "RangeError: apiKey must be 32 hexadecimal digits"
    )
  })
})
