import { assert, describe, it } from "@effect/vitest"
import * as Handler from "@sluice/core/Handler"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as SecureHeaders from "../src/SecureHeaders.ts"
import { raw, refused, send, start } from "./kit.ts"
import { ask, pick } from "./utils/ask.ts"

const get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"

const defaults = [
  "cross-origin-opener-policy: same-origin",
  "cross-origin-resource-policy: same-origin",
  "origin-agent-cluster: ?1",
  "referrer-policy: no-referrer",
  "x-content-type-options: nosniff",
  "x-dns-prefetch-control: off",
  "x-download-options: noopen",
  "x-frame-options: SAMEORIGIN",
  "x-permitted-cross-domain-policies: none",
  "x-xss-protection: 0"
]

const empty = Effect.succeed(HttpServerResponse.empty())

/** The lines of a response's head that no handler and no Node has set. */
const fields = (response: string): ReadonlyArray<string> =>
  response.split("\r\n\r\n")[0].split("\r\n").slice(1).filter((line) => !/^(?:date|connection):/i.test(line))

describe("SecureHeaders", () => {
  it.effect("C79 the default table, byte for byte, without HSTS on plain HTTP", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", empty), { edge: SecureHeaders.make() }))
      assert.deepStrictEqual(fields(yield* raw(server, get)), defaults)
    }))

  it.effect("C79 keeps what the handler has set, and removes X-Powered-By", () =>
    Effect.gen(function*() {
      const handler = Effect.succeed(HttpServerResponse.empty({
        headers: { "X-Frame-Options": "DENY", "cross-origin-resource-policy": "cross-origin", "x-powered-by": "us" }
      }))
      const legacy = Handler.fromNodeHandler((_, response) => {
        response.setHeader("X-Powered-By", "Express").setHeader("Referrer-Policy", "origin").end()
      })
      const routes = Layer.mergeAll(Route.get("/", handler), Route.get("/legacy", legacy))
      const server = yield* start(Server.layer(routes, { edge: SecureHeaders.make() }))
      const own = yield* send(server)
      assert.deepStrictEqual(
        ["x-frame-options", "cross-origin-resource-policy", "x-powered-by", "referrer-policy"].map((name) =>
          own.headers.get(name)
        ),
        ["DENY", "cross-origin", null, "no-referrer"]
      )
      const { headers } = yield* send(server, "/legacy")
      assert.deepStrictEqual(
        ["referrer-policy", "x-powered-by", "x-frame-options"].map((name) => headers.get(name)),
        ["origin", null, "SAMEORIGIN"]
      )
    }))

  it.effect("errors and 404s have the fields, too", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Effect.die("boom")), { edge: SecureHeaders.make() }))
      for (const [path, status] of [["/", 500], ["/none", 404]] as const) {
        const reply = yield* send(server, path)
        assert.deepStrictEqual([reply.status, reply.headers.get("x-content-type-options")], [status, "nosniff"])
      }
    }))

  it.effect("C79 sends HSTS when a trusted peer says that the client came over TLS", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", empty), { edge: SecureHeaders.make() }))
      const forwarded = { "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https" }
      const { headers } = yield* send(server, "/", { headers: forwarded })
      assert.strictEqual(headers.get("strict-transport-security"), "max-age=15552000; includeSubDomains")
      assert.isNull((yield* send(server)).headers.get("strict-transport-security"))
    }).pipe(Effect.provide(TrustedPeers.layer(TrustedPeers.networks(["loopback"])))))

  it.effect("C79 sends no HSTS when anybody else says so", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", empty), { edge: SecureHeaders.make() }))
      const forwarded = { "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https" }
      assert.isNull((yield* send(server, "/", { headers: forwarded })).headers.get("strict-transport-security"))
    }))

  it.effect("each field can be changed or switched off", () =>
    Effect.gen(function*() {
      const edge = SecureHeaders.make({
        contentSecurityPolicy: "default-src 'none'",
        crossOriginOpenerPolicy: false,
        crossOriginResourcePolicy: false,
        originAgentCluster: false,
        permissionsPolicy: "camera=()",
        referrerPolicy: "same-origin",
        reportingEndpoints: "main=\"https://r.test/\"",
        crossOriginEmbedderPolicy: "require-corp",
        strictTransportSecurity: false,
        xContentTypeOptions: false,
        xDnsPrefetchControl: false,
        xDownloadOptions: false,
        xFrameOptions: "DENY",
        xPermittedCrossDomainPolicies: false,
        xXssProtection: false,
        removePoweredBy: false
      })
      const handler = Effect.succeed(HttpServerResponse.empty({ headers: { "x-powered-by": "us" } }))
      const server = yield* start(Server.layer(Route.get("/", handler), { edge }))
      assert.deepStrictEqual(fields(yield* raw(server, get)).toSorted(), [
        "content-security-policy: default-src 'none'",
        "cross-origin-embedder-policy: require-corp",
        "permissions-policy: camera=()",
        "referrer-policy: same-origin",
        "reporting-endpoints: main=\"https://r.test/\"",
        "x-frame-options: DENY",
        "x-powered-by: us"
      ])
    }))

  it.effect("HSTS takes another age and preload", () =>
    Effect.gen(function*() {
      const edge = SecureHeaders.make({ strictTransportSecurity: { maxAge: "365 days", preload: true } })
      const server = yield* start(Server.layer(Route.get("/", empty), { edge }))
      const forwarded = { "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https" }
      const { headers } = yield* send(server, "/", { headers: forwarded })
      assert.strictEqual(headers.get("strict-transport-security"), "max-age=31536000; includeSubDomains; preload")
    }).pipe(Effect.provide(TrustedPeers.layer(TrustedPeers.networks(["loopback"])))))

  it.effect("applied twice it is as if applied once", () =>
    Effect.gen(function*() {
      const route = Route.get("/", SecureHeaders.make(), empty)
      const server = yield* start(Server.layer(route, { edge: SecureHeaders.make() }))
      assert.deepStrictEqual(fields(yield* raw(server, get)), defaults)
    }))

  it.effect("C79 the nonce is the handler's and the header's, and another one for each response", () =>
    Effect.gen(function*() {
      const secure = SecureHeaders.withNonce({
        contentSecurityPolicy: { "script-src": ["'nonce'"], "style-src": ["'self'", "'nonce'"] },
        contentSecurityPolicyReportOnly: "default-src 'nonce'; report-to main",
        strictTransportSecurity: false
      })
      const page = Effect.map(SecureHeaders.Nonce, (nonce) => HttpServerResponse.text(nonce))
      const server = yield* start(Server.layer(Route.get("/", secure, page)))
      const nonces = new Set<string>()
      for (let i = 0; i < 300; i++) {
        const { body, headers } = yield* send(server)
        assert.match(body, /^[A-Za-z0-9+/]{22}==$/)
        assert.strictEqual(
          headers.get("content-security-policy"),
          `script-src 'nonce-${body}'; style-src 'self' 'nonce-${body}'`
        )
        assert.strictEqual(
          headers.get("content-security-policy-report-only"),
          `default-src 'nonce-${body}'; report-to main`
        )
        assert.strictEqual(headers.get("x-content-type-options"), "nosniff")
        nonces.add(body)
      }
      assert.strictEqual(nonces.size, 300)
    }))

  it.effect("C79 with a nonce, too, HSTS is sent over TLS only and a handler's own fields stay", () =>
    Effect.gen(function*() {
      const secure = SecureHeaders.withNonce({ contentSecurityPolicy: { "script-src": ["'nonce'"] } })
      const own = Effect.succeed(HttpServerResponse.empty({ headers: { "content-security-policy": "sandbox" } }))
      const server = yield* start(
        Server.layer(Layer.mergeAll(Route.get("/", secure, empty), Route.get("/own", secure, own)))
      )
      const tls = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"]
      assert.isUndefined((yield* ask(server, "GET /")).get("strict-transport-security"))
      assert.isDefined((yield* ask(server, "GET /", tls)).get("strict-transport-security"))
      assert.strictEqual((yield* ask(server, "GET /own")).get("content-security-policy"), "sandbox")
    }).pipe(Effect.provide(TrustedPeers.layer(TrustedPeers.networks(["loopback"])))))

  it.effect("a forwarding field that can't be read promises nothing", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", empty), { edge: SecureHeaders.make() }))
      const response = yield* ask(server, "GET /", ["X-Forwarded-For: nobody", "X-Forwarded-Proto: https"])
      assert.deepStrictEqual([response.status, response.get("strict-transport-security")], [204, undefined])
    }).pipe(Effect.provide(TrustedPeers.layer(TrustedPeers.networks(["loopback"])))))

  it.effect("policies may be data", () =>
    Effect.gen(function*() {
      const edge = SecureHeaders.make({
        contentSecurityPolicy: { "default-src": ["'self'"], "report-to": "main" },
        contentSecurityPolicyReportOnly: { "default-src": ["'none'"], "report-to": "main" },
        permissionsPolicy: { camera: [], fullscreen: ["self", "https://a.test"], autoplay: ["*"] }
      })
      const server = yield* start(Server.layer(Route.get("/", empty), { edge }))
      assert.deepStrictEqual(
        pick(
          yield* ask(server, "GET /"),
          "content-security-policy",
          "content-security-policy-report-only",
          "permissions-policy"
        ),
        [
          "default-src 'self'; report-to main",
          "default-src 'none'; report-to main",
          "camera=(), fullscreen=(self \"https://a.test\"), autoplay=*"
        ]
      )
    }))

  it("refuses policies that can't be meant", () => {
    const nonce = { "script-src": ["'nonce'"] }
    assert.include(refused(() => SecureHeaders.make({ contentSecurityPolicy: nonce })), "takes SecureHeaders.withNonce")
    assert.include(refused(() => SecureHeaders.withNonce({})), "withNonce takes a policy with 'nonce' in it")
    for (
      const permissionsPolicy of [
        { Camera: [] },
        { camera: ["*", "self"] },
        { camera: ["none"] },
        { camera: ["https://a.test/"] }
      ]
    ) assert.include(refused(() => SecureHeaders.make({ permissionsPolicy })), "RangeError: permissionsPolicy")
  })

  it("refuses nonsense and names the option", () => {
    assert.include(
      refused(() => SecureHeaders.make({ xFrameOptions: "DENY\r\nset-cookie: a=b" })),
      "RangeError: xFrameOptions must be a header field value"
    )
    assert.include(
      refused(() => SecureHeaders.make({ contentSecurityPolicy: "" })),
      "RangeError: contentSecurityPolicy"
    )
    for (const maxAge of [0, Infinity]) {
      assert.include(
        refused(() => SecureHeaders.make({ strictTransportSecurity: { maxAge } })),
        "RangeError: strictTransportSecurity.maxAge must be"
      )
    }
    for (const more of [{}, { maxAge: "365 days", includeSubDomains: false }] as const) {
      assert.include(
        refused(() => SecureHeaders.make({ strictTransportSecurity: { preload: true, ...more } })),
        "RangeError: strictTransportSecurity.preload takes"
      )
    }
  })
})
