import { assert, describe } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import { both, get, lines, ok, proxied, raw, roundTrip } from "./utils/proxied.ts"

const forged = [
  "X-Forwarded-For: 1.2.3.4",
  "X-Forwarded-Proto: https",
  "X-Forwarded-Host: evil.test",
  "X-Forwarded-Port: 443",
  "X_Forwarded_For: 1.2.3.4",
  "Forwarded: for=1.2.3.4",
  "X-Real-IP: 1.2.3.4"
]

const loopback = TrustedPeers.networks(["loopback"])

describe("Proxy, identity", () => {
  both("B28, B35, B36 what a client says of itself is replaced", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, get("/", ...forged))
      assert.deepStrictEqual(lines(seen, "x-forwarded-for"), ["127.0.0.1"])
      assert.deepStrictEqual(lines(seen, "x-forwarded-proto"), ["http"])
      assert.deepStrictEqual(lines(seen, "x-forwarded-host"), ["shop.test"])
      for (const name of ["x-forwarded-port", "x_forwarded_for", "forwarded", "x-real-ip"]) {
        assert.strictEqual(seen.get(name), undefined, name)
      }
    }))

  both("B29 a trusted peer is believed and appended", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, get("/", ...forged), ok, { proxy: { trust: loopback } })
      assert.deepStrictEqual(lines(seen, "x-forwarded-for"), ["1.2.3.4, 127.0.0.1"])
      assert.deepStrictEqual(lines(seen, "x-forwarded-proto"), ["https"])
      assert.deepStrictEqual(lines(seen, "x-forwarded-host"), ["evil.test"])
    }))

  both("B29 a CDN's own field is believed, and no other", (path) =>
    Effect.gen(function*() {
      const fields = [...forged, "CF-Connecting-IP: 203.0.113.7", "CF_Connecting_IP: 1.2.3.4"]
      const cdn = { proxy: { trust: TrustedPeers.header("cf-connecting-ip", ["loopback"]) } }
      const { seen } = yield* Effect.scoped(roundTrip(path, get("/", ...fields), ok, cdn))
      assert.deepStrictEqual(lines(seen, "x-forwarded-for"), ["203.0.113.7, 127.0.0.1"])
      assert.deepStrictEqual(lines(seen, "cf-connecting-ip"), ["203.0.113.7"])
      assert.deepStrictEqual(lines(seen, "x-forwarded-host"), ["shop.test"])
      for (const name of ["cf_connecting_ip", "forwarded", "x-real-ip"]) assert.isUndefined(seen.get(name), name)
      const elsewhere = { proxy: { trust: TrustedPeers.header("cf-connecting-ip", ["192.0.2.0/24"]) } }
      const direct = yield* roundTrip(path, get("/", ...fields), ok, elsewhere)
      assert.deepStrictEqual(lines(direct.seen, "x-forwarded-for"), ["127.0.0.1"])
      assert.isUndefined(direct.seen.get("cf-connecting-ip"))
    }))

  both("B29 without an option the TrustedPeers of the request decide", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.around(
        "trust",
        (handler) =>
          Effect.withFiber((fiber) =>
            fiber.getRef(OutgoingFields.Current).length > 0
              ? Effect.provideService(handler, TrustedPeers.TrustedPeers, loopback)
              : handler
          ),
        { response: "none" }
      )
      const marked = Middleware.around("mark", (handler) => OutgoingFields.add(handler, "X-Mark", "1"), {
        response: "none"
      })
      const plain = yield* Effect.scoped(roundTrip(path, get("/", ...forged), ok, { stack }))
      assert.deepStrictEqual(lines(plain.seen, "x-forwarded-for"), ["127.0.0.1"])
      const trusted = yield* roundTrip(path, get("/", ...forged), ok, { stack: Middleware.compose(marked, stack) })
      assert.deepStrictEqual(lines(trusted.seen, "x-forwarded-for"), ["1.2.3.4, 127.0.0.1"])
    }))

  both("B31, B38 X-Forwarded-* can be left out, and Forwarded sent", (path) =>
    Effect.gen(function*() {
      const proxy = { xForwarded: false, forwarded: true }
      const { seen } = yield* roundTrip(path, get("/", ...forged), ok, { proxy })
      for (const name of ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]) {
        assert.strictEqual(seen.get(name), undefined, name)
      }
      assert.deepStrictEqual(lines(seen, "forwarded"), ["for=127.0.0.1;host=shop.test;proto=http"])
    }))

  both("outgoing fields can be neither forged nor stripped", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.around("id", (handler) => OutgoingFields.add(handler, "X-Request-Id", "ours"), {
        response: "none"
      })
      const request = get("/", "x-request-id: forged", "Connection: close, x-request-id", "X-REQUEST-ID: forged")
      const { seen } = yield* roundTrip(path, request, ok, { stack })
      assert.deepStrictEqual(lines(seen, "x-request-id"), ["ours"])
    }))

  both("a field that is withheld is not relayed, unless it is an outgoing field", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.around(
        "trace",
        (handler) =>
          OutgoingFields.withhold(OutgoingFields.add(handler, "traceparent", "ours"), ["Traceparent", "TraceState"]),
        { response: "none" }
      )
      const request = get("/", "Traceparent: forged", "tracestate: a=1", "TRACESTATE: b=2", "x-other: kept")
      const { seen } = yield* roundTrip(path, request, ok, { stack })
      assert.deepStrictEqual(lines(seen, "traceparent"), ["ours"])
      assert.deepStrictEqual(lines(seen, "tracestate"), [])
      assert.deepStrictEqual(lines(seen, "x-other"), ["kept"])
    }))

  both("B39 Via is appended both ways", (path) =>
    Effect.gen(function*() {
      const response = "HTTP/1.0 200 OK\r\nVia: 1.1 cache\r\nContent-Length: 0\r\n\r\n"
      const { got, seen } = yield* roundTrip(path, get("/", "Via: 1.0 fred"), response, { proxy: { via: "edge" } })
      assert.deepStrictEqual(lines(seen, "via"), ["1.0 fred", "1.1 edge"])
      assert.deepStrictEqual(lines(got, "via"), ["1.1 cache", "1.0 edge"])
    }))

  both("B40 its own name in Via is a loop: 508, and the upstream is not contacted", (path) =>
    Effect.gen(function*() {
      const { client, upstream } = yield* proxied(path)
      const got = yield* client.request(get("/", "Via: 1.1 other, 1.1 Sluice (x)"))
      assert.strictEqual(got.status, 508)
      assert.strictEqual(got.get("proxy-status"), "sluice; error=proxy_loop_detected")
      assert.strictEqual(yield* upstream.accepted, 0)
    }))

  both("Via can be left out", (path) =>
    Effect.gen(function*() {
      const { got, seen } = yield* roundTrip(path, get("/", "Via: 1.1 sluice"), ok, { proxy: { via: false } })
      assert.deepStrictEqual(lines(seen, "via"), ["1.1 sluice"])
      assert.deepStrictEqual(lines(got, "via"), [])
    }))

  both("B42, B43 no User-Agent and no Accept-Encoding are invented", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, get("/"))
      const names = seen.fields.filter((_, i) => i % 2 === 0)
      assert.deepStrictEqual(names, ["Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via"])
    }))
})

