import * as Effect from "effect/Effect"
import {
  ask,
  asked,
  type Case,
  check,
  define,
  describe,
  exchange,
  get,
  lines,
  ok,
  outcome,
  post,
  raw,
  same
} from "../Case.ts"

/** Fields of a request that must not reach the upstream. */
const removed = (number: string, title: string, fields: ReadonlyArray<string>, gone: ReadonlyArray<string>): Case =>
  define(number, title, function*(context) {
    const { got, seen } = yield* exchange(context, get("/", ...fields, "X-Kept: 1"))
    for (const name of gone) yield* same(`${name} upstream`, lines(seen, name), [])
    yield* same("X-Kept upstream", lines(seen, "x-kept"), ["1"])
    yield* same("the status", got.status, 200)
  })

/** Fields that say that a proxy passed the message on. */
const identity = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "via"]

/** The framing of a request whose Connection names fields that frame it. */
const framed = (field: string): Case =>
  define("B6", `Connection that names ${field} leaves the request whole`, function*(context) {
    const client = yield* context.connect
    yield* client.send(post("/", "abc", `Connection: ${field}`))
    const found = yield* outcome(context, client)
    if (found._tag === "Answered") return yield* same("the status", found.got.status, 400)
    if (found._tag === "Closed") return yield* check(false, describe(found))
    yield* same("the body upstream", found.seen.text, "abc")
    yield* same("the number of Hosts upstream", lines(found.seen, "host").length, 1)
    const framings = [...lines(found.seen, "content-length"), ...lines(found.seen, "transfer-encoding")]
    yield* same("the number of framing fields upstream", framings.length, 1)
  })

/** A field of which some clients of upstreams make a failure of the proxy. */
const harmless = (field: string): Case =>
  define("B15", `${field} is no reason for a 5xx`, function*(context) {
    const client = yield* context.connect
    yield* client.send(post("/", "abc", field))
    const found = yield* outcome(context, client)
    if (found._tag === "Answered") return yield* check(found.got.status < 500, describe(found))
    if (found._tag === "Closed") return yield* check(false, describe(found))
    yield* found.origin.send(ok)
    yield* same("the status", (yield* client.response()).status, 200)
  })

/** B1: hop-by-hop fields of requests. */
export const requestFields: ReadonlyArray<Case> = [
  removed("B1", "a field that Connection names is removed", ["Connection: close, X-Foo", "X-Foo: 1"], ["x-foo"]),
  removed("B2", "two Connection lines name different fields", [
    "Connection: X-One",
    "X-One: 1",
    "Connection: X-Two",
    "X-Two: 2"
  ], ["x-one", "x-two"]),
  removed("B3", "an empty Connection line does not hide the next", ["Connection: ", "Connection: X-Foo", "X-Foo: 1"], [
    "x-foo"
  ]),
  removed("B4", "names are compared without case, white space and empty items", [
    "Connection: ,  x-FOO\t, ,X-bar",
    "X-Foo: 1",
    "X-Bar: 2"
  ], ["x-foo", "x-bar"]),
  define("B5", "Connection cannot remove what the proxy adds", function*(context) {
    const before = yield* exchange(context, get("/"))
    const added = identity.filter((name) => before.seen.get(name) !== undefined)
    const after = yield* exchange(context, get("/", `Connection: ${identity.join(", ")}`))
    yield* same("what is added", identity.filter((name) => after.seen.get(name) !== undefined), added)
  }),
  framed("Content-Length"),
  framed("Host"),
  removed("B7", "Keep-Alive is removed", ["Keep-Alive: timeout=5"], ["keep-alive"]),
  removed("B8", "Proxy-Connection is removed", ["Proxy-Connection: keep-alive"], ["proxy-connection"]),
  removed("B9", "Proxy-Authorization and Proxy-Authenticate are removed", [
    "Proxy-Authorization: Basic eDp5",
    "Proxy-Authenticate: Basic"
  ], ["proxy-authorization", "proxy-authenticate"]),
  removed("B10", "TE: gzip is removed", ["TE: gzip"], ["te"]),
  define("B11", "of TE only trailers is left", function*(context) {
    const { seen } = yield* exchange(context, get("/", "TE: foo", "TE: bar, trailers", "Connection: TE"))
    yield* same("TE upstream", lines(seen, "te").join(", "), "trailers")
  }),
  removed("B12", "Upgrade without Connection: upgrade is removed", ["Upgrade: foo"], ["upgrade"]),
  removed("B13", "HTTP2-Settings is not relayed", [
    "Connection: HTTP2-Settings",
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"
  ], ["http2-settings"]),
  define("B14", "the client's Connection: close leaves a pooled upstream connection open", function*(context) {
    const client = yield* context.connect
    const first = yield* ask(context, client, get("/1"))
    const second = yield* ask(context, client, get("/2"))
    const pools = first.origin === second.origin
    const last = yield* ask(context, client, get("/3", "Connection: close"))
    yield* client.ended
    const next = yield* exchange(context, get("/4"))
    yield* check(!pools || next.origin === last.origin, "the pooled connection was closed")
  }),
  harmless("Keep-Alive: timeout=5"),
  harmless("Expect: 100-continue"),
  harmless("Upgrade: foo"),
  harmless("Connection: foo"),
  define("B15", "a client that closes its connection is answered", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("GET /", ["Connection: close, close"]))
    const { origin } = yield* asked(context, client)
    yield* origin.send(ok)
    yield* Effect.flatMap(client.response(), ({ text }) => same("the body", text, "ok"))
    yield* client.ended
  })
]
