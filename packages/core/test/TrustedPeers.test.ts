import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as IpNetwork from "effect/net/IpNetwork"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as ClientAddress from "../src/ClientAddress.ts"
import * as Fields from "../src/Fields.ts"
import type * as Forwarded from "../src/Forwarded.ts"
import * as TrustedPeers from "../src/TrustedPeers.ts"

const privateNetworks = TrustedPeers.networks(["loopback", "private", "fe80::/10"])

const lb = "10.0.0.1"

const xff = (...values: ReadonlyArray<string>) =>
  Fields.make(...values.map((value) => ["X-Forwarded-For", value] as const))

const clientOf = (trusted: TrustedPeers.TrustedPeers, peer: string | undefined, fields: Fields.Fields) =>
  Result.getOrThrow(TrustedPeers.resolve(trusted, peer, fields))

const address = (trusted: TrustedPeers.TrustedPeers, peer: string | undefined, fields: Fields.Fields) =>
  clientOf(trusted, peer, fields).address

const failure = (trusted: TrustedPeers.TrustedPeers, peer: string, fields: Fields.Fields) => {
  const result = TrustedPeers.resolve(trusted, peer, fields)
  return Result.isFailure(result) ? result.failure.field : undefined
}

describe("TrustedPeers.resolve", () => {
  const forged = Fields.make(
    ["X-Forwarded-For", "1.1.1.1"],
    ["X-Forwarded-Proto", "https"],
    ["X-Forwarded-Host", "evil.test"],
    ["Forwarded", "for=1.1.1.1"]
  )

  it("C103 ignores the fields of a peer that is not trusted", () => {
    const expected = { address: "203.0.113.9", proto: undefined, host: undefined }
    assert.deepStrictEqual(clientOf(TrustedPeers.none, "203.0.113.9", forged), expected)
    assert.deepStrictEqual(clientOf(privateNetworks, "203.0.113.9", forged), expected)
    assert.deepStrictEqual(clientOf(privateNetworks, "203.0.113.9", xff("garbage")), expected)
  })

  it("C103 takes address, scheme and host from a trusted peer", () => {
    const fields = Fields.make(
      ["X-Forwarded-For", "203.0.113.7"],
      ["X-Forwarded-Proto", "HTTPS"],
      ["X-Forwarded-Host", "shop.test"]
    )
    assert.deepStrictEqual(clientOf(privateNetworks, lb, fields), {
      address: "203.0.113.7",
      proto: "https",
      host: "shop.test"
    })
  })

  it("C103 scheme and host are those of the same trusted hop, or of nobody", () => {
    const fields = (proto: string) => Fields.append(xff("6.6.6.6, 203.0.113.7, 10.0.0.2"), "X-Forwarded-Proto", proto)
    assert.strictEqual(clientOf(privateNetworks, lb, fields("http, https, http")).proto, "https")
    assert.strictEqual(clientOf(privateNetworks, lb, fields("https")).proto, "https")
    assert.isUndefined(clientOf(privateNetworks, lb, fields("http, https")).proto)
    assert.strictEqual(failure(privateNetworks, lb, fields("http, ht tp, http")), "X-Forwarded-Proto")
    assert.strictEqual(
      failure(privateNetworks, lb, Fields.append(xff("203.0.113.7"), "X-Forwarded-Host", "a/b")),
      "X-Forwarded-Host"
    )
  })

  it("C103 reads Forwarded when that is what trusted peers write, and only that", () => {
    const trusted = TrustedPeers.networks(["private"], { source: "Forwarded" })
    const fields = Fields.make(
      ["X-Forwarded-For", "1.1.1.1"],
      ["Forwarded", `for="[2001:db8::1]:4711";proto=https;host=shop.test`],
      ["Forwarded", "for=10.0.0.9"]
    )
    assert.deepStrictEqual(clientOf(trusted, lb, fields), {
      address: "2001:db8::1",
      proto: "https",
      host: "shop.test"
    })
    assert.strictEqual(address(trusted, lb, xff("1.1.1.1")), lb)
    assert.isUndefined(address(trusted, lb, ["Forwarded", "for=_hidden"]))
    assert.isUndefined(address(trusted, lb, ["Forwarded", "for=203.0.113.7, proto=http"]))
    assert.strictEqual(failure(trusted, lb, ["Forwarded", "for=1.1.1.1;for=2.2.2.2"]), "Forwarded")
    assert.strictEqual(address(privateNetworks, lb, fields), "1.1.1.1")
  })

  it("C88 reads from the right: what a client puts on the left changes nothing", () => {
    assert.strictEqual(address(privateNetworks, lb, xff("203.0.113.7")), "203.0.113.7")
    assert.strictEqual(address(privateNetworks, lb, xff("6.6.6.6, 203.0.113.7")), "203.0.113.7")
    assert.strictEqual(address(privateNetworks, lb, xff("<script>, 203.0.113.7, 10.0.0.3")), "203.0.113.7")
  })

  it("C88 fails closed when an entry that is needed is no address", () => {
    assert.strictEqual(failure(privateNetworks, lb, xff("203.0.113.7, garbage")), "X-Forwarded-For")
    assert.strictEqual(failure(privateNetworks, lb, xff("garbage, 10.0.0.3")), "X-Forwarded-For")
  })

  it("B30 folds several lines in order", () => {
    assert.strictEqual(address(privateNetworks, lb, xff("6.6.6.6", "203.0.113.7", "10.0.0.3, 10.0.0.4")), "203.0.113.7")
  })

  it("when all are trusted, the leftmost is the client", () => {
    assert.strictEqual(address(privateNetworks, lb, xff("10.1.1.1, 10.2.2.2")), "10.1.1.1")
    assert.strictEqual(address(privateNetworks, lb, Fields.empty), lb)
  })

  it("B32 B37 peers and entries are in canonical spelling: no zone, no IPv4-mapped IPv6", () => {
    assert.strictEqual(address(TrustedPeers.none, "::ffff:192.0.2.1", Fields.empty), "192.0.2.1")
    assert.strictEqual(address(TrustedPeers.none, "fe80::1%eth0", Fields.empty), "fe80::1")
    assert.strictEqual(address(privateNetworks, "::ffff:10.0.0.1", xff("203.0.113.7")), "203.0.113.7")
    assert.strictEqual(
      address(privateNetworks, "fe80::1%eth0", xff("::ffff:203.0.113.7, ::ffff:10.1.1.1")),
      "203.0.113.7"
    )
    assert.strictEqual(address(privateNetworks, "::1", xff("[2001:DB8::7]:4711")), "2001:db8::7")
  })

  it("a client whose proxy hides it has no address", () => {
    assert.isUndefined(address(privateNetworks, lb, xff("unknown")))
    assert.isUndefined(address(privateNetworks, lb, xff("203.0.113.7, unknown")))
  })

  it("B33 a Unix socket has no address and is trusted only by name", () => {
    assert.isUndefined(address(privateNetworks, undefined, xff("203.0.113.7")))
    assert.isUndefined(address(privateNetworks, "", xff("203.0.113.7")))
    assert.strictEqual(address(TrustedPeers.networks(["unix"]), undefined, xff("203.0.113.7")), "203.0.113.7")
  })

  it("hops count from the right, whoever the peer is", () => {
    const fields = xff("6.6.6.6, 203.0.113.7, 192.0.2.1")
    assert.strictEqual(address(TrustedPeers.hops(1), "198.51.100.1", fields), "192.0.2.1")
    assert.strictEqual(address(TrustedPeers.hops(2), "198.51.100.1", fields), "203.0.113.7")
    assert.strictEqual(address(TrustedPeers.hops(2), undefined, fields), "203.0.113.7")
    assert.strictEqual(address(TrustedPeers.hops(4), "198.51.100.1", fields), "198.51.100.1")
    assert.strictEqual(failure(TrustedPeers.hops(2), "198.51.100.1", xff("x y, 192.0.2.1")), "X-Forwarded-For")
    const trusted = TrustedPeers.hops(2, { source: "Forwarded" })
    assert.strictEqual(
      address(trusted, "198.51.100.1", ["Forwarded", "for=1.1.1.1,for=2.2.2.2,for=3.3.3.3"]),
      "2.2.2.2"
    )
  })

  it("refuses nonsense where it is declared", () => {
    for (const entry of ["10.0.0.0/33", "10.0.0.1/8", "localhost", "", "privat", "10.0.0.0/"]) {
      assert.throws(() => TrustedPeers.networks([entry]), RangeError, JSON.stringify(entry))
    }
    for (const count of [0, -1, 1.5, NaN, Infinity]) {
      assert.throws(() => TrustedPeers.hops(count), RangeError, "hops must be")
    }
  })

  it("the names of sets that it has inherited are no networks", () => {
    assert.throws(() => TrustedPeers.networks(["toString"]), RangeError)
  })

  it("knows the networks as IpNetwork does", () => {
    const v4 = fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 }), fc.ipV4())
    const v6 = fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 128 }), fc.ipV6())
    const near = ([network, length, other]: readonly [string, number, string]) => {
      const parsed = networkOf(network, length)
      return [parsed, fc.sample(fc.constantFrom(network, other), 1)[0]] as const
    }
    fc.assert(fc.property(fc.oneof(v4, v6).map(near), ([network, text]) => {
      const canonical = clientOf(TrustedPeers.none, text, Fields.empty).address!
      const expected = IpNetwork.contains(network, networkOf(canonical, canonical.includes(":") ? 128 : 32).address)
      assert.strictEqual(TrustedPeers.networks([network]).peer(text).trusted, expected)
    }))
  })

  it("an IPv4-mapped network is an IPv4 network", () => {
    assert.isTrue(TrustedPeers.networks(["::ffff:10.0.0.0/104"]).peer("10.9.9.9").trusted)
    assert.isFalse(TrustedPeers.networks(["::ffff:10.0.0.0/104"]).peer("11.9.9.9").trusted)
  })

  it("forgets peers when there are too many", () => {
    for (let i = 0; i < 10_000; i++) {
      assert.strictEqual(privateNetworks.peer(`10.1.${i >> 8}.${i & 255}`).trusted, true)
    }
  })
})

