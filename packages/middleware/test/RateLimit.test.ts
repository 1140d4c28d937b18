import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, describe, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redis from "effect/persistence/Redis"
import * as TestClock from "effect/testing/TestClock"
import { parseList } from "structured-headers"
import * as Admission from "../src/Admission.ts"
import * as RateLimit from "../src/RateLimit.ts"
import * as RateLimitStore from "../src/RateLimitStore.ts"
import { exchanges, logs, refused, type Reply, send, settled, start, turn, until } from "./kit.ts"
import { hasRedis, redisNote, redisServer } from "./utils/redis.ts"

const ok = Effect.succeed(HttpServerResponse.text("done"))
const memory = RateLimitStore.layerMemory()
const perMinute = { window: "1 minute" } as const

const serve = <X>(
  limit: Middleware.Middleware<never, X, HttpServerRequest | RateLimitStore.RateLimitStore>,
  trusted: TrustedPeers.TrustedPeers = TrustedPeers.none
) =>
  start(
    Server.layer(Layer.mergeAll(Route.get("/", ok), Route.get("/boom", Effect.die(new Error("boom")))), {
      // Sound: the tests' limits fail with problems only.
      edge: limit as Middleware.Middleware<
        never,
        RateLimit.RateLimited,
        HttpServerRequest | RateLimitStore.RateLimitStore
      >
    }).pipe(Layer.provide([memory, TrustedPeers.layer(trusted)]))
  )

/** The status, and what the fields say, by policy. */
const seen = ({ headers, status }: Reply) => ({
  status,
  policies: items(headers.get("ratelimit-policy")),
  limits: items(headers.get("ratelimit"))
})

const items = (field: string | null) =>
  Object.fromEntries(
    (field === null ? [] : parseList(field)).map(([name, parameters]) => [name, Object.fromEntries(parameters)])
  )

const from = (address: string) => ({ headers: { "x-forwarded-for": address } })