describe("Proxy, targets", () => {
  const targets = [
    ["B47", "/a", "/b", "/a/b"],
    ["B47", "/a/", "/b", "/a/b"],
    ["B48", "/a%2Fb", "/c%2Fd", "/a%2Fb/c%2Fd"],
    ["B49", "", "/%2f%7E%e2%82%AC", "/%2f%7E%e2%82%AC"],
    ["B50", "", "//evil/x", "//evil/x"],
    ["B51", "", "/a//b///c", "/a//b///c"],
    ["B52", "", "/a/../b/./c", "/a/../b/./c"],
    ["B53", "", "/?a=1;b=%zz&c+d&&?", "/?a=1;b=%zz&c+d&&?"],
    ["B53", "", "/?", "/?"],
    ["B55", "/?sta=tic", "/?us=er", "/?sta=tic&us=er"],
    ["B55", "/?sta=tic", "/", "/?sta=tic"]
  ] as const
  for (const [number, base, asked, sent] of targets) {
    both(`${number} ${asked} to ${base === "" ? "the root" : base} is ${sent}`, (path) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* roundTrip(path, get(asked), ok, { base })).seen.target, sent)
      }))
  }

  both("B52 a path that climbs out of the base is refused", (path) =>
    Effect.gen(function*() {
      for (const target of ["/../x", "/%2e%2E/x", "/a/..%2f..%2fx"]) {
        const { client, upstream } = yield* proxied(path, { base: "/base" })
        assert.strictEqual((yield* client.request(get(target))).status, 400, target)
        assert.strictEqual(yield* upstream.accepted, 0)
      }
    }))

  both("stripPrefix takes whole segments off", (path) =>
    Effect.gen(function*() {
      const setup = { proxy: { stripPrefix: "/orders" }, base: "/api" }
      for (
        const [asked, sent] of [["/orders/7%2F8?x", "/api/7%2F8?x"], ["/orders", "/api/"], ["/ordersX", "/api/ordersX"]]
      ) {
        const { seen } = yield* Effect.scoped(roundTrip(path, get(asked), ok, setup))
        assert.strictEqual(seen.target, sent)
      }
    }))

  both("B56 the authority of an absolute target wins over Host", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, get("http://real.test:81/x?y"), ok, { upstream: { host: "preserve" } })
      assert.strictEqual(seen.target, "/x?y")
      assert.deepStrictEqual(lines(seen, "host"), ["real.test:81"])
      assert.deepStrictEqual(lines(seen, "x-forwarded-host"), ["real.test:81"])
    }))

  both("B57 OPTIONS * stays what it is", (path) =>
    Effect.gen(function*() {
      assert.strictEqual((yield* roundTrip(path, raw("OPTIONS *"), ok, { base: "/base" })).seen.target, "*")
    }))

  both("B66 Host is the target's, or the client's", (path) =>
    Effect.gen(function*() {
      const own = yield* Effect.scoped(roundTrip(path, get("/")))
      assert.deepStrictEqual(lines(own.seen, "host"), [`127.0.0.1:${own.upstream.port}`])
      const kept = yield* roundTrip(path, get("/"), ok, { upstream: { host: "preserve" } })
      assert.deepStrictEqual(lines(kept.seen, "host"), ["shop.test"])
    }))

  both("B67, B68 a method goes on as it is", (path) =>
    Effect.gen(function*() {
      for (const method of ["PROPFIND", "QUERY", "PATCH"]) {
        assert.strictEqual((yield* Effect.scoped(roundTrip(path, raw(`${method} /`)))).seen.method, method)
      }
    }))
})
