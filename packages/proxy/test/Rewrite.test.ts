import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Proxy from "../src/Proxy.ts"
import * as Rewrite from "../src/Rewrite.ts"
import * as Target from "../src/Target.ts"
import { answer, both, get, lines, Origin, proxied, roundTrip } from "./utils/proxied.ts"

describe("Rewrite.location", () => {
  const base = ["http://10.0.0.7:9001/api"]
  const root = ["http://10.0.0.7:9001"]
  const rows: ReadonlyArray<
    readonly [name: string, from: ReadonlyArray<string>, to: string, value: string, expected: string]
  > = [
    ["an absolute URL", base, "/orders", "http://10.0.0.7:9001/api/7?x=%zz#y", "/orders/7?x=%zz#y"],
    ["the base itself", base, "/orders", "http://10.0.0.7:9001/api", "/orders"],
    ["the base with its slash", base, "/orders", "http://10.0.0.7:9001/api/", "/orders/"],
    ["a base that ends with a slash", ["http://10.0.0.7:9001/api/"], "/orders/", "/api/7", "/orders/7"],
    ["to the root", base, "/", "http://10.0.0.7:9001/api", "/"],
    ["no path", root, "/orders", "http://10.0.0.7:9001?x", "/orders/?x"],
    ["scheme and host have no case", ["http://Origin.test"], "/", "HTTP://ORIGIN.test/Aa", "/Aa"],
    ["a default port may be said", ["http://origin.test"], "/", "http://origin.test:80/a", "/a"],
    ["IPv6", ["http://[::1]:81"], "/o", "http://[::1]:81/a", "/o/a"],
    ["escapes and double slashes stay", root, "/o", "http://10.0.0.7:9001/a%2Fb//c", "/o/a%2Fb//c"],
    ["one of several upstreams", [...root, "https://two.test/x"], "/o", "https://two.test/x/a", "/o/a"],
    ["the longest base counts", ["http://o.test", "http://o.test/api"], "/o", "http://o.test/api/7", "/o/7"],
    ["a path", base, "/orders", "/api/7", "/orders/7"],
    ["protocol-relative", base, "/orders", "//10.0.0.7:9001/api/7", "/orders/7"],
    ["to another origin", base, "https://shop.test/o", "http://10.0.0.7:9001/api/7?x", "https://shop.test/o/7?x"],
    ["to another origin, protocol-relative", base, "https://shop.test", "//10.0.0.7:9001/api/7", "https://shop.test/7"],
    ["to another origin, a path", base, "https://shop.test/o", "/api/7", "/o/7"],
    ["a path that would be a host", root, "/", "http://10.0.0.7:9001//evil.test/x", "/.//evil.test/x"],
    ["the same below a base", base, "/", "/api//evil.test/x", "/.//evil.test/x"]
  ]
  for (const [name, from, to, value, expected] of rows) {
    it(`B152 ${name}`, () => {
      assert.strictEqual(Rewrite.location({ from, to })(value), expected)
      assert.strictEqual(
        new URL(expected, "https://client.test/").host,
        to.startsWith("h") && expected.startsWith("h") ? "shop.test" : "client.test"
      )
    })
  }

  for (
    const value of [
      "https://login.test/api/7",
      "http://10.0.0.7/api/7",
      "https://10.0.0.7:9001/api/7",
      "//login.test/api/7",
      "http://10.0.0.7:9001/apix",
      "http://10.0.0.7:9001/other",
      "/other",
      "/api/../secret",
      "/api/%2e%2e/secret",
      "7",
      "../7",
      "?page=2",
      "#top",
      "",
      "mailto:shop@shop.test",
      "http:/api/7",
      "http://user@10.0.0.7:9001/api/7",
      "http://10.0.0.7:9001:1/api",
      "http://[::/api",
      "/api/\\evil.test",
      "http:\\\\10.0.0.7:9001\\api",
      "/api/\tx",
      " /api/7"
    ]
  ) {
    it(`B152 ${JSON.stringify(value)} stays`, () => {
      assert.strictEqual(Rewrite.location({ from: base, to: "/orders" })(value), value)
    })
  }

  it("B152 leads back to where a request came from", () => {
    const segments = fc.array(fc.constantFrom("a", "b%2Fc", "%7E", "", "x;y=1", ".", "~"), { minLength: 1 })
    const prefix = fc.constantFrom("/", "/orders", "/a/b")
    fc.assert(fc.property(segments, prefix, fc.constantFrom("", "/api", "/api/"), (segments, stripPrefix, path) => {
      const from = `http://origin.test${path}`
      const asked = `${stripPrefix === "/" ? "" : stripPrefix}/${segments.join("/")}?q`
      if (asked.startsWith("//")) return
      const target = Result.getOrThrow(Target.parse("GET", asked))
      const sent = Result.getOrThrow(Target.join(Target.base(from), target, { stripPrefix }))
      const back = Rewrite.location({ from: [from], to: stripPrefix })
      assert.strictEqual(back(`http://origin.test${sent}`), asked)
    }))
  })

  it("B152 refuses what is no place", () => {
    for (
      const from of [
        "origin.test",
        "ftp://origin.test",
        "http://a:b@origin.test",
        "http://origin.test/?x",
        "http://o.test/#x"
      ]
    ) {
      assert.throws(() => Rewrite.location({ from: [from] }), TypeError, "rewrite.from")
    }
    for (const to of ["orders", "//shop.test", "/a?b", "/a b", "/\\x", ""]) {
      assert.throws(() => Rewrite.location({ from: [], to }), TypeError, "rewrite.to")
    }
  })
})

