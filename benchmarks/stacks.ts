/** What `middleware.ts` compares: the same handler through one stack or another. A line is a server. */
import { NodeHttpServer } from "@effect/platform-node"
import { Middleware, Reporter, RequestService, Route, Server, TrustedPeers } from "@sluice/core"
import * as M from "@sluice/middleware"
import { Effect, Layer, Logger, Option, Redacted, Schema, type Scope, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { CircuitBreaker as Breaker } from "effect/persistence"
import { createHmac } from "node:crypto"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { listen } from "./subjects.ts"

const Hello = Effect.succeed(HttpServerResponse.text("hello\n"))
const Fresh = Effect.succeed(HttpServerResponse.text("hello\n", { headers: { "cache-control": "max-age=86400" } }))

/** What the others are compared with. */
export const empty = "nothing"

const six = Middleware.stack(
  M.AccessLog.make(),
  M.Reporting.make(),
  M.RequestId.make(),
  M.SecureHeaders.make(),
  M.Recover.make(),
  M.Timeout.make("5 seconds")
)

class User extends RequestService.Service<User, { readonly sub: string }>()("bench/User") {}
class Visitor extends RequestService.Service<Visitor, Option.Option<{ readonly sub: string }>>()("bench/Visitor") {}
class Locale extends RequestService.Service<Locale, "en" | "de">()("bench/Locale") {}

const realm = "bench"
const ann = { sub: "ann" }
const secret = "a secret that is at least 32 bytes long"
const keys = M.ApiKey.table([[Redacted.make(secret), ann]])
const apiKey = M.ApiKey.make(User, { in: "header", name: "x-api-key", realm, verify: keys })
const jwt = M.Jwt.make(User, {
  realm,
  keys: M.Jwt.secret(Redacted.make(secret)),
  algorithms: ["HS256"],
  issuer: realm,
  audience: realm,
  claims: Schema.Struct({ sub: Schema.String })
})
const userKey = Effect.map(User, ({ sub }) => sub)
const often = { limit: 1_000_000_000, window: "1 minute" } as const

const around = Middleware.around("around", (handler) => Effect.suspend(() => handler), { response: "none" })
const served = Middleware.head("served-by", (head) => head.set("served-by", "bench"))

const token = (() => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const signed = `${part({ alg: "HS256" })}.${part({ iss: realm, aud: realm, exp: 4_102_444_800, sub: "ann" })}`
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`
})()

/** Fields that a stack's requests have, and those of the empty one beside it. */
export const requestFields: Readonly<Record<string, string>> = {
  Accept: "Accept: text/html, text/plain;q=0.9\r\n",
  ApiKey: `X-API-Key: ${secret}\r\n`,
  "Authentication.optional": `X-API-Key: ${secret}\r\n`,
  BasicAuth: `Authorization: Basic ${btoa("ann:secret")}\r\n`,
  BearerAuth: `Authorization: Bearer ${token}\r\n`,
  Compression: "Accept-Encoding: gzip, deflate, br\r\n",
  Cors: "Origin: https://shop.example\r\n",
  "Edge.api": "Accept-Encoding: gzip, deflate, br\r\n",
  "Edge.web": "Accept-Encoding: gzip, deflate, br\r\n",
  HttpsRedirect: "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n",
  "IdempotencyKey, kept": "Idempotency-Key: \"k-1\"\r\n",
  Jwt: `Authorization: Bearer ${token}\r\n`,
  Language: "Accept-Language: de, en;q=0.5\r\n",
  "ApiKey and Policy": `X-API-Key: ${secret}\r\n`,
  "ApiKey and RateLimit": `X-API-Key: ${secret}\r\n`,
  PropagateFields: "X-Tenant: shop\r\n",
  Tracing: "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n",
  WebhookSignature: `X-Signature: sha256=${createHmac("sha256", secret).digest("hex")}\r\n`
}

/** The path that is asked for, where it is another than `/`. */
export const paths: Readonly<Record<string, string>> = { PathRewrite: "/api/" }

/** How responses end, where it is not with the body of the empty stack. */
export const tails: Readonly<Record<string, string>> = { EventStream: "0\r\n\r\n", Redirect: "\r\n\r\n" }

/** Other middleware than these is a line here. */
const ours = {
  [empty]: Server.layer(Route.get("/", Hello)),
  // How far two numbers may lie apart and mean nothing.
  "nothing, again": Server.layer(Route.get("/", Hello)),
  // What a middleware costs that does nothing.
  "Middleware.around": Server.layer(Route.get("/", around, Hello)),
  "Middleware.head": Server.layer(Route.get("/", served, Hello)),
  "Middleware.observe": Server.layer(Route.get("/", Middleware.observe("seen", () => Effect.void), Hello)),
  "Middleware.provide": Server.layer(Route.get("/", Middleware.provide(User, Effect.succeed(ann)), Hello)),
  Accept: Server.layer(Route.get("/", M.Accept.make(["text/plain", "text/html"]), Hello)),
  AccessLog: Server.layer(Route.get("/", M.AccessLog.make(), Hello)),
  "AccessLog combined": Server.layer(Route.get("/", M.AccessLog.make({ format: "combined" }), Hello)),
  ApiKey: Server.layer(Route.get("/", apiKey, Hello)),
  "ApiKey and Policy": Server.layer(
    Route.get(
      "/",
      Middleware.stack(apiKey, M.Policy.enforce(M.Policy.make("ann", User, ({ sub }) => sub === "ann"))),
      Hello
    )
  ),
  "ApiKey and RateLimit": Layer.provide(
    Server.layer(Route.get("/", Middleware.stack(apiKey, M.RateLimit.make({ ...often, key: userKey })), Hello)),
    M.RateLimitStore.layerMemory()
  ),
  "Authentication.optional": Server.layer(
    Route.get("/", M.Authentication.optional(Visitor, User, apiKey), Hello)
  ),
  BasicAuth: Server.layer(
    Route.get(
      "/",
      M.BasicAuth.make(User, {
        realm,
        verify: M.BasicAuth.table({ ann: { password: Redacted.make("secret"), principal: ann } })
      }),
      Hello
    )
  ),
  BearerAuth: Server.layer(
    Route.get("/", M.BearerAuth.make(User, { realm, verify: () => Effect.succeed(Option.some(ann)) }), Hello)
  ),
  BodyLimit: Server.layer(Route.get("/", M.BodyLimit.make(1_048_576), Hello)),
  Branch: Server.layer(
    Route.get("/", M.Branch.byHost({ bench: Middleware.identity }, Middleware.identity), Hello)
  ),
  CacheControl: Server.layer(Route.get("/", M.CacheControl.noStore, Hello)),
  CircuitBreaker: Layer.provide(
    Server.layer(Route.get("/", M.CircuitBreaker.make(), Hello)),
    Layer.provide(
      Breaker.layer({ tripPolicy: Breaker.consecutive(5), openDuration: "30 seconds" }),
      Breaker.layerStoreMemory()
    )
  ),
  ClientIp: Server.layer(Route.get("/", M.ClientIp.make(), Hello)),
  "ClientIp and IpFilter": Server.layer(
    Route.get("/", Middleware.stack(M.ClientIp.make(), M.IpFilter.make({ deny: ["203.0.113.0/24"] })), Hello)
  ),
  Coalesce: Server.layer(Route.get("/", M.Coalesce.make(), Hello)),
  Compression: Server.layer(Route.get("/", M.Compression.make(), Hello)),
  ConcurrencyLimit: Server.layer(Route.get("/", M.ConcurrencyLimit.make({ limit: 100 }), Hello)),
  ContentType: Server.layer(Route.get("/", M.ContentType.make(["application/json"]), Hello)),
  Cors: Server.layer(Route.get("/", M.Cors.make({ origins: ["https://shop.example"] }), Hello)),
  Csrf: Server.layer(Route.get("/", M.Csrf.make(), Hello)),
  Decompression: Server.layer(Route.get("/", M.Decompression.make(), Hello)),
  "Edge.api": Server.layer(Route.get("/", M.Edge.api(), Hello)),
  "Edge.gateway": Layer.provide(Server.layer(Route.get("/", M.Edge.gateway(), Hello)), M.LoadSignals.layer()),
  "Edge.web": Server.layer(Route.get("/", M.Edge.web(), Hello)),
  Etag: Server.layer(Route.get("/", M.Etag.make(), Hello)),
  EventStream: Server.layer(Route.get("/", M.EventStream.response(Stream.make({ data: "hello" })))),
  HeaderRules: Server.layer(Route.get("/", M.HeaderRules.make(M.HeaderRules.set("x-frame-options", "DENY")), Hello)),
  HostFilter: Server.layer(Route.get("/", M.HostFilter.make(["bench"]), Hello)),
  HttpsRedirect: Layer.provide(
    Server.layer(Route.get("/", M.HttpsRedirect.make(), Hello)),
    TrustedPeers.layer(TrustedPeers.networks(["loopback"]))
  ),
  IdempotencyKey: Layer.provide(
    Server.layer(Route.get("/", M.IdempotencyKey.make({ scope: () => "ann" }), Hello)),
    M.IdempotencyKey.layerMemory()
  ),
  "IdempotencyKey, kept": Layer.provide(
    Server.layer(Route.get("/", M.IdempotencyKey.make({ scope: () => "ann", methods: ["GET"] }), Hello)),
    M.IdempotencyKey.layerMemory()
  ),
  Jwt: Server.layer(Route.get("/", jwt, Hello)),
  Language: Server.layer(Route.get("/", M.Language.make(Locale, { supported: ["en", "de"] }), Hello)),
  LoadShed: Layer.provide(
    Server.layer(Route.get("/", M.LoadShed.make({ maxEventLoopDelay: "1 minute", maxInFlight: 10_000 }), Hello)),
    M.LoadSignals.layer()
  ),
  Maintenance: Server.layer(Route.get("/", M.Maintenance.make({ active: Effect.succeed(false) }), Hello)),
  MethodOverride: Server.layer(Route.get("/", M.MethodOverride.make(), Hello)),
  Metrics: Server.layer(Route.get("/", M.Metrics.make(), Hello)),
  PathRewrite: Server.layer(Route.get("/", Hello), { edge: M.PathRewrite.stripPrefix("/api") }),
  PropagateFields: Server.layer(Route.get("/", M.PropagateFields.make(["X-Tenant"]), Hello)),
  RateLimit: Layer.provide(
    Server.layer(Route.get("/", M.RateLimit.make(often), Hello)),
    M.RateLimitStore.layerMemory()
  ),
  Recover: Server.layer(Route.get("/", M.Recover.make(), Hello)),
  Redirect: Server.layer(Route.get("/", M.Redirect.to("/elsewhere"))),
  Reporting: Server.layer(Route.get("/", M.Reporting.make(), Hello)),
  RequestId: Server.layer(Route.get("/", M.RequestId.make(), Hello)),
  ResponseCache: Layer.provide(
    Server.layer(Route.get("/", M.ResponseCache.make(), Hello)),
    M.ResponseCache.layerMemory()
  ),
  "ResponseCache, kept": Layer.provide(
    Server.layer(Route.get("/", M.ResponseCache.make(), Fresh)),
    M.ResponseCache.layerMemory()
  ),
  SecureHeaders: Server.layer(Route.get("/", M.SecureHeaders.make(), Hello)),
  "SecureHeaders.withNonce": Server.layer(
    Route.get(
      "/",
      M.SecureHeaders.withNonce({ contentSecurityPolicy: { "script-src": ["'self'", "'nonce'"] } }),
      Hello
    )
  ),
  ServerTiming: Server.layer(Route.get("/", M.ServerTiming.make({ show: "always" }), Hello)),
  StatusPages: Server.layer(Route.get("/", M.StatusPages.make(), Hello)),
  Sunset: Server.layer(Route.get("/", M.Sunset.make({ sunset: "2040-01-01T00:00:00Z" }), Hello)),
  Timeout: Server.layer(Route.get("/", M.Timeout.make("5 seconds"), Hello)),
  "Timeout.requestBody": Server.layer(Route.get("/", M.Timeout.requestBody({ idle: "5 seconds" }), Hello)),
  "Timeout.responseBody": Server.layer(Route.get("/", M.Timeout.responseBody({ idle: "5 seconds" }), Hello)),
  Tracing: Layer.provide(Server.layer(Route.get("/", M.Tracing.make(), Hello)), M.Tracing.layer),
  TrailingSlash: Server.layer(Route.get("/", M.TrailingSlash.trim, Hello)),
  WebhookSignature: Server.layer(Route.get(
    "/",
    M.WebhookSignature.make({ format: "plain", header: "X-Signature", secrets: [Redacted.make(secret)] }),
    Hello
  )),
  "the six of them": Server.layer(Route.get("/", six, Hello))
}

/** What middleware asks of the application: reports are dropped, and log entries go nowhere. */
const Nowhere = Layer.mergeAll(Reporter.layerNoop, Logger.layer([Logger.make(() => {})]))

type Listening = Effect.Effect<number, unknown, Scope.Scope>

const addressOf = (server: Http.Server): number =>
  // Sound: a server that listens on TCP has an address with a port.
  (server.address() as AddressInfo).port

/** The same route in servers that are not ours. */
const others: Readonly<Record<string, Listening>> = {
  "Effect's router and server": Effect.suspend(() => {
    const server = Http.createServer({ keepAliveTimeout: 600_000 })
    return Layer.build(
      HttpRouter.serve(HttpRouter.add("GET", "/", Hello), { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provideMerge(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" }))
      )
    ).pipe(Effect.map(() => addressOf(server)))
  }),
  "Node's server": Effect.callback((resume) => {
    const server = Http.createServer({ keepAliveTimeout: 600_000 }, (_, response) => {
      response.writeHead(200, { "content-type": "text/plain", "content-length": "6" })
      response.end("hello\n")
    })
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(addressOf(server))))
  })
}

/** Every server, by its name. */
export const stacks: ReadonlyMap<string, Listening> = new Map([
  ...Object.entries(ours).map(([name, server]): [string, Listening] => [
    name,
    Effect.map(listen(Layer.provide(server, Nowhere)), ({ port }) => port)
  ]),
  ...Object.entries(others)
])
