/** The service in process: no port, no database; its orders are a Layer of the test, its clock is `TestClock`. */
import { assert, describe, it } from "@effect/vitest"
import { Reporter } from "@sluice/core"
import { Effect, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import { DatabaseUnavailable } from "../database/Database.ts"
import { Orders } from "../orders/Orders.ts"
import { inMemory, json, make, origin, tea } from "./kit.ts"

describe("who may do what", () => {
  it.effect("without a token it is 401; with one that lacks the scope 403, and the challenge says which", () =>
    Effect.gen(function*() {
      const app = yield* make
      const nobody = yield* app.fetch("/orders")
      assert.strictEqual(nobody.status, 401)
      assert.include(nobody.headers.get("www-authenticate"), "Bearer realm=\"orders\"")
      const forged = yield* app.fetch("/orders", { headers: { authorization: "Bearer e30.e30.e30" } })
      assert.strictEqual(forged.status, 401)
      const ben = yield* app.send("POST", "/orders", app.ben, tea)
      assert.strictEqual(ben.status, 403)
      assert.include(ben.headers.get("www-authenticate"), "scope=\"orders:write\"")
    }).pipe(Effect.provide(inMemory)))

  it.effect("a token is over when it says so", () =>
    Effect.gen(function*() {
      const app = yield* make
      assert.strictEqual((yield* app.fetch("/orders", { headers: app.ann })).status, 200)
      yield* TestClock.adjust("9 hours")
      assert.strictEqual((yield* app.fetch("/orders", { headers: app.ann })).status, 401)
    }).pipe(Effect.provide(inMemory)))
})

describe("orders", () => {
  it.effect("one is placed, found under its Location, listed, and changed by whoever has seen its last state", () =>
    Effect.gen(function*() {
      const app = yield* make
      const placed = yield* app.send("POST", "/orders", app.ann, tea)
      assert.strictEqual(placed.status, 201)
      const location = placed.headers.get("location") ?? ""
      const order = { id: 1, ...tea, status: "placed", version: 1, placedBy: "ann" }
      assert.deepStrictEqual(yield* json(placed), order)
      const found = yield* app.fetch(location, { headers: app.ben })
      assert.deepStrictEqual(yield* json(found), order)
      assert.deepStrictEqual(yield* json(yield* app.fetch("/orders?after=0", { headers: app.ben })), [order])

      const etag = found.headers.get("etag") ?? ""
      const change = (fields: Record<string, string>, status: string) =>
        app.send("PATCH", location, { ...app.ann, ...fields }, { status })
      assert.strictEqual((yield* change({}, "packed")).status, 428)
      const packed = yield* change({ "if-match": etag }, "packed")
      assert.deepStrictEqual(yield* json(packed), { ...order, status: "packed", version: 2 })
      assert.strictEqual((yield* change({ "if-match": etag }, "cancelled")).status, 412)
      assert.strictEqual((yield* change({ "if-match": `W/${packed.headers.get("etag")}` }, "sent")).status, 412)
      assert.strictEqual((yield* change({ "if-match": "*" }, "placed")).status, 409)
    }).pipe(Effect.provide(inMemory)))

  it.effect("what the contract does not allow is a 400 that says where; an order that is not there a 404", () =>
    Effect.gen(function*() {
      const app = yield* make
      const refused = yield* app.send("POST", "/orders", app.ann, { ...tea, quantity: 0 })
      assert.strictEqual(refused.status, 400)
      assert.deepNestedInclude(yield* json(refused), { "errors[0].path": ["payload", "quantity"] })
      const missing = yield* app.fetch("/orders/7", { headers: app.ann })
      assert.strictEqual(missing.status, 404)
      assert.deepInclude(yield* json(missing), { order: 7 })
      assert.strictEqual((yield* app.fetch("/orders/seven", { headers: app.ann })).status, 400)
      const form = { method: "POST", headers: app.ann, body: new URLSearchParams("sku=tea") }
      assert.strictEqual((yield* app.fetch("/orders", form)).status, 415)
    }).pipe(Effect.provide(inMemory)))

  it.effect("an order that is sent twice with one key is placed once; the key is one person's", () =>
    Effect.gen(function*() {
      const app = yield* make
      const cat = yield* app.bearer({ sub: "cat", scope: "orders:write" })
      const place = (who: Record<string, string>, order = tea) =>
        app.send("POST", "/orders", { ...who, "idempotency-key": "\"k\"" }, order)
      const first = yield* place(app.ann)
      const again = yield* place(app.ann)
      assert.deepStrictEqual([again.status, again.headers.get("location")], [201, first.headers.get("location")])
      assert.strictEqual(again.headers.get("idempotency-replayed"), "true")
      assert.deepStrictEqual(yield* json(again), yield* json(first))
      assert.strictEqual((yield* place(app.ann, { ...tea, quantity: 3 })).status, 422)
      assert.strictEqual((yield* place(cat)).headers.get("location"), "/orders/2")
    }).pipe(Effect.provide(inMemory)))

  it.effect("what a client has is not sent again, until it changes", () =>
    Effect.gen(function*() {
      const app = yield* make
      const etag = (yield* app.send("POST", "/orders", app.ann, tea)).headers.get("etag") ?? ""
      const ask = Effect.map(app.fetch("/orders/1", { headers: { ...app.ben, "if-none-match": etag } }), ({ status }) =>
        status)
      assert.strictEqual(yield* ask, 304)
      yield* app.send("PATCH", "/orders/1", { ...app.ann, "if-match": etag }, { status: "packed" })
      assert.strictEqual(yield* ask, 200)
    }).pipe(Effect.provide(inMemory)))

  it.effect("one person places so many in a minute, and holds up nobody else", () =>
    Effect.gen(function*() {
      const app = yield* make
      for (let n = 0; n < 30; n++) {
        assert.strictEqual((yield* app.send("POST", "/orders", app.ann, tea)).status, 201)
      }
      const refused = yield* app.send("POST", "/orders", app.ann, tea)
      assert.strictEqual(refused.status, 429)
      assert.deepInclude(yield* json(refused), { "violated-policies": ["orders"] })
      const cat = yield* app.bearer({ sub: "cat", scope: "orders:write" })
      assert.strictEqual((yield* app.send("POST", "/orders", cat, tea)).status, 201)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* app.send("POST", "/orders", app.ann, tea)).status, 201)
    }).pipe(Effect.provide(inMemory)))

  it.effect("a database that fails is a 503 without details, and reported with its cause", () =>
    Effect.gen(function*() {
      const app = yield* make
      const response = yield* app.fetch("/orders", { headers: app.ann })
      assert.strictEqual(response.status, 503)
      assert.strictEqual(response.headers.get("retry-after"), "1")
      assert.notInclude(JSON.stringify(yield* json(response)), "disk")
      yield* app.exchange(0)
      const [report] = yield* Effect.flatMap(Reporter.Memory, (memory) => memory.reports)
      assert.deepInclude(report, { status: 503, route: "/orders" })
      assert.deepInclude(report.error, { cause: new Error("the disk is full") })
      assert.strictEqual(report.requestId, response.headers.get("x-request-id") ?? "")
    }).pipe(Effect.provide(Layer.merge(inMemory, Broken))))
})

