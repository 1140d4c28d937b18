import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as http from "node:http"
import * as Sentry from "../../src/sinks/Sentry.ts"
import { refused } from "../kit.ts"
import { collector } from "../utils/collector.ts"
import { failOnce, handlers, survives, traceId } from "../utils/failing.ts"

const dsn = (url: string): string => `${url.replace("//", "//public@")}/2`

/** @see https://develop.sentry.dev/sdk/data-model/envelopes/ */
const parseEnvelope = (body: string) => {
  const [head, ...rest] = body.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line))
  const items: Array<{ readonly header: { readonly type: string }; readonly payload: Record<string, never> }> = []
  for (let i = 0; i < rest.length; i += 2) items.push({ header: rest[i], payload: rest[i + 1] })
  return { head, items }
}

describe("sinks/Sentry", () => {
  it.live("sends an event that has everything the report has, at the latest when the scope closes", () =>
    Effect.gen(function*() {
      const before = { ...handlers(), request: http.request }
      const service = yield* collector()
      const live = Sentry.layer({ dsn: dsn(service.url), release: "shop@1.4.0", environment: "test" })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.provide(failOnce, yield* Layer.build(live))
        assert.deepStrictEqual({ ...handlers(), request: http.request }, before)
      }))
      assert.strictEqual(service.received.length, 1)
      const [{ body, headers, method, path }] = service.received
      assert.deepStrictEqual([method, path.split("?")[0]], ["POST", "/api/2/envelope/"])
      assert.include(path + String(headers["x-sentry-auth"]), "sentry_key=public")
      const { head, items } = parseEnvelope(body)
      assert.deepStrictEqual(items.map(({ header }) => header.type), ["event"])
      const event: Record<string, any> = items[0].payload
      assert.strictEqual(head.event_id, event["event_id"])
      const exceptions = event["exception"].values
      assert.deepStrictEqual(exceptions.slice(-3).map(({ type, value }: any) => [type, value]), [
        ["TypeError", "no such host"],
        ["Error", "the database is away"],
        ["RangeError", "order 7 is gone"]
      ])
      assert.isBelow(exceptions.length, 12)
      const outer = exceptions.at(-1)
      assert.deepStrictEqual([outer.mechanism.handled, outer.mechanism.type], [false, "sluice"])
      assert.isTrue(outer.stacktrace.frames.some(({ filename }: any) => filename.endsWith("failing.ts")))
      assert.deepInclude(event, {
        level: "error",
        transaction: "GET /orders/:id",
        release: "shop@1.4.0",
        environment: "test",
        platform: "node",
        user: { id: "7", email: "ada@shop.test", username: "Ada" }
      })
      assert.strictEqual(event["fingerprint"].join(), "handler GET /orders/:id RangeError order # is gone")
      assert.deepInclude(event["request"], { method: "GET", url: "/orders/7" })
      assert.strictEqual(event["request"].headers.authorization, "<redacted>")
      assert.deepInclude(event["tags"], {
        "request.id": "abc-1",
        "http.route": "/orders/:id",
        "http.response.status_code": "500"
      })
      assert.strictEqual(event["contexts"].trace.trace_id, traceId)
      assert.deepInclude(event["contexts"].response, { status_code: 500 })
      assert.strictEqual(event["extra"].sku, "a-1")
      assert.deepStrictEqual(event["breadcrumbs"].map(({ message }: any) => message), ["cart opened", "paid"])
      assert.deepInclude(event["breadcrumbs"][1], { timestamp: 1, category: "card" })
      assert.notInclude(body, "secret")
      assert.notInclude(body, "hidden")
    }))

  it.live("a service that is down or slow changes nothing, and what it did not take is counted", () =>
    survives((url, policy) => Sentry.layer({ dsn: dsn(url) }, policy)))

  it("refuses what is no DSN", () => {
    assert.strictEqual(
      refused(() => Sentry.layer({ dsn: "https://sentry.io" })),
      "RangeError: dsn must be a DSN such as https://key@host/1"
    )
  })
})
