import * as Effect from "effect/Effect"
import type { Context } from "../Case.ts"
import { asked, type Case, check, chunks, define, describe, get, lines, ok, outcome, post, raw, same } from "../Case.ts"

/** What follows a request that must be refused, and must not be executed. */
const smuggled = get("/smuggled")

/** The request is refused, the connection ends after the response, and the upstream sees nothing. */
const refuses = Effect.fnUntraced(function*(context: Context, request: string, statuses: ReadonlyArray<number>) {
  const client = yield* context.connect
  yield* client.send(request + smuggled)
  const found = yield* outcome(context, client)
  yield* check(found._tag === "Answered" && statuses.includes(found.got.status), describe(found))
  const { unread } = yield* client.ended
  yield* check(unread === "", `a second response came: ${JSON.stringify(unread.slice(0, 60))}`)
  yield* same("bytes to the upstream", yield* context.received, 0)
})

/** A request with these fields is refused. */
const refused = (
  number: string,
  title: string,
  fields: ReadonlyArray<string>,
  body: string = chunks,
  statuses: ReadonlyArray<number> = [400]
): Case => ({ number, title, run: (context) => refuses(context, raw("POST /", fields, body), statuses) })

/** A request that is these bytes is refused. */
const refusedBytes = (number: string, title: string, request: string): Case => ({
  number,
  title,
  run: (context) => refuses(context, request, [400])
})

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
    yield* same("Content-Length upstream", lines(found.seen, "content-length"), ["3"])
    yield* same("the body upstream", found.seen.text, "abc")
  })

const lengths = ["+3", "-1", "0x3", "3 3", "", "99999999999999999999", "3, 3", "3;", "abc"]
const codings = ["xchunked", "identity", "chunked, gzip", "chunked, chunked", "\x0bchunked", "", "chunked\x0b"]

const separate: ReadonlyArray<Case> = [
  refused("B92", "Content-Length and Transfer-Encoding", ["Content-Length: 3", "Transfer-Encoding: chunked"]),
  refused("B93", "Transfer-Encoding and Content-Length", ["Transfer-Encoding: chunked", "Content-Length: 3"]),
  refused("B94", "two Content-Lengths that differ", ["Content-Length: 3", "Content-Length: 4"], "abc"),
  refusedOrFramed("B95", "two equal Content-Lengths are refused or become one", [
    "Content-Length: 3",
    "Content-Length: 3"
  ]),
  refusedOrFramed("B96", "Content-Length: 3, 3 is refused or becomes one", ["Content-Length: 3, 3"]),
  ...lengths.filter((length) => length !== "3, 3").map((length) =>
    refused("B97", `Content-Length: ${length || "(empty)"}`, [`Content-Length: ${length}`], "abc")
  ),
  refusedOrFramed("B98", "Content-Length: 03 is refused or becomes 3", ["Content-Length: 03"]),
  ...codings.map((coding) =>
    refused(
      "B99",
      `Transfer-Encoding: ${JSON.stringify(coding).slice(1, -1) || "(empty)"}`,
      [`Transfer-Encoding: ${coding}`],
      chunks,
      [400, 501]
    )
  ),
  refused("B100", "Transfer-Encoding: gzip, chunked", ["Transfer-Encoding: gzip, chunked"], chunks, [501, 400]),
  refusedBytes(
    "B101",
    "Transfer-Encoding over HTTP/1.0",
    `POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`
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
  refused("B104", "a folded Content-Length", ["Content-Length:", " 3"], "abc"),
  refused("B104", "a folded Transfer-Encoding", ["Transfer-Encoding:", "\tchunked"]),
  refused("B104", "a folded field", ["X-A: 1", " 2"], ""),
  refusedBytes(
    "B105",
    "a first field that begins with white space",
    "GET / HTTP/1.1\r\n X-A: 1\r\nHost: shop.test\r\n\r\n"
  ),
  refusedBytes("B106", "bare LF after a field", "GET / HTTP/1.1\r\nHost: shop.test\nX-A: 1\r\n\r\n"),
  refusedBytes("B106", "bare CR in a field", "GET / HTTP/1.1\r\nHost: shop.test\r\nX-A: 1\rX-B: 2\r\n\r\n"),
  refused("B107", "NUL in a field value", ["X-A: a\0b"], ""),
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
