import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Fields from "../src/Fields.ts"
import * as Forwarded from "../src/Forwarded.ts"

const parse = (...lines: ReadonlyArray<string>) =>
  Forwarded.parse(Fields.make(...lines.map((line) => ["Forwarded", line] as const)))

const ip = (address: string, port?: Forwarded.Port): Forwarded.Node => ({ _tag: "Ip", address, port })

describe("Forwarded.parse", () => {
  it("reads the examples of RFC 7239", () => {
    assert.deepStrictEqual(Result.getOrThrow(parse(`for="_gazonk"`)), [
      { for: { _tag: "Obfuscated", identifier: "_gazonk", port: undefined } }
    ])
    assert.deepStrictEqual(Result.getOrThrow(parse(`For="[2001:db8:cafe::17]:4711"`)), [
      { for: ip("2001:db8:cafe::17", 4711) }
    ])
    assert.deepStrictEqual(Result.getOrThrow(parse("for=192.0.2.60;proto=http;by=203.0.113.43")), [
      { for: ip("192.0.2.60"), proto: "http", by: ip("203.0.113.43") }
    ])
    assert.deepStrictEqual(Result.getOrThrow(parse("for=192.0.2.43, for=198.51.100.17")), [
      { for: ip("192.0.2.43") },
      { for: ip("198.51.100.17") }
    ])
    assert.deepStrictEqual(Result.getOrThrow(parse(`for=_hidden, for=_SEVKISEK`, `for=unknown`)), [
      { for: { _tag: "Obfuscated", identifier: "_hidden", port: undefined } },
      { for: { _tag: "Obfuscated", identifier: "_SEVKISEK", port: undefined } },
      { for: { _tag: "Unknown", port: undefined } }
    ])
  })

  it("C103 reads a quoted IPv6 address with a port, and the scheme", () => {
    assert.deepStrictEqual(Result.getOrThrow(parse(`for="[2001:db8::1]:4711";proto=https`)), [
      { for: ip("2001:db8::1", 4711), proto: "https" }
    ])
  })

  it("B30 folds several lines in order", () => {
    const elements = Result.getOrThrow(parse("for=192.0.2.1", "", "for=192.0.2.2,,for=192.0.2.3 ,"))
    assert.deepStrictEqual(elements.map((element) => Forwarded.formatNode(element.for!)), [
      "192.0.2.1",
      "192.0.2.2",
      "192.0.2.3"
    ])
  })

  it("is absent: no elements", () => {
    assert.deepStrictEqual(Result.getOrThrow(Forwarded.parse(Fields.empty)), [])
  })

  it("reads quoted pairs, commas and semicolons in quotes, extensions and obfuscated ports", () => {
    assert.deepStrictEqual(
      Result.getOrThrow(parse(String.raw`secret="a\"b,c;d\\";For="_h:_p";HOST="shop.test:8080"`)),
      [
        {
          extensions: { secret: String.raw`a"b,c;d\ `.trim() },
          for: { _tag: "Obfuscated", identifier: "_h", port: "_p" },
          host: "shop.test:8080"
        }
      ]
    )
  })

  it("B37 normalises IPv4-mapped addresses", () => {
    assert.deepStrictEqual(Result.getOrThrow(parse(`for="[::ffff:192.0.2.1]:80"`)), [{ for: ip("192.0.2.1", 80) }])
  })

  it("an element that tells nothing is an element", () => {
    assert.deepStrictEqual(Result.getOrThrow(parse("for=192.0.2.1, ;")), [{ for: ip("192.0.2.1") }, {}])
  })

  it("an extension can't reach the prototype", () => {
    const [element] = Result.getOrThrow(parse("__proto__=x"))
    assert.strictEqual(Object.getPrototypeOf(element.extensions), Object.prototype)
    assert.deepStrictEqual(Object.entries(element.extensions ?? {}), [["__proto__", "x"]])
  })

  const garbage = [
    "for",
    "for=",
    "=192.0.2.1",
    "for=192.0.2.1:80",
    "for=[::1]",
    "for=\"::1\"",
    "for=\"[::1\"",
    "for=\"[::1]:70000\"",
    "for=\"[::1%eth0]\"",
    "for=\"192.0.2.1:\"",
    "for=192.0.2.256",
    "for=192.0.2",
    "for=192.0.02.1",
    "for=localhost",
    "for=\"_\"",
    "for=\"_a b\"",
    "for=\"192.0.2.1",
    "for=\"192.0.2.1\\",
    "for=192.0.2.1;for=192.0.2.2",
    "for=192.0.2.1;FOR=192.0.2.1",
    "for =192.0.2.1",
    "for= 192.0.2.1",
    "for=192.0.2.1; proto=http",
    "for=192.0.2.1 proto=http",
    "for=192.0.2.1 ;proto=http",
    "for=\"192.0.2.1\"proto=http",
    "proto=\"java script\"",
    "proto=1http",
    "host=\"a/b\"",
    "host=\"user@a\"",
    "host=\"a,b\"",
    "host=\"[::1\"",
    "host=\"a:99999\"",
    "for=\"192.0.2.1\u0000\"",
    "for=\u00e9"
  ]
  for (const value of garbage) {
    it(`refuses ${JSON.stringify(value)}`, () => {
      const result = parse("for=192.0.2.7", value)
      assert.isTrue(Result.isFailure(result))
      if (Result.isFailure(result)) assert.strictEqual(result.failure.field, "Forwarded")
    })
  }

  it("no quoted string goes on in the next line", () => {
    assert.isTrue(Result.isFailure(parse(`for="192.0.2.1`, `";proto=https`)))
  })

  it("never throws, whatever it is given", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (value) => {
      parse(value)
    }))
    const unit = fc.constantFrom(...Array.from("for=by;,\"\\[]:1._ \t"))
    fc.assert(fc.property(fc.string({ unit, maxLength: 40 }), (value) => {
      const result = parse(value)
      if (Result.isSuccess(result)) assert.deepStrictEqual(parse(Forwarded.format(result.success)), result)
    }))
  })

  it.effect("a field that can't be read is a 400", () =>
    Effect.gen(function*() {
      const error = Result.isFailure(parse("for=x y"))
        ? new Forwarded.InvalidForwarded({ field: "f", reason: "r" })
        : undefined
      const response = yield* HttpServerRespondable.toResponse(error!)
      assert.strictEqual(response.status, 400)
    }))
})

