import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Target from "../src/Target.ts"

const through = (base: string, target: string, options?: Target.Options, method = "GET"): string =>
  Result.match(
    Result.flatMap(Target.parse(method, target), (parsed) => Target.join(Target.base(base), parsed, options)),
    {
      onFailure: (error) => `${error.status}`,
      onSuccess: (joined) => joined
    }
  )

describe("Target", () => {
  for (
    const [left, right, expected] of [
      ["https://www.google.com/", "/favicon.ico", "https://www.google.com/favicon.ico"],
      ["https://www.google.com", "/favicon.ico", "https://www.google.com/favicon.ico"],
      ["https://www.google.com", "favicon.ico", "https://www.google.com/favicon.ico"],
      ["https://www.google.com", "", "https://www.google.com/"],
      ["", "favicon.ico", "/favicon.ico"]
    ] as const
  ) {
    it(`B47 ${left} + ${right}`, () => assert.strictEqual(Target.joinPath(left, right), expected))
  }

  for (
    const [left, right, expected] of [
      ["/a/b", "/c", "/a/b/c"],
      ["/a/b", "c", "/a/b/c"],
      ["/a%2Fb", "/c", "/a%2Fb/c"],
      ["/a%2Fb", "/c/", "/a%2Fb/c/"],
      ["/a%2Fb%2F", "c", "/a%2Fb%2F/c"],
      ["/a%2Fb/", "/c%2Fd", "/a%2Fb/c%2Fd"]
    ] as const
  ) {
    it(`B48 ${left} + ${right}`, () => assert.strictEqual(Target.joinPath(left, right), expected))
  }

  for (
    const target of [
      "/a%2Fb%2fc%20d",
      "//evil/x",
      "/a//b///c",
      "/a/../b",
      "/%2e%2e/x",
      "/x?a=1&a=2;b=3",
      "/x?a=%zz&b=3",
      "/x?",
      "/x?a+b=c+d",
      "/x?a=?b",
      "/\u00e9"
    ]
  ) {
    it(`B49 B50 B51 B53 ${target} goes through byte for byte`, () => {
      assert.strictEqual(through("http://up.test", target), target)
      assert.strictEqual(through("http://up.test/", target), target)
    })
  }

  it("B50 //evil/x stays a path below a base", () => {
    assert.strictEqual(through("http://up.test/api", "//evil/x"), "/api//evil/x")
    assert.strictEqual(Result.getOrThrow(Target.parse("GET", "//evil/x")).authority, undefined)
  })

  for (
    const [target, expected] of [
      ["/a/../b", "/api/a/../b"],
      ["/a/b/../../c", "/api/a/b/../../c"],
      ["/..", "400"],
      ["/../admin", "400"],
      ["/a/../../admin", "400"],
      ["/%2e%2e/admin", "400"],
      ["/.%2E/admin", "400"],
      ["/a//../../admin", "400"],
      ["/a/./../../admin", "400"],
      ["/a%2f../../admin", "400"],
      ["/a%2f..%2f..%2fadmin", "400"],
      ["/..%5cadmin", "400"],
      ["/..\\admin", "400"],
      ["/..;/admin", "400"],
      ["/..;x=1/admin", "400"],
      ["/a..b/..c", "/api/a..b/..c"],
      ["/...", "/api/..."],
      ["/x?/../..", "/api/x?/../.."]
    ] as const
  ) {
    it(`B52 ${target} on a base path is ${expected}`, () => {
      assert.strictEqual(through("http://up.test/api", target), expected)
    })
  }

  it("B52 a stripped prefix can't be climbed out of", () => {
    assert.strictEqual(through("http://up.test", "/orders/../admin", { stripPrefix: "/orders" }), "400")
    assert.strictEqual(through("http://up.test", "/orders/a/../b", { stripPrefix: "/orders" }), "/a/../b")
  })

  for (
    const [base, query, expected] of [
      ["", "", ""],
      ["?sta=tic", "?us=er", "?sta=tic&us=er"],
      ["", "?us=er", "?us=er"],
      ["?sta=tic", "", "?sta=tic"]
    ] as const
  ) {
    it(`B55 base ${base || "none"} and request ${query || "none"}`, () => {
      assert.strictEqual(through(`http://up.test/${base}`, `/${query}`), `/${expected}`)
    })
  }

  for (
    const [target, authority, rest] of [
      ["http://shop.test/a?b", "shop.test", "/a?b"],
      ["HTTP://shop.test:81", "shop.test:81", "/"],
      ["https://[::1]:8443/x", "[::1]:8443", "/x"],
      ["http://shop.test?x=http://y/z", "shop.test", "/?x=http://y/z"],
      ["http://shop.test//x", "shop.test", "//x"]
    ] as const
  ) {
    it(`B56 ${target}: its authority wins`, () => {
      const parsed = Result.getOrThrow(Target.parse("GET", target))
      assert.strictEqual(parsed.authority, authority)
      assert.strictEqual(parsed.path + parsed.query, rest)
    })
  }

  it("B57 OPTIONS * stays *", () => {
    assert.strictEqual(through("http://up.test/api?x=1", "*", {}, "OPTIONS"), "*")
    assert.strictEqual(through("http://up.test", "http://shop.test", {}, "OPTIONS"), "*")
    assert.strictEqual(through("http://up.test", "http://shop.test/", {}, "OPTIONS"), "/")
  })

  for (
    const [name, method, target, status] of [
      ["B58 GET *", "GET", "*", "400"],
      ["B58 OPTIONS *x", "OPTIONS", "*x", "400"],
      ["B59 a fragment", "GET", "/a#b", "400"],
      ["B59 a fragment after the query", "GET", "/a?b#", "400"],
      ["B60 CONNECT", "CONNECT", "shop.test:443", "501"],
      ["no slash", "GET", "a/b", "400"],
      ["empty", "GET", "", "400"],
      ["user information", "GET", "http://a@b/", "400"],
      ["no authority", "GET", "http:///a", "400"],
      ["another scheme", "GET", "ftp://a/b", "400"],
      ["a bad port", "GET", "http://a:b/", "400"],
      ["a space", "GET", "/a b", "400"],
      ["a line break", "GET", "/a\r\nX: y", "400"]
    ] as const
  ) {
    it(`${name} is refused with ${status}`, () =>
      assert.strictEqual(through("http://up.test", target, {}, method), status))
  }

  for (
    const [path, prefix, expected] of [
      ["/orders", "/orders", "/"],
      ["/orders/", "/orders", "/"],
      ["/orders/1", "/orders", "/1"],
      ["/orders/1", "/orders/", "/1"],
      ["/orders//1", "/orders", "//1"],
      ["/ordersX", "/orders", "/ordersX"],
      ["/a%2Fb/c", "/a", "/a%2Fb/c"],
      ["/%6frders/%31", "/orders", "/%31"],
      ["/a%2Fb/c", "/a/b", "/a%2Fb/c"],
      ["/a%2Fb/c", "/a%2Fb", "/c"],
      ["/x", "/", "/x"],
      ["/x", "", "/x"],
      ["/o%", "/orders", "/o%"]
    ] as const
  ) {
    it(`strips ${prefix || "nothing"} off ${path}`, () =>
      assert.strictEqual(Target.stripPrefix(path, prefix), expected))
  }

  for (const bad of ["ftp://a/", "http://u@a/", "http://a/#x", "nonsense"]) {
    it(`${bad} is no base`, () => assert.throws(() => Target.base(bad), TypeError))
  }

  for (
    const [value, valid] of [
      ["shop.test", true],
      ["shop.test:80", true],
      ["[::1]", true],
      ["", false],
      ["a/b", false],
      ["a b", false],
      ["u@a", false],
      ["a:b", false],
      ["::1", false]
    ] as const
  ) {
    it(`B64 ${value || "(empty)"} ${valid ? "is" : "is not"} a host`, () => {
      assert.strictEqual(Target.isAuthority(value), valid)
    })
  }
})