describe("the desk", () => {
  const signIn = Effect.gen(function*() {
    const app = yield* make
    const response = yield* app.fetch("/session", { method: "POST", headers: app.ann })
    const setCookie = response.headers.get("set-cookie") ?? ""
    return { app, setCookie, cookie: setCookie.split(";")[0] }
  })
  const order = (headers: Record<string, string>): RequestInit => ({
    method: "POST",
    headers,
    body: new URLSearchParams({ sku: "tea", quantity: "3" }),
    redirect: "manual"
  })

  it.effect("whoever has signed in orders with a form; another site's form is refused though the cookie is there", () =>
    Effect.gen(function*() {
      const { app, cookie, setCookie } = yield* signIn
      assert.match(setCookie, /^desk=[\w-]{32}; .*HttpOnly; SameSite=Lax$/)
      const ours = yield* app.fetch("/desk/orders", order({ cookie, "sec-fetch-site": "same-origin" }))
      assert.deepStrictEqual([ours.status, ours.headers.get("location")], [303, "/"])
      const theirs = yield* app.fetch("/desk/orders", order({ cookie, "sec-fetch-site": "cross-site" }))
      assert.strictEqual(theirs.status, 403)
      const all = yield* json(yield* app.fetch("/orders", { headers: { cookie } }))
      assert.deepStrictEqual(all, [{ id: 1, sku: "tea", quantity: 3, status: "placed", version: 1, placedBy: "ann" }])
    }).pipe(Effect.provide(inMemory)))

  it.effect("a session is over after an hour", () =>
    Effect.gen(function*() {
      const { app, cookie } = yield* signIn
      assert.strictEqual((yield* app.fetch("/orders", { headers: { cookie } })).status, 200)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* app.fetch("/orders", { headers: { cookie } })).status, 401)
    }).pipe(Effect.provide(inMemory)))

  it.effect("each page has a nonce of its own, which its policy names", () =>
    Effect.gen(function*() {
      const app = yield* make
      const page = Effect.gen(function*() {
        const response = yield* app.fetch("/")
        const [, nonce = ""] = /<script nonce="([^"]+)">/.exec(yield* Effect.promise(() => response.text())) ?? []
        assert.include(response.headers.get("content-security-policy"), `script-src 'nonce-${nonce}';`)
        return nonce
      })
      assert.notStrictEqual(yield* page, yield* page)
    }).pipe(Effect.provide(inMemory)))
})

