import { describe, expect, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import { App, RawClient } from "@sluice/core/testing"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Csrf from "../src/Csrf.ts"
import { refused } from "./kit.ts"
import { ask } from "./utils/ask.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))
const edge = Csrf.make({ trustedOrigins: ["https://partner.test"] })

/** What becomes of a request to https://a.test: the status, or why it was refused. */
const verdict = (server: { readonly port: number }, line: string, fields: ReadonlyArray<string>) =>
  Effect.map(ask(server, line, fields), (response) => {
    if (response.status === 200) return "ok"
    expect([response.status, response.get("content-type")]).toEqual([403, "application/problem+json"])
    return (JSON.parse(response.text) as { readonly reason: string }).reason
  })

describe("Csrf", () => {
  it.effect("C78 the table of Sec-Fetch-Site and Origin", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.all("/", ok), { edge })
      for (
        const [line, fields, expected] of [
          ["POST /", ["Sec-Fetch-Site: cross-site"], "Sec-Fetch-Site"],
          ["POST /", ["Sec-Fetch-Site: same-site"], "Sec-Fetch-Site"],
          ["POST /", ["Sec-Fetch-Site: something"], "Sec-Fetch-Site"],
          ["POST /", ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: same-origin"], "Sec-Fetch-Site"],
          ["POST /", ["Sec-Fetch-Site: same-origin"], "ok"],
          ["POST /", ["Sec-Fetch-Site: none"], "ok"],
          ["POST /", ["Sec-Fetch-Site: same-origin", "Origin: https://evil.test"], "ok"],
          ["POST /", ["Sec-Fetch-Site: cross-site", "Origin: https://a.test"], "Sec-Fetch-Site"],
          ["POST /", ["Origin: https://a.test"], "ok"],
          ["POST /", ["Origin: http://a.test"], "ok"],
          ["POST /", ["Origin: https://a.test", "Host: A.test:443"], "ok"],
          ["POST /", ["Origin: https://a.test:8443", "Host: a.test:8443"], "ok"],
          ["POST /", ["Origin: https://a.test", "Host: a.test:80"], "Origin"],
          ["POST /", ["Origin: https://a.test:8443"], "Origin"],
          ["POST /", ["Origin: https://evil.test"], "Origin"],
          ["POST /", ["Origin: https://a.test.evil.test"], "Origin"],
          ["POST /", ["Origin: https://a.test", "Origin: https://a.test"], "Origin"],
          ["POST /", ["Origin: null"], "Origin"],
          ["POST /", ["Origin: a.test"], "Origin"],
          ["POST /", ["Origin: ftp://a.test"], "Origin"],
          ["POST /", [], "ok"],
          ["POST /", ["Sec-Fetch-Site: cross-site", "Origin: https://partner.test"], "ok"],
          ["POST /", ["Origin: https://partner.test"], "ok"],
          ["POST /", ["Origin: http://partner.test"], "Origin"],
          ["POST /", ["Origin: https://partner.test.evil.test"], "Origin"],
          ["DELETE /", ["Sec-Fetch-Site: cross-site"], "Sec-Fetch-Site"],
          ["PUT /", ["Sec-Fetch-Site: cross-site"], "Sec-Fetch-Site"],
          ["PATCH /", ["Sec-Fetch-Site: cross-site"], "Sec-Fetch-Site"],
          ["GET /", ["Sec-Fetch-Site: cross-site", "Origin: https://evil.test"], "ok"],
          ["OPTIONS /", ["Sec-Fetch-Site: cross-site", "Origin: https://evil.test"], "ok"],
          ["GET /", ["Upgrade: websocket", "Connection: Upgrade", "Origin: https://evil.test"], "Origin"],
          ["GET /", ["Upgrade: websocket", "Connection: Upgrade", "Sec-Fetch-Site: cross-site"], "Sec-Fetch-Site"],
          ["GET /", ["Upgrade: websocket", "Connection: Upgrade", "Origin: https://a.test"], "ok"],
          ["POST http://evil.test/", ["Origin: https://a.test"], "Origin"]
        ] as const
      ) expect([line, fields, yield* verdict(server, line, fields)]).toEqual([line, fields, expected])
    }))

  it.effect("C78 compares with the host that a trusted peer says was asked for, and with no other", () =>
    Effect.gen(function*() {
      const fields = [
        "Host: inner:8080",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Host: a.test",
        "Origin: https://a.test"
      ]
      const open = yield* App.listen(Route.all("/", ok), { edge })
      expect(yield* verdict(open, "POST /", fields)).toBe("Origin")
      const trusting = yield* App.listen(Route.all("/", ok), { edge }).pipe(
        Effect.provide(TrustedPeers.layer(TrustedPeers.networks(["loopback"])))
      )
      expect(yield* verdict(trusting, "POST /", fields)).toBe("ok")
      expect(yield* verdict(trusting, "POST /", [...fields.slice(0, 3), "Origin: https://inner:8080"])).toBe("Origin")
    }))

  it.effect("C78 refuses before the body is asked for", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.all("/", ok), { edge })
      const client = yield* RawClient.connect(server.port)
      const response = yield* client.request(
        "POST / HTTP/1.1\r\nHost: a.test\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
      )
      expect([response.status, response.informational]).toEqual([403, []])
    }))

  it("refuses trusted origins that no browser sends", () => {
    for (const origin of ["partner.test", "https://partner.test/", "https://*.partner.test", "null"]) {
      expect(refused(() => Csrf.make({ trustedOrigins: [origin] }))).toContain("RangeError: trustedOrigins must be")
    }
  })
})
