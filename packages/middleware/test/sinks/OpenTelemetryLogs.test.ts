import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as OpenTelemetryLogs from "../../src/sinks/OpenTelemetryLogs.ts"
import { logs } from "../kit.ts"
import { collector } from "../utils/collector.ts"
import { failOnce, survives, traceId } from "../utils/failing.ts"

interface KeyValue {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}

const record = (attributes: ReadonlyArray<KeyValue>): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

describe("sinks/OpenTelemetryLogs", () => {
  it.live("sends a record that has everything the report has, at the latest when the scope closes", () =>
    Effect.gen(function*() {
      const service = yield* collector()
      const live = OpenTelemetryLogs.layer({
        url: `${service.url}/v1/logs`,
        headers: { authorization: "Bearer collector" },
        resource: {
          serviceName: "shop",
          serviceVersion: "1.4.0",
          attributes: { "deployment.environment.name": "test" }
        }
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const reporter = yield* Layer.build(Layer.provide(live, FetchHttpClient.layer))
        yield* Effect.provide(failOnce, reporter)
        yield* Effect.log("the program's own log stays where it is")
      }))
      assert.strictEqual(service.received.length, 1)
      const [{ body, headers, method, path }] = service.received
      assert.deepStrictEqual([method, path, headers["content-type"]], ["POST", "/v1/logs", "application/json"])
      assert.strictEqual(headers["authorization"], "Bearer collector")
      const { resourceLogs: [{ resource, scopeLogs: [{ logRecords }] }] } = JSON.parse(body)
      assert.deepInclude(record(resource.attributes), {
        "service.name": "shop",
        "service.version": "1.4.0",
        "deployment.environment.name": "test"
      })
      assert.strictEqual(logRecords.length, 1)
      const [log] = logRecords
      assert.deepInclude(log, { severityNumber: 17, severityText: "Error", traceId })
      assert.match(log.spanId, /^[\da-f]{16}$/)
      assert.deepStrictEqual(log.body, { stringValue: "GET /orders/:id: order 7 is gone" })
      const attributes = record(log.attributes)
      assert.deepInclude(attributes, {
        "exception.type": "RangeError",
        "exception.message": "order 7 is gone",
        "http.request.method": "GET",
        "http.route": "/orders/:id",
        "url.path": "/orders/7",
        "http.response.status_code": 500,
        "request.id": "abc-1",
        "user.id": "7",
        "report.fingerprint": "handler GET /orders/:id RangeError order # is gone",
        "exception.unhandled": true,
        sku: "a-1"
      })
      const stack = String(attributes["exception.stacktrace"])
      assert.include(stack, "the database is away")
      assert.include(stack, "no such host")
      assert.include(JSON.stringify(attributes["http.request.header.authorization"]), "<redacted>")
      assert.include(JSON.stringify(attributes["report.breadcrumbs"]), "paid")
      assert.notInclude(body, "secret")
      assert.notInclude(body, "hidden")
    }).pipe(Effect.provide(logs().layer)))

  it.live("a service that is down or slow changes nothing, and what it did not take is counted", () =>
    survives((url, policy) =>
      Layer.provide(
        OpenTelemetryLogs.layer({
          url: `${url}/v1/logs`,
          resource: { serviceName: "shop" },
          shutdownTimeout: "200 millis"
        }, policy),
        FetchHttpClient.layer
      )
    ))
})
