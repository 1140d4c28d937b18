import type { RawConnection } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import type { Context, Outcome, Problem } from "../Case.ts"
import { asked, type Case, check, chunks, define, describe, get, lines, ok, outcome, post, raw, same } from "../Case.ts"

/** What follows a request that must be refused, and must not be executed. */
const smuggled = get("/smuggled")

/** The request is refused, the connection ends after the response, and the upstream sees nothing. */
const refusal = Effect.fnUntraced(function*(
  context: Context,
  client: RawConnection.RawConnection,
  found: Outcome,
  statuses: ReadonlyArray<number>
) {
  yield* check(found._tag === "Answered" && statuses.includes(found.got.status), describe(found))
  const { unread } = yield* client.ended
  yield* check(unread === "", `a second response came: ${JSON.stringify(unread.slice(0, 60))}`)
  yield* same("bytes to the upstream", yield* context.received, 0)
})

const refuses = Effect.fnUntraced(function*(context: Context, request: string, statuses: ReadonlyArray<number>) {
  const client = yield* context.connect
  yield* client.send(request + smuggled)
  yield* refusal(context, client, yield* outcome(context, client), statuses)
})

/** What RFC 9112 lets a recipient make of a request that it may also refuse. */
type Repaired = (seen: RawConnection.RawRequest) => Effect.Effect<unknown, Problem>

/** A request that is refused, or repaired in the one way that leaves no doubt. */
const refusedOrRepaired = (number: string, title: string, request: string, repaired: Repaired): Case =>
  define(number, `${title} is refused or repaired`, function*(context) {
    const client = yield* context.connect
    yield* client.send(request + smuggled)
    const found = yield* outcome(context, client)
    if (found._tag === "Asked") return yield* repaired(found.seen)
    yield* refusal(context, client, found, [400, 501])
  })

/** The body is `abc`, in one framing. */
const framedOnce: Repaired = Effect.fnUntraced(function*(seen) {
  yield* same("the body upstream", seen.text, "abc")
  const framings = [...lines(seen, "content-length"), ...lines(seen, "transfer-encoding")]
  yield* same("the number of framing fields upstream", framings.length, 1)
})

/** X-A is one of these. */
const fieldIs = (...values: ReadonlyArray<string>): Repaired => (seen) =>
  check(values.includes(lines(seen, "x-a")[0]), `X-A upstream is ${JSON.stringify(lines(seen, "x-a"))}`)

/** A request with these fields is refused. */
const refused = (
  number: string,
  title: string,
  fields: ReadonlyArray<string>,
  body: string = chunks,
  statuses: ReadonlyArray<number> = [400]
): Case => ({ number, title, run: (context) => refuses(context, raw("POST /", fields, body), statuses) })

/** A chunked body that is malformed; the upstream may see the request begin, but never a whole one. */
const badChunks = (number: string, title: string, body: string): Case =>
  define(number, title, function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], body) + smuggled)
    const found = yield* outcome(context, client)
    if (found._tag === "Answered") yield* same("the status", found.got.status, 400)
    yield* check(found._tag !== "Asked", describe(found))
    const { unread } = yield* client.ended
    yield* check(unread === "", `a second response came: ${JSON.stringify(unread.slice(0, 60))}`)
  })

/** Requests that may be refused; when they pass, their body is `abc` in one framing. */
const refusedOrFramed = (number: string, title: string, fields: ReadonlyArray<string>): Case =>
  define(number, title, function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", fields, "abc"))
    const found = yield* outcome(context, client)
    if (found._tag === "Answered") return yield* same("the status", found.got.status, 400)
    if (found._tag === "Closed") return yield* check(false, describe(found))
    yield* same("Content-Length upstream", lines(found.seen, "content-length").map(Number), [3])
    yield* same("the body upstream", found.seen.text, "abc")
  })

const lengths = ["+3", "-1", "0x3", "3 3", "", "99999999999999999999", "3, 3", "3;", "abc"]
const codings = ["xchunked", "identity", "chunked, gzip", "chunked, chunked", "\x0bchunked", "", "chunked\x0b"]