describe("Forwarded.format", () => {
  it("B32 quotes what is no token", () => {
    assert.strictEqual(Forwarded.format([{ for: ip("::1", 4711) }]), `for="[::1]:4711"`)
    assert.strictEqual(Forwarded.format([{ for: ip("::1") }]), `for="[::1]"`)
    assert.strictEqual(Forwarded.format([{ for: ip("192.0.2.1") }]), "for=192.0.2.1")
    assert.strictEqual(Forwarded.format([{ for: ip("192.0.2.1", 80) }]), `for="192.0.2.1:80"`)
    assert.strictEqual(Forwarded.format([{ for: { _tag: "Unknown", port: undefined } }]), "for=unknown")
  })

  it("refuses what no field can carry", () => {
    assert.throws(() => Forwarded.format([{ host: "a\r\nX-Evil: 1" }]), RangeError)
    assert.throws(() => Forwarded.format([{ extensions: { "a b": "c" } }]), RangeError)
  })

  const port: fc.Arbitrary<Forwarded.Port | undefined> = fc.option(
    fc.oneof(
      fc.integer({ min: 0, max: 65_535 }),
      fc.stringMatching(/^_[0-9A-Za-z._-]{1,8}$/).map((text) => text as `_${string}`)
    ),
    { nil: undefined }
  )
  const address = fc.oneof(fc.ipV4(), fc.ipV6().map((text) => Forwarded.canonicalIp(text)!))
  const node: fc.Arbitrary<Forwarded.Node> = fc.oneof(
    fc.record({ _tag: fc.constant("Ip" as const), address, port }),
    fc.record({
      _tag: fc.constant("Obfuscated" as const),
      identifier: fc.stringMatching(/^_[0-9A-Za-z._-]{1,8}$/).map((text) => text as `_${string}`),
      port
    }),
    fc.record({ _tag: fc.constant("Unknown" as const), port })
  )
  const name = fc.stringMatching(/^[!#$%&'*+\-.^_`|~0-9a-z]{1,6}$/).filter((text) =>
    !["for", "by", "host", "proto"].includes(text) && !/^\d+$/.test(text) && text !== "__proto__"
  )
  const element: fc.Arbitrary<Forwarded.Element> = fc.record({
    for: node,
    by: node,
    host: fc.constantFrom("shop.test", "shop.test:8080", "[::1]:80", "127.0.0.1"),
    proto: fc.constantFrom("http", "https", "wss", "a+b-c.1"),
    extensions: fc.dictionary(
      name,
      fc.string({
        unit: fc.integer({ min: 32, max: 255 }).filter((code) => code !== 127)
          .map((code) => String.fromCharCode(code))
      }),
      { minKeys: 1, maxKeys: 3, noNullPrototype: true }
    )
  }, { requiredKeys: [] })

  it("what it writes is read as it was", () => {
    fc.assert(fc.property(fc.array(element, { maxLength: 4 }), (elements) => {
      assert.deepStrictEqual(Result.getOrThrow(parse(Forwarded.format(elements))), elements)
    }))
  })
})

describe("X-Forwarded-*", () => {
  it("B30 folds several lines in order", () => {
    const fields = Fields.make(["x-forwarded-for", "192.0.2.1, 192.0.2.2"], ["X-FORWARDED-FOR", " ,192.0.2.3"])
    assert.deepStrictEqual(Forwarded.entries(fields, "X-Forwarded-For"), ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
  })

  it("B35 does not read underscores", () => {
    assert.deepStrictEqual(Forwarded.entries(Fields.make(["X_Forwarded_For", "192.0.2.1"]), "X-Forwarded-For"), [])
  })

  it("C103 reads addresses in every spelling that is met", () => {
    const table: ReadonlyArray<readonly [string, string]> = [
      ["192.0.2.1", "192.0.2.1"],
      ["192.0.2.1:80", "192.0.2.1:80"],
      ["2001:db8::1", "[2001:db8::1]"],
      ["[2001:DB8:0::1]", "[2001:db8::1]"],
      ["[2001:db8::1]:4711", "[2001:db8::1]:4711"],
      ["::ffff:192.0.2.1", "192.0.2.1"],
      ["[::ffff:c000:0201]:80", "192.0.2.1:80"],
      ["fe80::1%eth0", "[fe80::1]"],
      ["unknown", "unknown"],
      ["_hidden", "_hidden"]
    ]
    for (const [entry, expected] of table) {
      assert.strictEqual(Forwarded.formatNode(Result.getOrThrow(Forwarded.parseFor(entry))), expected)
    }
  })

  it("C88 refuses what is no address, scheme or host", () => {
    for (
      const entry of ["localhost", "1.2.3", "0x7f.0.0.1", "[::1", "::1]", "::1::", "192.0.2.1%eth0", "fe80::1%", "<b>"]
    ) {
      assert.isTrue(Result.isFailure(Forwarded.parseFor(entry)), entry)
    }
    for (const entry of ["ht tp", "http:", ""]) assert.isTrue(Result.isFailure(Forwarded.parseProto(entry)), entry)
    for (const entry of ["a/b", "a b", "user@a", "a:b", "[::g]", ""]) {
      assert.isTrue(Result.isFailure(Forwarded.parseHost(entry)), entry)
    }
  })

  it("never throws, whatever it is given", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (entry) => {
      Forwarded.parseFor(entry)
      Forwarded.parseHost(entry)
    }))
  })

  it("an address is read as it was written", () => {
    fc.assert(fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const canonical = Forwarded.canonicalIp(text)
      assert.isDefined(canonical)
      assert.strictEqual(Forwarded.canonicalIp(canonical), canonical)
    }))
  })

  it("an IPv4 address is what Effect takes for one", () => {
    const unit = fc.constantFrom(...Array.from("0125679.. \n"))
    const octet = fc.oneof(fc.nat(300).map(String), fc.string({ unit, maxLength: 3 }))
    const near = fc.array(octet, { minLength: 3, maxLength: 5 }).map((parts) => parts.join("."))
    fc.assert(
      fc.property(fc.oneof(near, fc.string({ unit, maxLength: 16 })), (text) => {
        const expected = Result.isSuccess(NetAddress.ipv4FromString(text))
        assert.strictEqual(Forwarded.canonicalIp(text) !== undefined, expected)
      }),
      { numRuns: 2000 }
    )
  })
})