describe("Rewrite.cookie", () => {
  const rows: ReadonlyArray<
    readonly [name: string, options: Rewrite.CookieOptions, value: string, expected: string]
  > = [
    [
      "one domain for all",
      { cookieDomain: "shop.test" },
      "a=1; Domain=x.test; Path=/",
      "a=1; Domain=shop.test; Path=/"
    ],
    ["a domain is taken away", { cookieDomain: "" }, "a=1; Domain=x.test; Secure", "a=1; Secure"],
    ["a domain that is there alone", { cookieDomain: "" }, "a=1;domain=x.test", "a=1"],
    ["no domain is added", { cookieDomain: "shop.test" }, "a=1; Path=/", "a=1; Path=/"],
    ["a table", { cookieDomain: { "x.test": "y.test" } }, "a=1; DOMAIN=.X.test", "a=1; DOMAIN=y.test"],
    [
      "a table that does not name it",
      { cookieDomain: { "x.test": "y.test" } },
      "a=1; Domain=z.test",
      "a=1; Domain=z.test"
    ],
    ["a table with all others", { cookieDomain: { "x.test": "x.test", "*": "" } }, "a=1; Domain=z.test", "a=1"],
    ["one that is kept", { cookieDomain: { "x.test": "x.test", "*": "" } }, "a=1; Domain=x.test", "a=1; Domain=x.test"],
    ["one path for all", { cookiePath: "/o" }, "a=1; path=/x/y; Secure", "a=1; path=/o; Secure"],
    ["a path is taken away", { cookiePath: { "/x": "" } }, "a=1; Path=/x", "a=1"],
    ["a path exactly", { cookiePath: { "/x": "/o" } }, "a=1; Path=/x", "a=1; Path=/o"],
    ["a path below", { cookiePath: { "/x": "/o" } }, "a=1; Path=/x/y/", "a=1; Path=/o/y"],
    ["whole segments only", { cookiePath: { "/x": "/o" } }, "a=1; Path=/xy", "a=1; Path=/xy"],
    ["the longest one", { cookiePath: { "/": "/a", "/x": "/b" } }, "a=1; Path=/x/y", "a=1; Path=/b/y"],
    ["the root", { cookiePath: { "/": "/a" } }, "a=1; Path=/", "a=1; Path=/a"],
    ["below the root", { cookiePath: { "/": "/a" } }, "a=1; Path=/x", "a=1; Path=/a/x"],
    ["to the root", { cookiePath: { "/x": "/" } }, "a=1; Path=/x", "a=1; Path=/"],
    ["to the root, below", { cookiePath: { "/x": "/" } }, "a=1; Path=/x/y", "a=1; Path=/y"],
    ["a __Host- cookie", { cookiePath: "/o" }, "__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure"],
    [
      "bytes of the rest",
      { cookieDomain: "y" },
      "a=\"1, 2\" ;x;  Domain = x ; \xe9=;",
      "a=\"1, 2\" ;x;  Domain =y; \xe9=;"
    ],
    ["a value that looks like one", { cookieDomain: "y" }, "domain=x.test", "domain=x.test"],
    ["an attribute without a value", { cookieDomain: "y" }, "a=1; Domain", "a=1; Domain"]
  ]
  for (const [name, options, value, expected] of rows) {
    it(`B152 ${name}`, () => assert.strictEqual(Rewrite.cookie(options)(value), expected))
  }

  it("B152 refuses what would be another attribute", () => {
    assert.throws(() => Rewrite.cookie({ cookieDomain: "a; Secure" }), TypeError, "rewrite.cookieDomain")
    assert.throws(() => Rewrite.cookie({ cookiePath: { "/": "/\r\n" } }), TypeError, "rewrite.cookiePath")
  })
})

