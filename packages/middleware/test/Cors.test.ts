import { describe, expect, it } from "@effect/vitest"
import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Handler from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Route from "@sluice/core/Route"
import { App } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as Cors from "../src/Cors.ts"
import * as Timeout from "../src/Timeout.ts"
import { refused, until } from "./kit.ts"
import { ask, lines, pick } from "./utils/ask.ts"

const app = "Origin: https://app.example.com"
const evil = "Origin: https://evil.example"
const ok = Effect.succeed(HttpServerResponse.text("ok"))
const listed = Cors.make({
  origins: ["https://app.example.com", "https://*.tenants.example.com", "http://localhost:5173"],
  methods: ["GET", "PUT"],
  headers: ["Content-Type", "X-Key"],
  exposedHeaders: ["X-Total", "Link"],
  credentials: true,
  maxAge: "1 hour"
})
const preflight = (method: string, ...more: ReadonlyArray<string>) => [
  `Access-Control-Request-Method: ${method}`,
  ...more
]
const all = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
const allowFields = (response: Parameters<typeof pick>[0]) =>
  response.fields.filter((name, index) => index % 2 === 0 && /^access-control-/i.test(name))

describe("Cors", () => {
  it.effect("C71 a listed origin is named, and nobody else", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.get("/", ok), { edge: listed })
      const allowed = yield* ask(server, "GET /", [app])
      expect(
        pick(
          allowed,
          "access-control-allow-origin",
          "vary",
          "access-control-allow-credentials",
          "access-control-expose-headers"
        )
      ).toEqual(["https://app.example.com", "Origin", "true", "X-Total, Link"])
      for (const fields of [[evil], [], ["Origin: null"], ["Origin: https://app.example.com:443"]]) {
        const response = yield* ask(server, "GET /", fields)
        expect([fields, response.text, allowFields(response), response.get("vary")]).toEqual([
          fields,
          "ok",
          [],
          "Origin"
        ])
      }
    }))

  it.effect("C71 a pattern stands for the names below it, in that scheme and port", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.get("/", ok), { edge: listed })
      for (
        const [origin, is] of [
          ["https://a.tenants.example.com", true],
          ["https://a.b.tenants.example.com", true],
          ["http://localhost:5173", true],
          ["https://tenants.example.com", false],
          ["https://.tenants.example.com", false],
          ["http://a.tenants.example.com", false],
          ["https://a.tenants.example.com:8443", false],
          ["https://eviltenants.example.com", false],
          ["https://evil.test/.tenants.example.com", false],
          ["https://evil.test#.tenants.example.com", false],
          ["https://evil.test?.tenants.example.com", false],
          ["https://u@a.tenants.example.com", false],
          ["https://a.tenants.example.com.evil.test", false],
          ["http://localhost:51730", false]
        ] as const
      ) {
        const response = yield* ask(server, "GET /", [`Origin: ${origin}`])
        expect([origin, response.get("access-control-allow-origin")]).toEqual([origin, is ? origin : undefined])
      }
    }))

  it.effect("C72 a preflight is answered, and the handler does not run", () =>
    Effect.gen(function*() {
      let runs = 0
      const count = Effect.sync(() => HttpServerResponse.text(String(++runs)))
      const server = yield* App.listen(Route.all("/", count), { edge: listed })
      const response = yield* ask(server, "OPTIONS /", [
        app,
        ...preflight("PUT", "Access-Control-Request-Headers: x-key,content-type")
      ])
      expect([response.status, response.text, runs]).toEqual([204, "", 0])
      expect(pick(
        response,
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-max-age",
        "access-control-allow-credentials",
        "access-control-expose-headers",
        "vary"
      )).toEqual(["https://app.example.com", "GET, PUT", "content-type, x-key", "3600", "true", undefined, all])
    }))

  it.effect("C73 any other OPTIONS reaches the app", () =>
    Effect.gen(function*() {
      const own = Effect.succeed(HttpServerResponse.text("mine"))
      const server = yield* App.listen(Layer.mergeAll(Route.options("/own", own), Route.get("/", ok)), { edge: listed })
      expect((yield* ask(server, "OPTIONS /own", [app])).text).toBe("mine")
      expect((yield* ask(server, "OPTIONS /own", preflight("GET"))).text).toBe("mine")
      const automatic = yield* ask(server, "OPTIONS /", [app])
      expect(pick(automatic, "allow", "access-control-allow-origin", "access-control-allow-methods")).toEqual([
        "GET, HEAD, OPTIONS",
        "https://app.example.com",
        undefined
      ])
    }))

  it.effect("C74 a preflight for what is not allowed is a 204 without fields", () =>
    Effect.gen(function*() {
      const server = yield* App.listen(Route.get("/", ok), { edge: listed })
      for (
        const fields of [
          [evil, ...preflight("PUT")],
          [app, ...preflight("DELETE")],
          [app, ...preflight("put")],
          [app, ...preflight("PUT", "Access-Control-Request-Headers: x-key, x-other")]
        ]
      ) {
        const response = yield* ask(server, "OPTIONS /", fields)
        expect([fields, response.status, allowFields(response), response.get("vary")]).toEqual([fields, 204, [], all])
      }
    }))

  it("C75 refuses * with credentials, anywhere", () => {
    const origins = ["https://a.test"]
    for (
      const [name, options] of [
        ["origins", { origins: "*" }],
        ["methods", { origins, methods: ["*"] }],
        ["headers", { origins, headers: ["x-key", "*"] }],
        ["exposedHeaders", { origins, exposedHeaders: ["*"] }]
      ] as const
    ) {
      expect(refused(() => Cors.make({ ...options, credentials: true }))).toContain(`RangeError: ${name} must not be *`)
      expect(refused(() => Cors.make(options))).toBe("not refused")
    }
  })

  class TooMany extends Problem.TaggedError<TooMany>()("TooMany", { status: 429 }) {}
  class TooLarge extends Problem.TaggedError<TooLarge>()("TooLarge", { status: 413 }) {}

  it.effect("C76 errors, 404, 405, 413, 429, timeouts and direct responses carry the fields", () =>
    Effect.gen(function*() {
      let waiting = false
      const slow = Effect.andThen(Effect.sync(() => void (waiting = true)), Effect.never)
      const direct = Effect.flatMap(DirectResponse.take, (connection) =>
        Effect.sync(() => {
          connection!.node.writeHead(200, ["Access-Control-Allow-Origin", "*", "Access-Control-Allow-Origin", "b"])
          connection!.node.end("direct")
          return DirectResponse.receipt(200)
        }))
      const routes = Layer.mergeAll(
        Route.get("/dies", Effect.die("boom")),
        Route.get("/many", Effect.fail(new TooMany())),
        Route.get("/large", Effect.fail(new TooLarge())),
        Route.get("/slow", Timeout.make("1 second"), slow),
        Route.get("/direct", direct),
        Route.get("/node", Handler.fromNodeHandler((_, response) => void response.writeHead(418).end()))
      )
      const server = yield* App.listen(routes, { edge: listed })
      const check = (line: string, status: number) =>
        Effect.map(
          ask(server, line, [app]),
          (response) =>
            expect([line, response.status, lines(response, "access-control-allow-origin"), response.get("vary")])
              .toEqual([
                line,
                status,
                ["https://app.example.com"],
                "Origin"
              ])
        )
      yield* check("GET /dies", 500)
      yield* check("GET /none", 404)
      yield* check("PUT /many", 405)
      yield* check("GET /many", 429)
      yield* check("GET /large", 413)
      yield* check("GET /direct", 200)
      yield* check("GET /node", 418)
      yield* Effect.all([
        check("GET /slow", 503),
        Effect.andThen(until(() => waiting), TestClock.adjust("1 second"))
      ], { concurrency: 2 })
    }))

  it.effect("C71 what a handler says of origins does not get past", () =>
    Effect.gen(function*() {
      const headers = {
        "access-control-allow-origin": "*",
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-secret"
      }
      const own = Effect.succeed(HttpServerResponse.text("", { headers }))
      const server = yield* App.listen(Route.get("/", own), { edge: listed })
      expect(allowFields(yield* ask(server, "GET /", [evil]))).toEqual([])
      const names = ["access-control-allow-origin", "access-control-expose-headers"]
      expect(pick(yield* ask(server, "GET /", [app]), ...names)).toEqual(["https://app.example.com", "X-Total, Link"])
    }))

  it.effect("C77 keeps the Vary that is there", () =>
    Effect.gen(function*() {
      const varying = (vary: string) => Effect.succeed(HttpServerResponse.text("", { headers: { vary } }))
      const routes = Layer.mergeAll(
        Route.get("/language", varying("Accept-Language")),
        Route.get("/any", varying("*")),
        Route.get("/origin", varying("accept, ORIGIN"))
      )
      const server = yield* App.listen(routes, { edge: Middleware.stack(listed, listed) })
      const vary = (path: string) =>
        Effect.map(ask(server, `GET ${path}`, [app]), (response) => lines(response, "vary"))
      expect(yield* vary("/language")).toEqual(["Accept-Language, Origin"])
      expect(yield* vary("/any")).toEqual(["*"])
      expect(yield* vary("/origin")).toEqual(["accept, ORIGIN"])
    }))

  it.effect("* is for everybody and does not depend on the origin", () =>
    Effect.gen(function*() {
      const edge = Cors.make({ origins: "*", methods: ["*"], headers: ["*"], maxAge: 0 })
      const server = yield* App.listen(Route.get("/", ok), { edge })
      for (const fields of [[evil], []]) {
        const response = yield* ask(server, "GET /", fields)
        expect(pick(response, "access-control-allow-origin", "vary")).toEqual(["*", undefined])
      }
      const asks = (fields: string) => ask(server, "OPTIONS /", [evil, ...preflight("PURGE", fields)])
      expect(
        pick(
          yield* asks("Access-Control-Request-Headers: x-any"),
          "access-control-allow-origin",
          "access-control-allow-methods",
          "access-control-allow-headers",
          "access-control-max-age"
        )
      ).toEqual(["*", "*", "*", "0"])
      expect(allowFields(yield* asks("Access-Control-Request-Headers: authorization"))).toEqual([])
    }))

  it.effect("a function decides, at once or later, and may fail", () =>
    Effect.gen(function*() {
      const at = Cors.make({ origins: (origin) => origin === "null" })
      const later = Cors.make({
        origins: (origin) =>
          origin.endsWith(".slow")
            ? Effect.fail(new TooMany())
            : Effect.as(Effect.yieldNow, origin.endsWith(".example"))
      })
      const routes = Layer.mergeAll(Route.get("/at", at, ok), Route.get("/later", later, ok))
      const server = yield* App.listen(routes)
      const origin = (path: string, origin: string) =>
        Effect.map(ask(server, `GET ${path}`, [`Origin: ${origin}`]), (response) => [
          response.status,
          response.get("access-control-allow-origin")
        ])
      expect(yield* origin("/at", "null")).toEqual([200, "null"])
      expect(yield* origin("/at", "https://evil.example")).toEqual([200, undefined])
      expect(yield* origin("/later", "https://evil.example")).toEqual([200, "https://evil.example"])
      expect(yield* origin("/later", "https://a.slow")).toEqual([429, undefined])
    }))

  it.effect("a private network answers only when it is opened", () =>
    Effect.gen(function*() {
      const origins = ["https://app.example.com"]
      const fields = [app, ...preflight("GET", "Access-Control-Request-Private-Network: true")]
      for (const privateNetwork of [true, false]) {
        const server = yield* App.listen(Route.get("/", ok), { edge: Cors.make({ origins, privateNetwork }) })
        const response = yield* ask(server, "OPTIONS /", fields)
        expect(pick(response, "access-control-allow-private-network", "vary")).toEqual([
          privateNetwork ? "true" : undefined,
          `${all}, Access-Control-Request-Private-Network`
        ])
        const plain = yield* ask(server, "OPTIONS /", [app, ...preflight("GET")])
        expect(plain.get("access-control-allow-private-network")).toBe(undefined)
      }
    }))

  it("refuses nonsense and names the option", () => {
    for (
      const origin of [
        "",
        "null",
        "example.com",
        "https://example.com/",
        "https://Example.com",
        "https://example.com:443",
        "https://*.com",
        "https://*",
        "https://a.*.example.com",
        "https://a*.example.com",
        "https://127.1",
        "https://a b",
        "https://u@a.test"
      ]
    ) expect([origin, refused(() => Cors.make({ origins: [origin] }))[0]]).toEqual([origin, "R"])
    const origins = ["capacitor://localhost"]
    expect(refused(() => Cors.make({ origins: [] }))).toContain("RangeError: origins must not be empty")
    expect(refused(() => Cors.make({ origins, methods: ["A B"] }))).toContain("RangeError: methods must be")
    expect(refused(() => Cors.make({ origins, headers: ["a b"] }))).toContain("RangeError: headers must be")
    expect(refused(() => Cors.make({ origins, exposedHeaders: [""] }))).toContain("RangeError: exposedHeaders must be")
    expect(refused(() => Cors.make({ origins, maxAge: Infinity }))).toContain("RangeError: maxAge must be")
  })
})