const networkOf = (text: string, length: number) => {
  const bits = text.includes(":") ? 128 : 32
  const address = IpNetwork.fromStringUnsafe(`${text}/${bits}`).address
  return IpNetwork.fromAddressUnsafe(address, length)
}

describe("TrustedPeers.header", () => {
  const cdn = TrustedPeers.header("CF-Connecting-IP", ["10.0.0.0/8"])
  const fields = Fields.make(
    ["CF-Connecting-IP", "203.0.113.7"],
    ["X-Forwarded-For", "6.6.6.6"],
    ["X-Forwarded-Proto", "https"],
    ["X-Forwarded-Host", "evil.test"],
    ["Forwarded", "for=6.6.6.6"]
  )

  it("C103 the client is who the one field of a trusted peer says", () => {
    assert.deepStrictEqual(clientOf(cdn, lb, fields), { address: "203.0.113.7", proto: undefined, host: undefined })
    assert.strictEqual(address(cdn, "198.51.100.4", fields), "198.51.100.4")
    assert.strictEqual(address(cdn, lb, xff("6.6.6.6")), lb)
    assert.strictEqual(address(cdn, lb, ["cf-connecting-ip", "::ffff:203.0.113.7"]), "203.0.113.7")
  })

  for (
    const lines of [
      ["203.0.113.7, 6.6.6.6"],
      ["203.0.113.7", "203.0.113.7"],
      ["unknown"],
      ["_hidden"],
      ["evil.test"],
      [""]
    ]
  ) {
    it(`C103 ${lines.join(" and ") || "an empty value"} is a failure`, () => {
      const several = Fields.make(...lines.map((line) => ["CF-Connecting-IP", line] as const))
      assert.strictEqual(failure(cdn, lb, several), "cf-connecting-ip")
      assert.strictEqual(address(cdn, "198.51.100.4", several), "198.51.100.4")
    })
  }

  it("C103 an upstream hears of client and peer, and of nothing that the client made up", () => {
    const forged = Fields.make(
      ["CF_Connecting_IP", "6.6.6.6"],
      ["X-Real-IP", "6.6.6.6"],
      ["Accept", "*/*"]
    )
    const all = [...fields, ...forged]
    const connection = { peer: lb, tls: true, host: "shop.test" }
    const trusted = TrustedPeers.outgoing(cdn)(connection, all)
    assert.deepStrictEqual(Fields.filter(all, (name) => !trusted.drop(name)), [
      "CF-Connecting-IP",
      "203.0.113.7",
      "Accept",
      "*/*"
    ])
    assert.deepStrictEqual(trusted.set, [
      "X-Forwarded-For",
      `203.0.113.7, ${lb}`,
      "X-Forwarded-Proto",
      "https",
      "X-Forwarded-Host",
      "shop.test"
    ])
    const direct = TrustedPeers.outgoing(cdn)({ ...connection, peer: "198.51.100.4" }, all)
    assert.deepStrictEqual(Fields.filter(all, (name) => !direct.drop(name)), ["Accept", "*/*"])
    assert.strictEqual(Fields.get(direct.set, "x-forwarded-for"), "198.51.100.4")
  })

  it("C103 X-Real-IP can be that field", () => {
    const real = TrustedPeers.header("X-Real-IP", ["10.0.0.1"])
    assert.strictEqual(address(real, lb, ["X-Real-IP", "203.0.113.7"]), "203.0.113.7")
    const { drop } = TrustedPeers.outgoing(real)({ peer: lb, tls: false, host: undefined }, Fields.empty)
    assert.deepStrictEqual([drop("x-real-ip"), drop("x_real_ip"), drop("x-forwarded-for")], [false, true, true])
  })

  it("C103 refuses names and networks that are none", () => {
    for (const name of ["", "no name", "Forwarded", "X-Forwarded-For"]) {
      assert.throws(() => TrustedPeers.header(name, ["private"]), TypeError, "header")
    }
    assert.throws(() => TrustedPeers.header("X-Real-IP", ["nowhere"]), RangeError, "nowhere")
  })
})