const separate: ReadonlyArray<Case> = [
  refusedOrRepaired(
    "B92",
    "Content-Length and Transfer-Encoding",
    raw("POST /", ["Content-Length: 3", "Transfer-Encoding: chunked"], chunks),
    framedOnce
  ),
  refusedOrRepaired(
    "B93",
    "Transfer-Encoding and Content-Length",
    raw("POST /", ["Transfer-Encoding: chunked", "Content-Length: 3"], chunks),
    framedOnce
  ),
  refused("B94", "two Content-Lengths that differ", ["Content-Length: 3", "Content-Length: 4"], "abc"),
  refusedOrFramed("B95", "two equal Content-Lengths are refused or become one", [
    "Content-Length: 3",
    "Content-Length: 3"
  ]),
  refusedOrFramed("B96", "Content-Length: 3, 3 is refused or becomes one", ["Content-Length: 3, 3"]),
  ...lengths.filter((length) => length !== "3, 3").map((length) =>
    refused("B97", `Content-Length: ${length || "(empty)"}`, [`Content-Length: ${length}`], "abc")
  ),
  refusedOrFramed("B98", "Content-Length: 03 is refused, or means 3", ["Content-Length: 03"]),
  ...codings.map((coding) =>
    refused(
      "B99",
      `Transfer-Encoding: ${JSON.stringify(coding).slice(1, -1) || "(empty)"}`,
      [`Transfer-Encoding: ${coding}`],
      chunks,
      [400, 501]
    )
  ),
  refused("B100", "Transfer-Encoding: gzip, chunked", ["Transfer-Encoding: gzip, chunked"], chunks, [501, 400, 422]),
  define(
    "B101",
    "Transfer-Encoding over HTTP/1.0 is refused, or the connection ends with the request",
    function*(context) {
      const client = yield* context.connect
      yield* client.send(`POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}${smuggled}`)
      const found = yield* outcome(context, client)
      if (found._tag !== "Asked") return yield* refusal(context, client, found, [400, 501])
      yield* framedOnce(found.seen)
      yield* found.origin.send(ok)
      const { unread } = yield* client.ended
      yield* check(unread.endsWith("\r\n\r\nok"), `the client got ${JSON.stringify(unread)}`)
      const next = yield* context.connect
      yield* next.send(get("/next"))
      yield* same("the next target upstream", (yield* asked(context, next)).seen.target, "/next")
    }
  ),
  refused("B102", "Transfer-Encoding twice", ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], chunks, [
    400,
    501
  ]),
  refused(
    "B102",
    "Transfer-Encoding: chunked twice",
    ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    chunks,
    [
      400,
      501
    ]
  )
]

