import {
  answer,
  asked,
  type Case,
  check,
  chunks,
  define,
  describe,
  exchange,
  lines,
  ok,
  outcome,
  post,
  raw,
  same
} from "../Case.ts"

/** Fields that frame a request. */
const framing = ["content-length", "transfer-encoding"]

/** A request without a body gets none upstream. */
const bare = (method: string): Case =>
  define("B76", `${method} without a body is sent without a framing field`, function*(context) {
    const { seen } = yield* exchange(context, raw(`${method} /`), answer("204 No Content"))
    for (const name of framing) yield* same(`${name} upstream`, lines(seen, name), [])
  })

/** A chunked request whose body must arrive framed, whatever the method. */
const chunked = (number: string, method: string): Case =>
  define(number, `a chunked ${method} is framed upstream`, function*(context) {
    const { seen } = yield* exchange(context, raw(`${method} /`, ["Transfer-Encoding: chunked"], chunks))
    yield* same("the body upstream", seen.text, "abc")
    yield* same("the number of framing fields", framing.flatMap((name) => lines(seen, name)).length, 1)
  })

/** B5: request bodies. */
export const requestBodies: ReadonlyArray<Case> = [
  define("B73", "a body with a length keeps its bytes and its length", function*(context) {
    const body = "\x00\xff\r\n\r\nabc".repeat(5000)
    const { seen } = yield* exchange(context, post("/", body))
    yield* same("Content-Length upstream", lines(seen, "content-length"), [String(body.length)])
    yield* check(seen.body.toString("latin1") === body, `${seen.body.length} other bytes arrived`)
  }),
  define("B74", "a chunked body of 1 MiB arrives whole", function*(context) {
    const part = `${(65_536).toString(16)}\r\n${"x".repeat(65_536)}\r\n`
    const request = raw("POST /", ["Transfer-Encoding: chunked"], `${part.repeat(16)}0\r\n\r\n`)
    const { seen } = yield* exchange(context, request)
    yield* same("bytes upstream", seen.body.length, 1024 * 1024)
    yield* check(seen.body.every((byte) => byte === 0x78), "other bytes arrived")
  }),
  define("B75", "the first bytes reach the upstream before the last are sent", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Content-Length: 6"], "abc"))
    const origin = yield* context.origin
    yield* origin.nextRequestHead
    yield* origin.read("abc")
    yield* client.send("def")
    yield* origin.read("def")
    yield* origin.send(ok)
    yield* same("the status", (yield* client.response()).status, 200)
  }),
  ...["GET", "HEAD", "DELETE", "OPTIONS"].map(bare),
  define("B77", "Content-Length: 0 of a POST is kept", function*(context) {
    const { seen } = yield* exchange(context, post("/", ""))
    yield* same("Content-Length upstream", lines(seen, "content-length"), ["0"])
  }),
  define("B78", "a GET with a body keeps it", function*(context) {
    const { seen } = yield* exchange(context, raw("GET /", ["Content-Length: 3"], "abc"))
    yield* same("the body upstream", seen.text, "abc")
  }),
  chunked("B79", "DELETE"),
  chunked("B80", "OPTIONS"),
  chunked("B81", "GET"),
  define("B82", "Connection that names Transfer-Encoding leaves the body framed", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Connection: Transfer-Encoding", "Transfer-Encoding: chunked"], chunks))
    const found = yield* outcome(context, client)
    if (found._tag === "Answered") return yield* same("the status", found.got.status, 400)
    if (found._tag === "Closed") return yield* check(false, describe(found))
    yield* same("the body upstream", found.seen.text, "abc")
  }),
  define("B83", "a body that ends too early never looks whole upstream", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Content-Length: 10"], "abc"))
    const origin = yield* context.origin
    const head = yield* origin.nextRequestHead
    yield* origin.read("abc")
    yield* client.end
    const { unread } = yield* origin.ended
    yield* check(!unread.includes("0\r\n\r\n"), `${head.startLine} was completed`)
  }),
  define("B83", "a chunked body that ends too early never looks whole upstream", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n"))
    const origin = yield* context.origin
    const head = yield* origin.nextRequestHead
    yield* origin.read("abc")
    yield* client.end
    const { unread } = yield* origin.ended
    yield* check(!unread.includes("0\r\n\r\n"), `${head.startLine} was completed`)
  }),
  define("B86", "chunk extensions are dropped", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], "3;secret=1\r\nabc\r\n0;secret=2\r\n\r\n"))
    const origin = yield* context.origin
    const head = yield* origin.nextRequestHead
    const sent = yield* origin.read(head.get("content-length") === undefined ? "0\r\n\r\n" : "abc")
    yield* check(!sent.includes("secret"), `the upstream got ${JSON.stringify(sent)}`)
  }),
  define("B87", "request trailers are not merged into the fields", function*(context) {
    const body = "3\r\nabc\r\n0\r\nX-Trailer: 1\r\nAuthorization: evil\r\n\r\n"
    const { seen } = yield* exchange(context, raw("POST /", ["Transfer-Encoding: chunked"], body))
    yield* same("X-Trailer upstream", lines(seen, "x-trailer"), [])
    yield* same("Authorization upstream", lines(seen, "authorization"), [])
    yield* same("the body upstream", seen.text, "abc")
  }),
  define("B91", "Content-Encoding and the bytes stay", function*(context) {
    const client = yield* context.connect
    yield* client.send(post("/", "not gzip", "Content-Encoding: gzip"))
    const { seen } = yield* asked(context, client)
    yield* same("Content-Encoding upstream", lines(seen, "content-encoding"), ["gzip"])
    yield* same("the body upstream", seen.text, "not gzip")
  })
]
