import { describe, expect, it } from "@effect/vitest"
import * as Route from "@sluice/core/Route"
import { App, RawClient } from "@sluice/core/testing"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HostFilter from "../src/HostFilter.ts"
import { refused } from "./kit.ts"
import { ask } from "./utils/ask.ts"

const ok = Effect.succeed(HttpServerResponse.text("ok"))
const edge = HostFilter.make(["example.com", "*.example.com", "admin.test:8443", "[::1]"])
const status = (server: { readonly port: number }, line: string, ...fields: ReadonlyArray<string>) =>
  Effect.map(ask(server, line, fields), (response) => response.status)

describe("HostFilter", () => {
  it.effect("lets in the hosts of the list", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.get("/", ok), { edge })
      for (
        const [host, expected] of [
          ["example.com", 200],
          ["EXAMPLE.com:8080", 200],
          ["a.b.example.com", 200],
          ["[::1]:80", 200],
          ["admin.test:8443", 200],
          ["admin.test", 421],
          ["admin.test:80", 421],
          ["evil.test", 421],
          ["evilexample.com", 421],
          ["example.com.evil.test", 421],
          ["example.com.", 421],
          ["127.0.0.1", 421],
          ["", 400],
          ["a%2f.example.com", 400],
          ["a!b.example.com", 400],
          ["example.com:99999", 400],
          ["[::zz]", 400]
        ] as const
      ) expect([host, yield* status(server, "GET /", `Host: ${host}`)]).toEqual([host, expected])
    }))

  it.effect("takes the host of an absolute target, whatever Host says", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.get("/", ok), { edge })
      expect(yield* status(server, "GET http://example.com/", "Host: evil.test")).toBe(200)
      expect(yield* status(server, "GET http://evil.test/", "Host: example.com")).toBe(421)
      for (
        const target of ["http://example.com@evil.test/", "http://evil.test\\@example.com/", "http://u@example.com/"]
      ) {
        expect([target, yield* status(server, `GET ${target}`, "Host: example.com")]).toEqual([target, 400])
      }
    }))

  it.effect("tells HTTP/1.0 clients without Host what is missing", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.get("/", ok), { edge })
      const client = yield* RawClient.connect(server.port)
      const response = yield* client.request("GET / HTTP/1.0\r\n\r\n")
      expect([response.status, response.get("content-type")]).toEqual([400, "application/problem+json"])
      expect(response.text).toContain("HTTP/1.0")
    }))

  it.effect("believes a trusted peer, nobody else, and no peer that makes no sense", () =>
    Effect.gen(function*() {
      const fields = ["Host: inner", "X-Forwarded-For: 192.0.2.1"]
      const open = yield* App.listen(Route.get("/", ok), { edge })
      expect(yield* status(open, "GET /", ...fields, "X-Forwarded-Host: example.com")).toBe(421)
      const server = yield* App.listen(Route.get("/", ok), { edge }).pipe(
        Effect.provide(TrustedPeers.layer(TrustedPeers.networks(["loopback"])))
      )
      expect(yield* status(server, "GET /", ...fields, "X-Forwarded-Host: example.com")).toBe(200)
      expect(yield* status(server, "GET /", ...fields, "X-Forwarded-Host: evil.test")).toBe(421)
      expect(yield* status(server, "GET /", ...fields, "X-Forwarded-Host: a/b")).toBe(400)
      expect(yield* status(server, "GET /", "Host: example.com", "X-Forwarded-For: nobody")).toBe(400)
    }))

  it("refuses a list that lets nobody in, and what can't be a host", () => {
    expect(refused(() => HostFilter.make([]))).toContain("RangeError: hosts must not be empty")
    expect(refused(() => HostFilter.make(["https://a.test"]))).toContain("RangeError: hosts must be a host")
  })
})