describe("Proxy, rewriting", () => {
  const response = answer("302 Found", [
    "Location: http://origin.test/api/7",
    "Set-Cookie: a=1; Domain=origin.test; Path=/api",
    "set-cookie: b=2",
    "Content-Location: /api/x",
    "Content-Length: 0"
  ])
  const rewrite = { from: ["http://origin.test/api"], cookieDomain: "", cookiePath: { "/api": "/orders" } }

  both("B152 Location, Content-Location and each Set-Cookie line, in place", (path) =>
    Effect.gen(function*() {
      const proxy = { stripPrefix: "/orders", rewrite }
      const { got } = yield* roundTrip(path, get("/orders/7"), response, { proxy })
      assert.strictEqual(got.status, 302)
      assert.deepStrictEqual(lines(got, "location"), ["/orders/7"])
      assert.deepStrictEqual(lines(got, "content-location"), ["/orders/x"])
      assert.deepStrictEqual(lines(got, "set-cookie"), ["a=1; Path=/orders", "b=2"])
    }))

  both(
    "B152 without the option everything stays, and with it mapResponse sees what was made of it",
    (path) =>
      Effect.gen(function*() {
        const plain = yield* Effect.scoped(roundTrip(path, get("/"), response))
        assert.deepStrictEqual(lines(plain.got, "location"), ["http://origin.test/api/7"])
        assert.deepStrictEqual(lines(plain.got, "set-cookie"), ["a=1; Domain=origin.test; Path=/api", "b=2"])
        const seen: Array<string> = []
        const mapResponse = (head: Proxy.ResponseHead) =>
          Effect.sync(() => {
            seen.push(...head.fields)
            return Proxy.relayed()
          })
        yield* roundTrip(path, get("/"), response, {
          proxy: { rewrite: { ...rewrite, to: "https://shop.test" }, mapResponse }
        })
        assert.include(seen, "https://shop.test/7")
      })
  )

  both("B152 a stream stays a stream", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path, { proxy: { rewrite } })
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* connection.send(
        answer("200 OK", ["Set-Cookie: a=1; Domain=x", "Transfer-Encoding: chunked"], "2\r\nok\r\n")
      )
      assert.deepStrictEqual(lines(yield* client.responseHead, "set-cookie"), ["a=1"])
      yield* client.read("ok")
      yield* connection.send("0\r\n\r\n")
      yield* client.read("0\r\n\r\n")
    }))

  both("B149, B152 a patch may set several lines of a field, both ways", (path) =>
    Effect.gen(function*() {
      const direct = () => Effect.succeed(Proxy.proceed({ set: { "X-Many": ["1", "2"], "X-None": [] } }))
      const mapResponse = ({ fields }: Proxy.ResponseHead) =>
        Effect.sync(() =>
          Proxy.relayed({
            set: {
              "Set-Cookie": fields.flatMap((name, i) =>
                i % 2 === 0 && name.toLowerCase() === "set-cookie" ? [`${fields[i + 1]}; Secure`] : []
              )
            }
          })
        )
      const { got, seen } = yield* roundTrip(path, get("/", "x-many: 0", "X-None: 1"), response, {
        proxy: { direct, mapResponse }
      })
      assert.deepStrictEqual(lines(seen, "x-many"), ["1", "2"])
      assert.deepStrictEqual(lines(seen, "x-none"), [])
      assert.deepStrictEqual(lines(got, "set-cookie"), ["a=1; Domain=origin.test; Path=/api; Secure", "b=2; Secure"])
    }))

  it("B152 bad options are refused when the handler is made", () => {
    assert.throws(() => Proxy.forward(Origin, { rewrite: { from: ["x"] } }), TypeError, "rewrite.from")
    assert.throws(() => Proxy.forward(Origin, { rewrite: { from: [], to: "x" } }), TypeError, "rewrite.to")
  })
})
