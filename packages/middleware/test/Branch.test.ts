import { describe, expect, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import { App, RawClient } from "@sluice/core/testing"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Branch from "../src/Branch.ts"
import { refused } from "./kit.ts"

const mark = (value: string) => Middleware.head(value, (head) => head.set("x-by", value))
const ok = Effect.succeed(HttpServerResponse.text("ok"))

const ask = (port: number, host: string, more = "") =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* RawClient.connect(port)
    yield* client.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n${more}Connection: close\r\n\r\n`)
    return /x-by: (\S+)/i.exec((yield* client.ended).unread)?.[1]
  })).pipe(Effect.orDie)

const hosts = Branch.byHost({
  "admin.example.com": mark("admin"),
  "*.example.com": mark("tenant"),
  "*.eu.example.com": mark("eu"),
  "[::1]:8080": mark("local"),
  "example.com:81": mark("port")
}, mark("other"))

describe("byHost", () => {
  it.effect("takes the exact name, then the longest suffix", () =>
    Effect.gen(function*() {
      const { port } = yield* App.listen(Route.get("/", hosts, ok))
      for (
        const [host, by] of [
          ["admin.example.com", "admin"],
          ["ADMIN.example.com:8080", "admin"],
          ["a.example.com", "tenant"],
          ["a.b.eu.example.com", "eu"],
          ["example.com", "other"],
          ["example.com:81", "port"],
          ["[::1]:8080", "local"],
          ["[::1]", "other"],
          ["evilexample.com", "other"]
        ]
      ) expect([host, yield* ask(port, host)]).toEqual([host, by])
    }))

  it.effect("believes a forwarded host of trusted peers alone", () =>
    Effect.gen(function*() {
      const forwarded = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: admin.example.com\r\n"
      const open = yield* App.listen(Route.get("/", hosts, ok))
      expect(yield* ask(open.port, "a.example.com", forwarded)).toBe("tenant")
      const trusting = yield* App.listen(Route.get("/", hosts, ok)).pipe(
        Effect.provide(TrustedPeers.layer(TrustedPeers.networks(["loopback"])))
      )
      expect(yield* ask(trusting.port, "a.example.com", forwarded)).toBe("admin")
    }))

  it("refuses what can't be a host", () => {
    for (const host of ["", "a b", "http://a", "*", "*.", "a/b", "a:", "a*.com"]) {
      expect(refused(() => Branch.byHost({ [host]: mark("a") }, Middleware.identity))).toContain(
        "byHost must be a host"
      )
    }
  })
})

describe("byHeader", () => {
  it.effect("compares the value as it is", () =>
    Effect.gen(function*() {
      const versions = Branch.byHeader("X-Version", { "1": mark("one"), "2": mark("two") }, mark("latest"))
      const { port } = yield* App.listen(Route.get("/", versions, ok))
      expect(yield* ask(port, "a", "X-Version: 2\r\n")).toBe("two")
      expect(yield* ask(port, "a", "x-version: 22\r\n")).toBe("latest")
      expect(yield* ask(port, "a")).toBe("latest")
      expect(versions.label).toBe("byHeader(x-version)(one | two | latest)")
    }))

  it("refuses what can't be a field's name", () => {
    expect(refused(() => Branch.byHeader("x y", {}, Middleware.identity))).toContain("name must be a header field name")
  })
})
