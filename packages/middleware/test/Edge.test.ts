import { assert, describe, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Reporter from "@sluice/core/Reporter"
import * as Route from "@sluice/core/Route"
import { App, RawClient } from "@sluice/core/testing"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Edge from "../src/Edge.ts"
import * as LoadSignals from "../src/LoadSignals.ts"
import * as RateLimit from "../src/RateLimit.ts"
import * as RateLimitStore from "../src/RateLimitStore.ts"
import * as RequestId from "../src/RequestId.ts"
import * as SecureHeaders from "../src/SecureHeaders.ts"
import { refused } from "./kit.ts"

const text = "a text that is worth the trouble ".repeat(100)

const limited = RateLimit.make({ limit: 1, window: "1 minute" })

const routes = Layer.mergeAll(
  Route.get("/text", Effect.succeed(HttpServerResponse.text(text))),
  Route.get("/limited", limited, Effect.succeed(HttpServerResponse.text("in"))),
  Route.get("/broken", Effect.die(new Error("broken"))),
  Route.get("/bare", Effect.succeed(HttpServerResponse.empty({ status: 410 }))),
  Route.post(
    "/echo",
    Effect.flatMap(
      HttpServerRequest.HttpServerRequest,
      (request) => Effect.map(Effect.orDie(request.text), HttpServerResponse.text)
    )
  )
)

const services = Layer.mergeAll(Reporter.layerMemory, RateLimitStore.layerMemory())

/** What is sent beyond the path. */
type Asking = Omit<RequestInit, "headers"> & { readonly headers?: Record<string, string> }

const origin = "https://shop.example"

describe("Edge.api", () => {
  const edge = Edge.api({ cors: { origins: [origin] }, bodyLimit: 10, accessLog: { skip: () => true } })

  const listen = Effect.provide(
    App.listen(
      Layer.merge(
        routes,
        Route.below(edge).get("/id", Effect.map(RequestId.RequestId, (id) => HttpServerResponse.text(id)))
      ),
      { edge }
    ),
    services
  )

  const ask = (url: string, init: Asking = {}) =>
    Effect.promise(async () => {
      const reply = await fetch(url, { ...init, headers: { origin, ...init.headers } })
      return { status: reply.status, headers: reply.headers, body: await reply.text() }
    })

  it("prints its order", () => {
    assert.strictEqual(
      edge.label.replace("zstd, ", ""),
      "AccessLog > Metrics > Reporting > RequestId > SecureHeaders > ClientIp > Cors > "
        + "Compression(br, gzip, deflate) > StatusPages > Etag > "
        + "BodyLimit(10B) > Timeout.requestBody(idle 30s, total 5m) > Timeout(30s)"
    )
  })

  it.live("C51, C76: whatever the answer, it has an id and can be read by the other origin", () =>
    Effect.gen(function*() {
      const { url } = yield* listen
      yield* ask(`${url}/limited`)
      const body = "more than ten bytes"
      const known = yield* ask(`${url}/id`)
      assert.strictEqual(known.body, known.headers.get("x-request-id"))
      const answers = [
        [200, yield* ask(`${url}/text`)],
        [404, yield* ask(`${url}/none`)],
        [405, yield* ask(`${url}/text`, { method: "DELETE" })],
        [410, yield* ask(`${url}/bare`)],
        [413, yield* ask(`${url}/echo`, { method: "POST", body })],
        [429, yield* ask(`${url}/limited`)],
        [500, yield* ask(`${url}/broken`)]
      ] as const
      for (const [status, reply] of answers) {
        assert.strictEqual(reply.status, status)
        assert.strictEqual(reply.headers.get("access-control-allow-origin"), origin)
        assert.match(reply.headers.get("x-request-id") ?? "", /^[\w-]{36}$/)
        assert.strictEqual(reply.headers.get("x-content-type-options"), "nosniff")
        if (status >= 400) assert.strictEqual(JSON.parse(reply.body).status, status)
      }
    }))

  it.live("C72: preflights are answered at the edge", () =>
    Effect.gen(function*() {
      const { url } = yield* listen
      const headers = { "access-control-request-method": "POST" }
      const reply = yield* ask(`${url}/echo`, { method: "OPTIONS", headers })
      assert.strictEqual(reply.status, 204)
      assert.strictEqual(reply.headers.get("access-control-allow-origin"), origin)
    }))

  it.live("C95: an entity tag is weak behind compression, and conditions hold for each coding", () =>
    Effect.gen(function*() {
      const { port } = yield* listen
      const get = (coding: string, condition = "") =>
        Effect.scoped(Effect.gen(function*() {
          const client = yield* RawClient.connect(port)
          return yield* client.request(
            `GET /text HTTP/1.1\r\nHost: a\r\nAccept-Encoding: ${coding}\r\n${condition}Connection: close\r\n\r\n`
          )
        }))
      for (const coding of ["gzip", "br", "identity"]) {
        const first = yield* get(coding)
        const tag = first.get("etag") ?? ""
        assert.strictEqual(first.get("content-encoding"), coding === "identity" ? undefined : coding)
        assert.strictEqual(tag.startsWith("W/"), coding !== "identity")
        assert.match(first.get("vary") ?? "", /accept-encoding/i)
        const second = yield* get(coding, `If-None-Match: ${tag}\r\n`)
        assert.deepStrictEqual([second.status, second.body.length], [304, 0])
        assert.match(second.get("vary") ?? "", /accept-encoding/i)
      }
    }))

  it.live("C96: an event stream passes at once, and as it is", () =>
    Effect.gen(function*() {
      const more = yield* Deferred.make<void>()
      const events = Stream.concat(
        Stream.make("data: 1\n\n"),
        Stream.fromEffect(Effect.as(Deferred.await(more), "data: 2\n\n"))
      )
      const sse = Route.get(
        "/events",
        Effect.succeed(HttpServerResponse.stream(Stream.encodeText(events), { contentType: "text/event-stream" }))
      )
      const { port } = yield* Effect.provide(App.listen(sse, { edge }), services)
      const client = yield* RawClient.connect(port)
      yield* client.send("GET /events HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nTE: trailers\r\n\r\n")
      const head = yield* client.responseHead
      assert.strictEqual(head.get("content-encoding"), undefined)
      assert.strictEqual(head.get("etag"), undefined)
      // The second event waits for the first one to have been read.
      yield* client.read("data: 1\n\n")
      yield* Deferred.succeed(more, undefined)
      yield* client.read("data: 2\n\n")
    }))

  it("leaves out what is not asked for", () => {
    assert.notInclude(Edge.api().labels, "Cors")
  })

  it("refuses what its parts refuse", () => {
    assert.match(refused(() => Edge.api({ bodyLimit: -1 })), /RangeError: bytes/)
    assert.match(refused(() => Edge.api({ timeout: 0 })), /RangeError: after/)
  })
})

describe("Edge.web", () => {
  const edge = Edge.web({ accessLog: { skip: () => true } })

  it.live("refuses forged requests, gives scripts a nonce, and shows errors as pages", () =>
    Effect.gen(function*() {
      const route = Route.below(edge)
      const page = Layer.merge(
        route.get("/", Effect.map(SecureHeaders.Nonce, (nonce) => HttpServerResponse.text(nonce))),
        route.post("/", Effect.succeed(HttpServerResponse.text("posted")))
      )
      const { url } = yield* Effect.provide(App.listen(page, { edge }), services)
      const ask = (path: string, init: Asking = {}) =>
        Effect.promise(async () => {
          const reply = await fetch(url + path, {
            ...init,
            headers: { accept: "text/html, */*;q=0.5", ...init.headers }
          })
          return { status: reply.status, headers: reply.headers, body: await reply.text() }
        })
      const got = yield* ask("/")
      assert.include(got.headers.get("content-security-policy") ?? "", `'nonce-${got.body}'`)
      const forged = yield* ask("/", { method: "POST", headers: { "sec-fetch-site": "cross-site" } })
      assert.strictEqual(forged.status, 403)
      const own = yield* ask("/", { method: "POST", headers: { "sec-fetch-site": "same-origin" } })
      assert.deepStrictEqual([own.status, own.body], [200, "posted"])
      const none = yield* ask("/none")
      assert.strictEqual(none.status, 404)
      assert.match(none.headers.get("content-type") ?? "", /^text\/html/)
    }))
})

describe("Edge.gateway", () => {
  it("leaves responses on their fast path", () => {
    assert.strictEqual(Edge.gateway().response, "head")
  })

  it.live("refuses while the process has too much to do", () =>
    Effect.gen(function*() {
      const edge = Middleware.stack(Edge.gateway({ accessLog: { skip: () => true } }))
      const busy = { value: false }
      const signals = LoadSignals.layerTest(() => busy.value ? { eventLoopDelay: 1000 } : {})
      const { url } = yield* App.listen(routes, { edge }).pipe(Effect.provide(Layer.merge(services, signals)))
      const status = Effect.promise(async () => (await fetch(`${url}/text`)).status)
      assert.strictEqual(yield* status, 200)
      busy.value = true
      assert.strictEqual(yield* status, 503)
    }))
})