describe("reports of what a policy refused", () => {
  it.effect("one is logged, short and quoted; what is none is a 400, and a large one a 413", () => {
    const logged: Array<string> = []
    const logger = Logger.make(({ message }) => {
      logged.push(String(message))
    })
    return Effect.gen(function*() {
      const app = yield* make
      const report = (blocked: string) =>
        app.send("POST", "/csp-reports", {}, {
          "csp-report": { "effective-directive": "script-src-elem", "blocked-uri": blocked }
        })
      assert.strictEqual((yield* report(`inline\n${"x".repeat(1000)}`)).status, 204)
      assert.strictEqual((yield* report("x".repeat(9000))).status, 413)
      assert.strictEqual((yield* app.send("POST", "/csp-reports", {}, { other: 1 })).status, 400)
      const reports = logged.filter((line) => line.startsWith("a page broke its policy"))
      assert.deepStrictEqual(reports, [
        `a page broke its policy: "script-src-elem" refused "inline\\n${"x".repeat(193)}"`
      ])
    }).pipe(Effect.provide(Layer.merge(inMemory, Logger.layer([logger]))))
  })
})

describe("the edge", () => {
  it.effect("a listed origin may read, errors too; another may not", () =>
    Effect.gen(function*() {
      const app = yield* make
      const allowed = (origin: string, path: string) =>
        Effect.map(
          app.fetch(path, { headers: { origin } }),
          ({ headers }) => headers.get("access-control-allow-origin")
        )
      assert.strictEqual(yield* allowed(origin, "/orders"), origin)
      assert.strictEqual(yield* allowed(origin, "/nothing"), origin)
      assert.strictEqual(yield* allowed("https://evil.example", "/orders"), null)
    }).pipe(Effect.provide(inMemory)))

  it.effect("the contract is served, and says that it takes a token", () =>
    Effect.gen(function*() {
      const app = yield* make
      const document = yield* json(yield* app.fetch("/openapi.json"))
      assert.deepNestedInclude(document, {
        "security": [{ bearer: [] }],
        "components.securitySchemes.bearer.scheme": "bearer"
      })
      assert.notNestedProperty(document, "paths./orders.get.security")
    }).pipe(Effect.provide(inMemory)))
})

const unavailable = Effect.fail(new DatabaseUnavailable({ cause: new Error("the disk is full") }))

/** Orders whose database has failed. */
const Broken = Layer.mock(Orders)({ list: () => unavailable })