describe("RateLimit", () => {
  it.effect("C86 says what is left, and refuses what is over the quota until its window ends", () =>
    Effect.gen(function*() {
      const refusals = Metric.value(Admission.decisions("rate_limit", "limited"))
      const before = (yield* refusals).count
      const server = yield* serve(RateLimit.make({ limit: 3, ...perMinute }))
      const policies = { default: { q: 3, w: 60 } }
      for (const r of [2, 1]) {
        const reply = yield* send(server)
        assert.deepStrictEqual(seen(reply), { status: 200, policies, limits: { default: { r, t: 60 } } })
        assert.strictEqual(reply.headers.get("ratelimit-policy"), "\"default\";q=3;w=60")
      }
      yield* TestClock.adjust("20500 millis")
      const limits = { default: { r: 0, t: 40 } }
      assert.deepStrictEqual(seen(yield* send(server)), { status: 200, policies, limits })
      const fourth = yield* send(server)
      assert.deepStrictEqual(seen(fourth), { status: 429, policies, limits })
      assert.strictEqual(fourth.headers.get("retry-after"), "40")
      assert.strictEqual(fourth.headers.get("content-type"), "application/problem+json")
      assert.deepStrictEqual(JSON.parse(fourth.body), {
        type: "https://iana.org/assignments/http-problem-types#quota-exceeded",
        title: "Too many requests",
        status: 429,
        "violated-policies": ["default"],
        retryAfter: 40
      })
      yield* TestClock.adjust("39 seconds")
      assert.strictEqual((yield* send(server)).status, 429)
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(seen(yield* send(server)).limits, { default: { r: 2, t: 60 } })
      assert.strictEqual((yield* refusals).count, before + 2)
    }))

  it.effect("C86 every response has the fields: a 404, a 500, and one whose handler set its own", () =>
    Effect.gen(function*() {
      const own = Effect.succeed(HttpServerResponse.empty({ headers: { ratelimit: "\"upstream\";r=1;t=1" } }))
      const edge = RateLimit.make({ limit: 3, ...perMinute })
      const server = yield* start(
        Server.layer(Layer.mergeAll(Route.get("/own", own), Route.get("/boom", Effect.die(new Error("boom")))), {
          edge
        })
          .pipe(Layer.provide(memory))
      )
      const replies = yield* Effect.forEach(["/nowhere", "/boom", "/own"], (path) => send(server, path))
      assert.deepStrictEqual(
        replies.map(seen).map(({ limits, status }) => [status, limits]),
        [404, 500, 204].map((status, i) => [status, { default: { r: 2 - i, t: 60 } }])
      )
      assert.strictEqual((yield* send(server, "/livez")).headers.get("ratelimit"), null)
    }))

  it.effect("C86 a token bucket gives units back one by one", () =>
    Effect.gen(function*() {
      const server = yield* serve(RateLimit.make({ limit: 3, ...perMinute, algorithm: "token-bucket" }))
      assert.deepStrictEqual(seen(yield* send(server)).limits, { default: { r: 2, t: 20 } })
      yield* Effect.andThen(send(server), send(server))
      yield* TestClock.adjust("5 seconds")
      const refused = yield* send(server)
      assert.deepStrictEqual([refused.status, refused.headers.get("retry-after")], [429, "15"])
      yield* TestClock.adjust("15 seconds")
      assert.deepStrictEqual(seen(yield* send(server)).limits, { default: { r: 0, t: 20 } })
      assert.strictEqual((yield* send(server)).status, 429)
    }))

  it.effect("C87 keys are independent, IPv6 goes by network, and mapped addresses are IPv4", () =>
    Effect.gen(function*() {
      const trusted = TrustedPeers.networks(["loopback"])
      const left = (server: Server.Server["Service"]) => (address: string) =>
        Effect.map(send(server, "/", from(address)), (reply) => seen(reply).limits.default.r)
      const addresses = [
        "192.0.2.1",
        "192.0.2.2",
        "::ffff:192.0.2.1",
        "2001:db8:1:100::1",
        "2001:DB8:1:100:ffff::9",
        "2001:db8:1:101::1",
        "2001:db8:2:100::1"
      ]
      const by64 = yield* serve(RateLimit.make({ limit: 9, ...perMinute }), trusted)
      assert.deepStrictEqual(yield* Effect.forEach(addresses, left(by64)), [8, 8, 7, 8, 7, 8, 8])
      const key = RateLimit.clientAddress({ ipv6Prefix: 56 })
      const by56 = yield* serve(RateLimit.make({ limit: 9, ...perMinute, name: "56", key }), trusted)
      const leftBy56 = (address: string) =>
        Effect.map(send(by56, "/", from(address)), (reply) => seen(reply).limits["56"].r)
      assert.deepStrictEqual(yield* Effect.forEach(addresses, leftBy56), [8, 8, 7, 8, 7, 6, 8])
    }))

  it.effect("C88 a made up entry changes nothing, and one that can't be read is refused", () =>
    Effect.gen(function*() {
      const limit = RateLimit.make({ limit: 9, ...perMinute })
      const server = yield* serve(limit, TrustedPeers.networks(["loopback"]))
      const left = (address: string) =>
        Effect.map(send(server, "/", from(address)), (reply) => seen(reply).limits.default)
      assert.strictEqual((yield* left("203.0.113.7")).r, 8)
      assert.strictEqual((yield* left("1.1.1.1, 203.0.113.7")).r, 7)
      assert.strictEqual((yield* left("garbage, 203.0.113.7")).r, 6)
      const garbage = yield* send(server, "/", from("203.0.113.7, garbage"))
      assert.strictEqual(garbage.status, 400)
      const careful = yield* serve(limit)
      for (const r of [8, 7]) {
        assert.strictEqual(seen(yield* send(careful, "/", from(`203.0.113.${r}`))).limits.default.r, r)
      }
    }))

  it.effect("C91 of two policies the tightest decides, and both are listed", () =>
    Effect.gen(function*() {
      const server = yield* serve(RateLimit.make({
        policies: [
          { name: "burst", limit: 2, window: "1 second" },
          { name: "daily", limit: 3, window: "1 day", unit: "requests" }
        ]
      }))
      const policies = { burst: { q: 2, w: 1 }, daily: { q: 3, qu: "requests", w: 86400 } }
      const expected = (status: number, burst: number, daily: number) => ({
        status,
        policies,
        limits: { burst: { r: burst, t: 1 }, daily: { r: daily, t: 86400 } }
      })
      assert.deepStrictEqual(seen(yield* send(server)), expected(200, 1, 2))
      assert.deepStrictEqual(seen(yield* send(server)), expected(200, 0, 1))
      const third = yield* send(server)
      assert.deepStrictEqual(seen(third), expected(429, 0, 1))
      assert.deepStrictEqual(JSON.parse(third.body)["violated-policies"], ["burst"])
      assert.strictEqual(third.headers.get("retry-after"), "1")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* send(server)).status, 200)
      const fifth = yield* send(server)
      assert.deepStrictEqual(JSON.parse(fifth.body)["violated-policies"], ["daily"])
      assert.strictEqual(fifth.headers.get("retry-after"), "86399")
      // The refused one was not charged to the policy that had room.
      assert.strictEqual(seen(fifth).limits.burst.r, 1)
    }))

  it.effect("C91 a limit on a route adds its policies to those of the edge", () =>
    Effect.gen(function*() {
      const edge = RateLimit.make({ limit: 10, ...perMinute })
      const inner = RateLimit.make({ name: "search", limit: 2, ...perMinute })
      const server = yield* start(
        Server.layer(Route.get("/", inner, ok), { edge }).pipe(Layer.provide(memory))
      )
      assert.deepStrictEqual(seen(yield* send(server)), {
        status: 200,
        policies: { default: { q: 10, w: 60 }, search: { q: 2, w: 60 } },
        limits: { default: { r: 9, t: 60 }, search: { r: 1, t: 60 } }
      })
    }))

  it.effect("takes what a request costs, from the quota of who asks, unless it is skipped", () =>
    Effect.gen(function*() {
      class User extends RequestService.Service<User, string>()("test/User") {}
      const user = Middleware.provide(User, Effect.map(HttpServerRequest, ({ headers }) => headers["x-user"]))
      const limit = RateLimit.make({
        limit: 10,
        ...perMinute,
        key: User,
        cost: Effect.map(HttpServerRequest, ({ headers }) => Number(headers["x-cost"])),
        skip: (request) => request.headers["x-user"] === "root",
        partitionKey: true
      })
      const server = yield* start(
        Server.layer(Route.get("/", Middleware.stack(user, limit), ok)).pipe(Layer.provide(memory))
      )
      const ask = (name: string, cost: number | string) =>
        Effect.map(send(server, "/", { headers: { "x-user": name, "x-cost": String(cost) } }), (reply) => [
          reply.status,
          reply.headers.get("ratelimit")?.replace(/.*;(r=\d+).*/, "$1")
        ])
      assert.deepStrictEqual(yield* ask("ann", 7), [200, "r=3"])
      assert.deepStrictEqual(yield* ask("ann", 4), [429, "r=3"])
      assert.deepStrictEqual(yield* ask("ann", 3), [200, "r=0"])
      assert.deepStrictEqual(yield* ask("ann", 0), [200, "r=0"])
      assert.deepStrictEqual(yield* ask("bob", 1), [200, "r=9"])
      assert.deepStrictEqual(yield* ask("root", 99), [200, undefined])
      assert.deepStrictEqual(yield* ask("ann", -1), [500, undefined])
      assert.deepStrictEqual(yield* ask("x".repeat(200), 1), [200, "r=9"])
      assert.deepStrictEqual(yield* ask(`${"x".repeat(199)}y`, 1), [200, "r=9"])
      const reply = yield* send(server, "/", { headers: { "x-user": "ann", "x-cost": "0" } })
      const pk = Buffer.from("ann").toString("base64")
      assert.strictEqual(reply.headers.get("ratelimit-policy"), `"default";q=10;w=60;pk=:${pk}:`)
      assert.strictEqual(reply.headers.get("ratelimit"), `"default";r=0;t=60;pk=:${pk}:`)
    }))

  it.effect("sends the older fields of the tightest policy, on request", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_700_000_000_000)
      const policies = [{ name: "a", limit: 100, ...perMinute }, { name: "b", limit: 2, window: "1 hour" }] as const
      const older = (legacyHeaders: "seconds" | "unix-time") =>
        Effect.gen(function*() {
          const server = yield* serve(RateLimit.make({ policies, legacyHeaders }))
          const { headers } = yield* send(server)
          return ["limit", "remaining", "reset"].map((name) => headers.get(`x-ratelimit-${name}`))
        })
      assert.deepStrictEqual(yield* older("seconds"), ["2", "1", "3600"])
      assert.deepStrictEqual(yield* older("unix-time"), ["2", "1", "1700003600"])
    }))

  it.effect("C90 a store that hangs costs one request its timeout; the others fail at once, and pass", () =>
    Effect.gen(function*() {
      const errors = Metric.value(Admission.decisions("rate_limit", "store_error"))
      const before = (yield* errors).count
      let asked = 0
      let hangs = true
      const answer = ["1", "1", "60000", "0"]
      const hanging = Effect.suspend(() => {
        asked++
        return hangs ? Effect.never : Effect.succeed(answer)
      })
      // Sound: the store only evaluates its script.
      const redis = { eval: () => () => hanging } as unknown as Redis.Redis["Service"]
      const store = RateLimitStore.layerRedis().pipe(Layer.provide(Layer.succeed(Redis.Redis, redis)))
      const { layer: logLayer, lines } = logs()
      const edge = RateLimit.make({ limit: 2, ...perMinute })
      const server = yield* start(Server.layer(Route.get("/", ok), { edge }).pipe(Layer.provide([store, logLayer])))
      const ask = Effect.gen(function*() {
        const before = asked
        const reply = yield* Effect.forkChild(send(server))
        yield* until(() => asked > before)
        yield* turn
        return reply
      })
      const first = yield* ask
      yield* TestClock.adjust("250 millis")
      const reply = yield* Fiber.join(first)
      assert.deepStrictEqual(seen(reply), { status: 200, policies: { default: { q: 2, w: 60 } }, limits: {} })
      const second = yield* ask
      assert.strictEqual((yield* send(server)).status, 200)
      assert.strictEqual(asked, 2)
      yield* TestClock.adjust("250 millis")
      assert.strictEqual((yield* Fiber.join(second)).status, 200)
      assert.strictEqual((yield* errors).count, before + 3)
      const warnings = () =>
        lines.filter(({ message }) => message === "the store of a rate limit fails, requests pass unlimited").length
      assert.strictEqual(warnings(), 1)
      yield* TestClock.adjust("1 minute")
      const later = yield* ask
      yield* TestClock.adjust("250 millis")
      yield* Fiber.join(later)
      assert.strictEqual(warnings(), 2)
      hangs = false
      assert.deepStrictEqual(seen(yield* send(server)).limits, { default: { r: 1, t: 60 } })
      assert.deepStrictEqual(
        (yield* Effect.all([send(server), send(server)], { concurrency: 2 })).map((reply) => seen(reply).limits),
        [{ default: { r: 1, t: 60 } }, { default: { r: 1, t: 60 } }]
      )
    }))

  it.effect("C90 with deny, a store that fails is a 503 and not a 429", () =>
    Effect.gen(function*() {
      const consume = () =>
        Effect.fail(new RateLimitStore.RateLimitStoreError({ cause: new Error("10.0.0.7 refused") }))
      const { ended, observer } = exchanges()
      const limit = RateLimit.make({ limit: 2, ...perMinute, onStoreError: "deny" })
      const server = yield* start(
        Server.layer(Route.get("/", ok), { edge: Middleware.stack(observer, limit) }).pipe(
          Layer.provide([Layer.succeed(RateLimitStore.RateLimitStore, { consume }), logs().layer])
        )
      )
      const reply = yield* send(server)
      assert.deepStrictEqual([reply.status, reply.headers.get("retry-after")], [503, "5"])
      assert.notInclude(reply.body, "10.0.0.7")
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ outcome }) => outcome), [{ _tag: "Failed", phase: "handler" }])
    }))

  for (const disableOfflineQueue of [true, false]) {
    const how = disableOfflineQueue ? "fails its commands" : "keeps its commands"
    it.live.skipIf(!hasRedis)(
      `C90 a client of a killed Redis ${how}: requests pass, or are refused${redisNote}`,
      () =>
        Effect.gen(function*() {
          const redis = yield* redisServer
          const { layer: logLayer, lines } = logs()
          const client = yield* Layer.build(
            Layer.provide(NodeRedis.layer({ socket: { path: redis.path, tls: false }, disableOfflineQueue }), logLayer)
          )
          // One that keeps its commands would wait for Redis to come back before it closes.
          const destroy = Context.get(client, NodeRedis.NodeRedis).use(async (client) => client.destroy())
          if (!disableOfflineQueue) yield* Effect.addFinalizer(() => Effect.ignore(destroy))
          const store = RateLimitStore.layerRedis({ timeout: "100 millis" }).pipe(
            Layer.provide(Layer.succeedContext(client))
          )
          const routes = Layer.mergeAll(
            Route.get("/allow", RateLimit.make({ limit: 1, window: "1 hour", name: "allow" }), ok),
            Route.get("/deny", RateLimit.make({ limit: 1, window: "1 hour", name: "deny", onStoreError: "deny" }), ok)
          )
          const server = yield* start(Server.layer(routes).pipe(Layer.provide([store, logLayer])))
          const statuses = Effect.forEach(
            ["/allow", "/deny", "/allow", "/deny"],
            (path) => Effect.map(send(server, path), ({ status }) => status)
          )
          assert.deepStrictEqual(yield* statuses, [200, 200, 429, 429])
          yield* redis.kill
          assert.deepStrictEqual(yield* statuses, [200, 503, 200, 503])
          const warnings = lines.filter(({ message }) => message.startsWith("the store of a rate limit fails"))
          assert.strictEqual(warnings.length, 2)
        })
    )
  }

  it.live.skipIf(!hasRedis)(
    `C90 a Redis that hangs holds nobody up, and counts again when it answers${redisNote}`,
    () =>
      Effect.gen(function*() {
        const redis = yield* redisServer
        const client = yield* Layer.build(redis.layer)
        const store = RateLimitStore.layerRedis({ timeout: "50 millis" }).pipe(
          Layer.provide(Layer.succeedContext(client))
        )
        const edge = RateLimit.make({ limit: 1, window: "1 hour" })
        const server = yield* start(
          Server.layer(Route.get("/", ok), { edge }).pipe(Layer.provide([store, logs().layer]))
        )
        const status = Effect.map(send(server), ({ status }) => status)
        // With little time, the first answer may be late: the script is loaded before it.
        while ((yield* status) !== 429);
        yield* Context.get(client, Redis.Redis).send("CLIENT", "PAUSE", "2000", "ALL")
        const all = yield* Effect.all(Array.from({ length: 10 }, () => status), { concurrency: "unbounded" })
        assert.deepStrictEqual(all, Array.from({ length: 10 }, () => 200))
        while ((yield* status) !== 429);
      })
  )

  it.live.skipIf(!hasRedis)(`several machines share one Redis${redisNote}`, () =>
    Effect.gen(function*() {
      const redis = yield* redisServer
      const machine = Effect.gen(function*() {
        const store = RateLimitStore.layerRedis({ timeout: "10 seconds" }).pipe(Layer.provide(redis.layer))
        const edge = RateLimit.make({ limit: 7, window: "1 hour" })
        return yield* start(Server.layer(Route.get("/", ok), { edge }).pipe(Layer.provide(store)))
      })
      const machines = [yield* machine, yield* machine]
      const replies = yield* Effect.forEach(
        Array.from({ length: 40 }, (_, i) => machines[i % 2]),
        (server) => send(server),
        { concurrency: 8 }
      )
      assert.strictEqual(replies.filter(({ status }) => status === 200).length, 7)
      assert.strictEqual(replies.filter(({ status }) => status === 429).length, 33)
    }))

  it("refuses nonsense and names itself", () => {
    const wrong = (options: Partial<RateLimit.Policy & RateLimit.Settings>) =>
      refused(() => RateLimit.make({ limit: 1, ...perMinute, ...options }))
    assert.strictEqual(wrong({ limit: 0 }), "RangeError: limit must be a whole number of at least 1, got 0")
    assert.include(wrong({ window: "1500 millis" }), "RangeError: window must be a whole number of seconds")
    assert.include(wrong({ window: Infinity }), "RangeError: window must be a whole number of seconds")
    assert.include(wrong({ window: 0 }), "RangeError: window must be a positive duration")
    assert.include(wrong({ name: "naïve" }), "RangeError: name must be printable ASCII")
    assert.include(wrong({ unit: "" }), "RangeError: unit must be printable ASCII")
    assert.include(wrong({ cost: 0.5 }), "RangeError: cost must be a whole number of at least 0")
    assert.include(refused(() => RateLimit.clientAddress({ ipv6Prefix: 129 })), "RangeError: ipv6Prefix")
    const policy = { limit: 1, ...perMinute }
    assert.include(refused(() => RateLimit.make({ policies: [policy, policy] })), "different names")
    const limit = RateLimit.make({ policies: [policy, { ...policy, limit: 9, name: "b", window: "1 hour" }] })
    assert.deepStrictEqual([limit.label, limit.response], ["RateLimit(1/1m, 9/1h)", "head"])
  })
})