describe("TrustedPeers.outgoing", () => {
  const forged = Fields.make(
    ["X-Forwarded-For", "1.1.1.1"],
    ["X-Forwarded-Proto", "https"],
    ["X-Forwarded-Host", "evil.test"],
    ["X-Real-IP", "1.1.1.1"],
    ["Forwarded", "for=1.1.1.1"],
    ["X_Forwarded_For", "1.1.1.1"],
    ["Accept", "text/html"]
  )

  /** What the upstream sees. */
  const sent = (
    trusted: TrustedPeers.TrustedPeers,
    connection: Partial<TrustedPeers.Connection>,
    fields: Fields.Fields,
    options?: TrustedPeers.OutgoingOptions
  ) => {
    const { drop, set } = TrustedPeers.outgoing(trusted, options)(
      { peer: lb, tls: false, host: "shop.test", ...connection },
      fields
    )
    const merged = Fields.merge({ client: Fields.filter(fields, (name) => !drop(name)), proxy: set, config: [] })
    return Object.fromEntries(
      Array.from({ length: merged.length / 2 }, (_, i) => [merged[2 * i].toLowerCase(), merged[2 * i + 1]])
    )
  }

  it("B28 what an untrusted peer says is removed or overwritten", () => {
    assert.deepStrictEqual(sent(TrustedPeers.none, { peer: "203.0.113.9" }, forged), {
      accept: "text/html",
      "x-forwarded-for": "203.0.113.9",
      "x-forwarded-proto": "http",
      "x-forwarded-host": "shop.test"
    })
  })

  it("B29 what a trusted peer says is kept, and it is appended", () => {
    const fields = Fields.make(
      ["X-Forwarded-For", "203.0.113.7"],
      ["X-Forwarded-Proto", "https"],
      ["X-Forwarded-Host", "shop.example"],
      ["X-Forwarded-Prefix", "/shop"]
    )
    assert.deepStrictEqual(sent(privateNetworks, {}, fields), {
      "x-forwarded-prefix": "/shop",
      "x-forwarded-for": "203.0.113.7, 10.0.0.1",
      "x-forwarded-proto": "https",
      "x-forwarded-host": "shop.example"
    })
    assert.deepStrictEqual(sent(privateNetworks, { tls: true }, Fields.empty), {
      "x-forwarded-for": "10.0.0.1",
      "x-forwarded-proto": "https",
      "x-forwarded-host": "shop.test"
    })
  })

  it("B30 several lines become one, in order", () => {
    assert.strictEqual(
      sent(privateNetworks, {}, xff("1.1.1.1", "2.2.2.2"))["x-forwarded-for"],
      "1.1.1.1, 2.2.2.2, 10.0.0.1"
    )
  })

  it("B31 switched off, none reaches the upstream", () => {
    assert.deepStrictEqual(sent(privateNetworks, {}, forged, { xForwarded: false }), { accept: "text/html" })
    assert.deepStrictEqual(sent(TrustedPeers.none, {}, forged, { xForwarded: false }), { accept: "text/html" })
  })

  it("B32 an IPv6 peer is bare and without zone in X-Forwarded-For, quoted in Forwarded", () => {
    const fields = sent(TrustedPeers.none, { peer: "fe80::1%eth0", port: 4711 }, [], { forwarded: true })
    assert.strictEqual(fields["x-forwarded-for"], "fe80::1")
    assert.strictEqual(fields["forwarded"], `for="[fe80::1]:4711";host=shop.test;proto=http`)
  })

  it("B33 a Unix socket adds no address", () => {
    assert.notProperty(sent(TrustedPeers.none, { peer: undefined }, forged), "x-forwarded-for")
    const unix = TrustedPeers.networks(["unix"])
    assert.strictEqual(sent(unix, { peer: undefined }, xff("203.0.113.7"))["x-forwarded-for"], "203.0.113.7")
    assert.strictEqual(
      sent(unix, { peer: undefined }, [], { forwarded: true })["forwarded"],
      "for=unknown;host=shop.test;proto=http"
    )
  })

  it("B34 a peer that can't be read: everything is removed, nothing is set", () => {
    assert.deepStrictEqual(sent(privateNetworks, { peer: "not an address" }, forged), { accept: "text/html" })
  })

  it("B35 underscores are dropped, whoever sends them", () => {
    const fields = Fields.make(["X_Forwarded_For", "1.1.1.1"], ["X-Forwarded_Proto", "https"], ["x_real_ip", "1.1.1.1"])
    for (const trusted of [TrustedPeers.none, privateNetworks, TrustedPeers.hops(1)]) {
      assert.sameMembers(Object.keys(sent(trusted, {}, fields)), [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host"
      ])
    }
  })

  it("B36 X-Forwarded-Host is the original Host, X-Forwarded-Proto is https with TLS only", () => {
    const fields = sent(TrustedPeers.none, { tls: true, host: "shop.test:8443" }, [])
    assert.strictEqual(fields["x-forwarded-host"], "shop.test:8443")
    assert.strictEqual(fields["x-forwarded-proto"], "https")
    assert.notProperty(sent(TrustedPeers.none, { host: undefined }, []), "x-forwarded-host")
  })

  it("B37 an IPv4-mapped peer is an IPv4 peer", () => {
    assert.strictEqual(sent(TrustedPeers.none, { peer: "::ffff:192.0.2.1" }, [])["x-forwarded-for"], "192.0.2.1")
  })

  it("B38 Forwarded is appended as one element", () => {
    const by: Forwarded.Node = { _tag: "Obfuscated", identifier: "_edge", port: undefined }
    const trusted = TrustedPeers.networks(["private"], { source: "Forwarded" })
    assert.deepStrictEqual(
      sent(trusted, { tls: true, host: "shop.test:8443" }, ["Forwarded", "for=203.0.113.7;proto=http"], {
        xForwarded: false,
        forwarded: { by }
      }),
      { forwarded: `for=203.0.113.7;proto=http, for=10.0.0.1;by=_edge;host="shop.test:8443";proto=https` }
    )
  })

  it("B38 a Forwarded with an open quote does not swallow what is added", () => {
    const trusted = TrustedPeers.networks(["private"], { source: "Forwarded" })
    const fields = sent(trusted, {}, ["Forwarded", "for=\"1.1.1.1"], { xForwarded: false, forwarded: true })
    assert.strictEqual(fields["forwarded"], "for=10.0.0.1;host=shop.test;proto=http")
  })

  it("B38 a host that is none is not told in Forwarded", () => {
    const fields = sent(TrustedPeers.none, { host: "a\"b" }, [], { forwarded: true })
    assert.strictEqual(fields["forwarded"], "for=10.0.0.1;proto=http")
  })

  it("the family that trusted peers don't write is dropped, and made from the other one", () => {
    const forwarded = TrustedPeers.networks(["private"], { source: "Forwarded" })
    const fields = Fields.make(
      ["X-Forwarded-For", "6.6.6.6"],
      ["X-Real-IP", "6.6.6.6"],
      ["Forwarded", "for=203.0.113.7;proto=https;host=shop.example"]
    )
    assert.deepStrictEqual(sent(forwarded, {}, fields), {
      forwarded: "for=203.0.113.7;proto=https;host=shop.example",
      "x-forwarded-for": "203.0.113.7, 10.0.0.1",
      "x-forwarded-proto": "https",
      "x-forwarded-host": "shop.example"
    })
    assert.strictEqual(sent(forwarded, {}, xff("6.6.6.6"))["x-forwarded-for"], lb)

    const written = Fields.make(
      ["X-Forwarded-For", "203.0.113.7"],
      ["X-Forwarded-Proto", "https"],
      ["Forwarded", "for=6.6.6.6"]
    )
    assert.strictEqual(
      sent(privateNetworks, {}, written, { forwarded: true })["forwarded"],
      "for=203.0.113.7;proto=https, for=10.0.0.1;host=shop.test;proto=http"
    )
    assert.notProperty(sent(privateNetworks, {}, written), "forwarded")
  })

  it("what goes out is read back as the same client", () => {
    const chain = fc.array(fc.oneof(fc.ipV4(), fc.ipV6()), { minLength: 1, maxLength: 4 })
    fc.assert(fc.property(chain, fc.constantFrom(lb, "::1"), (addresses, peer) => {
      const fields = xff(addresses.join(", "))
      const client = clientOf(privateNetworks, peer, fields)
      const next = sent(privateNetworks, { peer }, fields, { forwarded: true })
      assert.strictEqual(address(privateNetworks, "10.9.9.9", Object.entries(next).flat()), client.address)
    }))
  })
})

describe("ClientAddress", () => {
  const request = (peer: string, headers: Record<string, string>) =>
    HttpServerRequest.fromWeb(new Request("http://shop.test/", { headers })).modify({
      remoteAddress: Option.some(peer)
    })

  it.effect("C103 is the peer by default, and the client behind trusted peers", () =>
    Effect.gen(function*() {
      const program = Effect.provideService(
        ClientAddress.fromRequest,
        HttpServerRequest.HttpServerRequest,
        request(lb, { "x-forwarded-for": "203.0.113.7" })
      )
      assert.strictEqual((yield* program).address, lb)
      assert.strictEqual((yield* Effect.provide(program, TrustedPeers.layer(privateNetworks))).address, "203.0.113.7")
    }))

  it.effect("C88 fails when a trusted peer's field can't be read", () =>
    Effect.gen(function*() {
      const error = yield* ClientAddress.fromRequest.pipe(
        Effect.provideService(HttpServerRequest.HttpServerRequest, request(lb, { "x-forwarded-for": "garbage" })),
        Effect.provide(TrustedPeers.layer(privateNetworks)),
        Effect.flip
      )
      assert.strictEqual(error._tag, "InvalidForwarded")
    }))
})