const malformed: ReadonlyArray<Case> = [
  refused("B103", "a space before the colon of Content-Length", ["Content-Length : 3"], "abc"),
  refused("B103", "a space before the colon of Transfer-Encoding", ["Transfer-Encoding : chunked"]),
  refusedOrRepaired("B104", "a folded Content-Length", raw("POST /", ["Content-Length:", " 3"], "abc"), framedOnce),
  refusedOrRepaired(
    "B104",
    "a folded Transfer-Encoding",
    raw("POST /", ["Transfer-Encoding:", "\tchunked"], chunks),
    framedOnce
  ),
  refusedOrRepaired("B104", "a folded field", get("/", "X-A: 1", " 2"), fieldIs("1 2", "1  2", "1   2", "1    2")),
  refusedOrRepaired(
    "B105",
    "a first field that begins with white space",
    "GET / HTTP/1.1\r\n X-A: 1\r\nHost: shop.test\r\n\r\n",
    (seen) => check(!seen.fields.some((text) => /x-a/i.test(text)), "the field was relayed")
  ),
  refusedOrRepaired(
    "B106",
    "bare LF after a field",
    "GET / HTTP/1.1\r\nHost: shop.test\nX-A: 1\r\n\r\n",
    fieldIs("1")
  ),
  refusedOrRepaired(
    "B106",
    "bare CR in a field",
    "GET / HTTP/1.1\r\nHost: shop.test\r\nX-A: 1\rX-B: 2\r\n\r\n",
    fieldIs("1 X-B: 2")
  ),
  refusedOrRepaired("B107", "NUL in a field value", get("/", "X-A: a\0b"), fieldIs("a b")),
  refused("B108", "a field without a colon", ["X-A"], ""),
  refused("B108", "a field without a name", [": 1"], ""),
  refused("B108", "a space in a field name", ["X A: 1"], ""),
  refused("B108", "a field name outside of ASCII", ["X-\xe9: 1"], ""),
  ...["0x3", "3_0", "+3", "-3", "fffffffffffffffff", "", "g"].map((size) =>
    badChunks("B110", `chunk size ${size || "(empty)"}`, `${size}\r\nabc\r\n0\r\n\r\n`)
  ),
  badChunks("B111", "a chunk line that ends in LF", "3\nabc\r\n0\r\n\r\n"),
  badChunks("B111", "a chunk longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
  badChunks("B111", "a chunk without its CRLF", "3\r\nabc0\r\n\r\n"),
  badChunks("B111", "bare CR in a chunk extension", "3;a\rb\r\nabc\r\n0\r\n\r\n")
]

const sequences: ReadonlyArray<Case> = [
  define("B109", "underscores do not frame a request", function*(context) {
    const fields = ["Content_Length: 9", "Transfer_Encoding: chunked", "Content-Length: 3"]
    const client = yield* context.connect
    yield* client.send(raw("POST /", fields, "abc"))
    const found = yield* outcome(context, client)
    if (found._tag === "Answered") return yield* same("the status", found.got.status, 400)
    if (found._tag === "Closed") return yield* check(false, describe(found))
    yield* same("the body upstream", found.seen.text, "abc")
    yield* same("Content-Length upstream", lines(found.seen, "content-length").join(), "3")
  }),
  define("B112", "trailers do not frame, route or authorize a request", function*(context) {
    const fields = ["Content-Length: 9", "Transfer-Encoding: x", "Host: evil.test", "Authorization: evil"]
    const body = `3\r\nabc\r\n0\r\n${fields.join("\r\n")}\r\n\r\n`
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], body))
    const found = yield* outcome(context, client)
    if (found._tag === "Answered") return yield* same("the status", found.got.status, 400)
    if (found._tag === "Closed") return
    yield* same("the body upstream", found.seen.text, "abc")
    yield* same("Authorization upstream", lines(found.seen, "authorization"), [])
    yield* same("the trailers upstream", found.seen.trailers, [])
    yield* check(lines(found.seen, "host").join() !== "evil.test", "Host was taken from the trailers")
  }),
  define("B113", "what follows a refused request is not executed", function*(context) {
    const client = yield* context.connect
    yield* client.send(post("/", "abc", "Content-Length: 4") + smuggled)
    yield* client.response()
    const { unread } = yield* client.ended
    yield* same("what follows the response", unread, "")
    yield* same("bytes to the upstream", yield* context.received, 0)
  }),
  define("B114", "two pipelined requests are answered in order", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/one") + get("/two"))
    for (const _ of ["first", "second"]) {
      const { origin, seen } = yield* context.nextRequest
      yield* origin.send(`HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n${seen.target}`)
    }
    yield* same("the first response", (yield* client.response()).text, "/one")
    yield* same("the second response", (yield* client.response()).text, "/two")
  }),
  define("B115", "Expect with a body that does not wait is one request", function*(context) {
    const client = yield* context.connect
    yield* client.send(post("/", smuggled, "Expect: 100-continue"))
    const { origin, seen } = yield* asked(context, client)
    yield* same("the target upstream", seen.target, "/")
    yield* same("the body upstream", seen.text, smuggled)
    yield* origin.send(ok)
    yield* same("the status", (yield* client.response()).status, 200)
    yield* client.end
    yield* same("what follows the response", (yield* client.ended).unread, "")
  }),
  define("B116", "a refused request whose body is not read ends the connection", function*(context) {
    const client = yield* context.connect
    yield* client.send(`POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n${smuggled}`)
    yield* same("the status", (yield* client.response()).status, 400)
    const { unread } = yield* client.ended
    yield* same("what follows the response", unread, "")
    yield* same("bytes to the upstream", yield* context.received, 0)
  })
]

/** B6: what must not be smuggled. */
export const smuggling: ReadonlyArray<Case> = [...separate, ...malformed, ...sequences]
