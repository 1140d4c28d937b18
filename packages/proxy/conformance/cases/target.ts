import * as Effect from "effect/Effect"
import { asked, type Case, check, define, describe, exchange, get, lines, ok, outcome, raw, same } from "../Case.ts"

/** A target that reaches the upstream byte for byte. */
const kept = (number: string, target: string): Case =>
  define(number, `${target} is kept byte for byte`, function*(context) {
    yield* same("the target upstream", (yield* exchange(context, get(target))).seen.target, target)
  })

/** A request that is refused with one of these, and does not reach the upstream. */
const refused = (number: string, title: string, request: string, statuses: ReadonlyArray<number> = [400]): Case =>
  define(number, title, function*(context) {
    const client = yield* context.connect
    yield* client.send(request)
    const found = yield* outcome(context, client)
    yield* check(found._tag === "Answered" && statuses.includes(found.got.status), describe(found))
    yield* same("bytes to the upstream", yield* context.received, 0)
  })

/** A target that is refused, or reaches the upstream as one of these. */
const keptOrRefused = (number: string, target: string, accepted: ReadonlyArray<string>): Case =>
  define(number, `${target} is ${accepted.join(" or ")} upstream, or refused`, function*(context) {
    const client = yield* context.connect
    yield* client.send(get(target))
    const found = yield* outcome(context, client)
    if (found._tag === "Asked") return yield* check(accepted.includes(found.seen.target), describe(found))
    yield* check(found._tag === "Answered" && found.got.status === 400, describe(found))
  })

/** B4: targets and Host. */
export const target: ReadonlyArray<Case> = [
  kept("B49", "/a%2Fb/%e2%9C%93/%7e"),
  kept("B50", "//evil/x"),
  kept("B51", "/a//b///c"),
  keptOrRefused("B52", "/a/../b", ["/a/../b"]),
  keptOrRefused("B52", "/a/%2e%2e/b", ["/a/%2e%2e/b"]),
  kept("B53", "/?a=1;b=2"),
  kept("B53", "/?a=%zz"),
  kept("B53", "/?"),
  kept("B53", "/?a+b=c%20d&a=%2B"),
  define("B56", "the authority of an absolute target wins over Host", function*(context) {
    const { seen } = yield* exchange(context, get("http://other.test/x?y"))
    yield* same("the target upstream", seen.target, "/x?y")
    yield* same("the number of Hosts upstream", lines(seen, "host").length, 1)
    yield* check(seen.get("host") !== "shop.test", "the upstream got the Host that the target overrules")
  }),
  define("B57", "OPTIONS * stays *", function*(context) {
    yield* same("the target upstream", (yield* exchange(context, raw("OPTIONS *"))).seen.target, "*")
  }),
  refused("B58", "GET * is refused", get("*")),
  keptOrRefused("B59", "/a#b", ["/a"]),
  refused("B60", "CONNECT is refused", "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n", [
    400,
    403,
    405,
    501
  ]),
  define("B61", "TRACE does not echo secrets", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("TRACE /", ["Authorization: Basic c2VjcmV0", "Cookie: secret=1"]))
    const found = yield* outcome(context, client)
    if (found._tag === "Answered") return yield* check(!/secret|c2VjcmV0/.test(found.got.text), "secrets were echoed")
    yield* check(found._tag === "Asked" && found.seen.framing === "None", describe(found))
  }),
  refused("B62", "HTTP/1.1 without Host is refused", "GET / HTTP/1.1\r\n\r\n"),
  refused("B63", "two Hosts are refused", get("/", "Host: other.test")),
  ...["shop.test/path", "user@shop.test", "a.test,b.test", "a b"].map((host) =>
    refused("B64", `Host: ${host} is refused`, `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
  ),
  define("B65", "HTTP/1.0 without Host is served", function*(context) {
    const client = yield* context.connect
    yield* client.send("GET / HTTP/1.0\r\n\r\n")
    const { origin } = yield* asked(context, client)
    yield* origin.send(ok)
    yield* same("the status", (yield* client.response()).status, 200)
  }),
  ...["shop.test", "shop.test:80", "[::1]:8080"].map((host) =>
    define("B66", `Host: ${host} is kept, or the upstream's own is sent`, function*(context) {
      const client = yield* context.connect
      yield* client.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
      const { origin, seen } = yield* asked(context, client)
      const own = `127.0.0.1:${origin.socket.localPort}`
      const sent = lines(seen, "host")
      yield* check(
        sent.length === 1 && [host, host.replace(/:80$/, ""), own].includes(sent[0]),
        `Host is ${sent.join()}`
      )
    })
  ),
  define("B67", "PROPFIND passes, or is refused cleanly", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("PROPFIND /"))
    const found = yield* outcome(context, client)
    if (found._tag === "Asked") return yield* same("the method upstream", found.seen.method, "PROPFIND")
    yield* check(found._tag === "Answered" && [400, 405, 501].includes(found.got.status), describe(found))
  }),
  define("B68", "a method in lower case stays so, or is refused", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("get /"))
    const found = yield* outcome(context, client)
    if (found._tag === "Asked") return yield* same("the method upstream", found.seen.method, "get")
    yield* check(found._tag === "Answered" && [400, 405, 501].includes(found.got.status), describe(found))
  }),
  refused("B69", "HTTP/2.0 is refused", "GET / HTTP/2.0\r\nHost: shop.test\r\n\r\n", [400, 505]),
  define("B70", "HTTP/1.2 is taken as HTTP/1.1, or refused", function*(context) {
    const client = yield* context.connect
    yield* client.send("GET / HTTP/1.2\r\nHost: shop.test\r\n\r\n")
    const found = yield* outcome(context, client)
    if (found._tag === "Asked") return yield* check(["1.0", "1.1"].includes(found.seen.version), describe(found))
    yield* check(found._tag === "Answered" && [400, 505].includes(found.got.status), describe(found))
  }),
  define("B71", "the preface of HTTP/2 is answered in kind, or refused", function*(context) {
    const client = yield* context.connect
    yield* client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
    // Only frames have such bytes.
    const inKind = Effect.as(Effect.ignore(client.read("\0")), true)
    const refused = Effect.map(outcome(context, client), ({ _tag }) => _tag !== "Asked")
    yield* check(yield* Effect.raceFirst(inKind, refused), "the upstream got it")
    yield* same("bytes to the upstream", yield* context.received, 0)
  }),
  define("B72", "a target of 1 MiB is refused, or comes whole", function*(context) {
    const client = yield* context.connect
    yield* Effect.ignore(client.send(get(`/${"a".repeat(1024 * 1024)}`)))
    const found = yield* outcome(context, client)
    if (found._tag === "Asked") return yield* same("the length upstream", found.seen.target.length, 1024 * 1024 + 1)
    if (found._tag === "Answered") yield* check([400, 414, 431].includes(found.got.status), describe(found))
  })
]
