import { describe, expect, it } from "@effect/vitest"
import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Route from "@sluice/core/Route"
import { App, RawClient } from "@sluice/core/testing"
import * as Upgrade from "@sluice/core/Upgrade"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as HeaderRules from "../src/HeaderRules.ts"
import { refused } from "./kit.ts"
import { ask, lines, pick } from "./utils/ask.ts"

const edge = HeaderRules.make(
  HeaderRules.set("X-Set", "new"),
  HeaderRules.append("Set-Cookie", "c=3"),
  HeaderRules.setIfAbsent("Cache-Control", "no-store"),
  HeaderRules.setIfAbsent("x-there", "new"),
  HeaderRules.remove("Server"),
  HeaderRules.propagate("X-Correlation-Id")
)

const fields = ["X-Set", "1", "x-set", "2", "Set-Cookie", "a=1", "set-cookie", "b=2", "X-There", "old", "server", "us"]

/** A response whose lines are written as they stand, as a proxy does. */
const direct = Effect.flatMap(DirectResponse.take, (connection) =>
  Effect.sync(() => {
    connection!.node.writeHead(200, fields)
    connection!.node.end("direct")
    return DirectResponse.receipt(200)
  }))

const value = Effect.succeed(
  HttpServerResponse.text("value", { headers: { "x-set": "1", "x-there": "old", server: "us" } })
)

describe("HeaderRules", () => {
  it.effect("applies to the lines of a response that streams past", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.get("/", direct), { edge })
      const response = yield* ask(server, "GET /", ["X-Correlation-Id: a", "x-correlation-id: b"])
      expect(response.text).toBe("direct")
      for (
        const [name, expected] of [
          ["x-set", ["new"]],
          ["set-cookie", ["a=1", "b=2", "c=3"]],
          ["cache-control", ["no-store"]],
          ["x-there", ["old"]],
          ["server", []],
          ["x-correlation-id", ["a", "b"]]
        ] as const
      ) expect([name, lines(response, name)]).toEqual([name, expected])
    }))

  it.effect("applies to values, errors and 404s", () =>
    Effect.gen(function*() {
      const routes = Layer.mergeAll(Route.get("/", value), Route.get("/dies", Effect.die("boom")))
      const server = yield* App.listen(routes, { edge })
      const names = ["x-set", "cache-control", "x-there", "server", "x-correlation-id"]
      expect(pick(yield* ask(server, "GET /"), ...names)).toEqual(["new", "no-store", "old", undefined, undefined])
      for (const path of ["/dies", "/none"]) {
        const response = yield* ask(server, `GET ${path}`, ["X-Correlation-Id: a"])
        expect(pick(response, ...names)).toEqual(["new", "no-store", "new", undefined, "a"])
      }
    }))

  it.effect("a propagated field replaces the response's own", () =>
    Effect.gen(function*() {
      const own = Effect.succeed(HttpServerResponse.empty({ headers: { "x-correlation-id": "mine" } }))
      const server = yield* App.listen(Route.get("/", own), { edge })
      expect(lines(yield* ask(server, "GET /", ["X-Correlation-Id: a"]), "x-correlation-id")).toEqual(["a"])
      expect(lines(yield* ask(server, "GET /"), "x-correlation-id")).toEqual(["mine"])
    }))

  it.effect("rules run in their order", () =>
    Effect.gen(function*() {
      const rules = [HeaderRules.remove("x-set"), HeaderRules.append("x-set", "a"), HeaderRules.append("x-set", "b")]
      const server = yield* App.listen(Route.get("/", direct), { edge: HeaderRules.make(...rules) })
      expect(lines(yield* ask(server, "GET /"), "x-set")).toEqual(["a", "b"])
      expect(HeaderRules.make(...rules).label).toBe("HeaderRules(remove x-set, append x-set, append x-set)")
    }))

  it.effect("a switch to another protocol stays as it is", () =>
    Effect.gen(function*() {
      const upgrade = Effect.flatMap(Upgrade.connection, (connection) =>
        Effect.callback<HttpServerResponse.HttpServerResponse>((resume) => {
          connection!.accept(["Connection", "Upgrade", "Upgrade", "echo", "X-Set", "old"])
          connection!.socket.end("bye").once("close", () =>
            resume(Effect.succeed(HttpServerResponse.empty())))
        }))
      const server = yield* App.listen(Route.get("/", upgrade), { edge })
      const client = yield* RawClient.connect(server.port)
      yield* client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Correlation-Id: a\r\n\r\n"
      )
      expect(yield* client.read("\r\n\r\n")).toBe(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Set: old\r\n\r\n"
      )
    }))

  it("refuses what frames the message, and what is no field", () => {
    for (const name of ["Connection", "content-length", "Transfer-Encoding", "upgrade", "TE", "keep-alive"]) {
      for (
        const rule of [
          () => HeaderRules.set(name, "1"),
          () => HeaderRules.remove(name),
          () => HeaderRules.propagate(name)
        ]
      ) {
        expect(refused(rule)).toContain("RangeError: name must not be a field of the connection")
      }
    }
    expect(refused(() => HeaderRules.remove("a b"))).toContain("RangeError: name must be a header field name")
    expect(refused(() => HeaderRules.append("a", "b\r\nc: d"))).toContain("RangeError: value must be")
  })
})
