import * as Effect from "effect/Effect"
import {
  answer,
  asked,
  type Case,
  check,
  chunks,
  type Context,
  define,
  get,
  lines,
  ok,
  post,
  raw,
  same,
  stillServes
} from "../Case.ts"

const chunkedHead = answer("200 OK", ["Transfer-Encoding: chunked"])

/** A client that leaves with a reset while it gets a body. */
const leftStream = (title: string, fields: ReadonlyArray<string>, first: string): Case =>
  define("B154", title, function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin } = yield* asked(context, client)
    yield* origin.send(answer("200 OK", ["Transfer-Encoding: chunked", ...fields], first))
    yield* client.read("abc")
    yield* client.reset
    // Some find out when they have more to send.
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(origin.send("1\r\nx\r\n"), Effect.sleep(10))))
    yield* origin.ended
    yield* stillServes(context, origin)
  })

/** A client that leaves with a reset in the middle of its body. */
const leftUpload = (title: string, fields: ReadonlyArray<string>, body: string): Case =>
  define("B155", title, function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", fields, body))
    const origin = yield* context.origin
    const head = yield* origin.nextRequestHead
    yield* origin.read("abc")
    yield* client.reset
    const { unread } = yield* origin.ended
    yield* check(!unread.includes("0\r\n\r\n"), `${head.startLine} was completed`)
    yield* stillServes(context, origin)
  })

const mebibyte = "x".repeat(1024 * 1024)

/** A long upload to an upstream that resets its connection. */
const upload = Effect.fnUntraced(function*(context: Context) {
  const client = yield* context.connect
  yield* Effect.ignore(client.send(raw("POST /", [`Content-Length: ${mebibyte.length}`], mebibyte.slice(1))))
})

/** B9: one of the sides leaves. */
export const aborts: ReadonlyArray<Case> = [
  define("B153", "a client that leaves before the response is known upstream", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin } = yield* asked(context, client)
    yield* client.reset
    yield* origin.ended
    yield* stillServes(context, origin)
  }),
  leftStream("a client that leaves a body is known upstream", [], "3\r\nabc\r\n"),
  leftStream(
    "a client that leaves a stream of events is known upstream",
    ["Content-Type: text/event-stream"],
    [
      "b\r\ndata: abc\n\n\r\n"
    ].join("")
  ),
  leftUpload("a body that the client left never looks whole upstream", ["Content-Length: 10"], "abc"),
  leftUpload("a chunked body that the client left never looks whole upstream", [
    "Transfer-Encoding: chunked"
  ], "3\r\nabc\r\n"),
  define("B156", "a client that resets a request that is not whole yet", function*(context) {
    const client = yield* context.connect
    yield* client.send("GET / HTTP/1.1\r\nHost: shop.t")
    yield* client.reset
    yield* stillServes(context)
    yield* check((yield* context.received) > 0, "the next request did not come")
  }),
  define("B157", "a client that sends FIN after its request is answered, or let go", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin } = yield* asked(context, client)
    yield* client.end
    yield* Effect.ignore(origin.send(ok))
    const { unread } = yield* client.ended
    yield* check(unread === "" || unread.endsWith("\r\n\r\nok"), `the client got ${JSON.stringify(unread)}`)
    yield* stillServes(context)
  }),
  define("B160", "an upstream that resets in the middle of an upload is a 502", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Content-Length: 100"], "abc"))
    const origin = yield* context.origin
    yield* origin.nextRequestHead
    yield* origin.read("abc")
    yield* origin.reset
    const got = yield* client.response()
    yield* same("the status", got.status, 502)
    yield* stillServes(context, origin)
  }),
  define("B161", "a final response in the middle of an upload is relayed at once", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Content-Length: 1000000"], "abc"))
    const origin = yield* context.origin
    yield* origin.nextRequestHead
    yield* origin.read("abc")
    yield* origin.send(answer("413 Content Too Large", ["Content-Length: 2"], "no"))
    const got = yield* client.response()
    yield* same("the status", got.status, 413)
    yield* same("the body", got.text, "no")
  }),
  define("B162", "a response can begin before the request ends, and go on with it", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n"))
    const origin = yield* context.origin
    yield* origin.nextRequestHead
    yield* origin.read("abc")
    yield* origin.send(`${chunkedHead}3\r\nABC\r\n`)
    yield* client.read("ABC")
    yield* client.send("3\r\ndef\r\n0\r\n\r\n")
    yield* origin.read("def")
    yield* origin.send(chunks)
    yield* client.read("abc")
    yield* client.read("0\r\n\r\n")
  }),
  define("B163", "20 uploads to an upstream that dies leave the proxy alive", function*(context) {
    yield* Effect.forEach(Array.from({ length: 20 }), () => upload(context), { concurrency: "unbounded" })
    yield* Effect.forEach(Array.from({ length: 20 }), () => Effect.flatMap(context.origin, ({ reset }) => reset))
    yield* stillServes(context)
  }),
  define("B238", "a request whose client has left is not sent again", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/left"))
    const { origin } = yield* asked(context, client)
    yield* client.reset
    // Not each ends its request then; the upstream's end is a reason to send it again.
    yield* Effect.timeoutOption(origin.ended, 200)
    yield* origin.end
    const next = yield* context.connect
    yield* next.send(get("/next"))
    const { seen } = yield* asked(context, next)
    yield* same("the next target upstream", seen.target, "/next")
  }),
  define("B237", "a request whose response has begun is not sent again", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/begun"))
    const { origin } = yield* asked(context, client)
    yield* origin.send(`${chunkedHead}3\r\nabc\r\n`)
    yield* client.read("abc")
    yield* origin.reset
    yield* client.ended
    const next = yield* context.connect
    yield* next.send(get("/next"))
    const { seen } = yield* asked(context, next)
    yield* same("the next target upstream", seen.target, "/next")
    yield* same("the body upstream", lines(seen, "content-length"), [])
  }),
  define("B264", "resets at each step of an exchange leave the proxy alive", function*(context) {
    for (const bytes of ["G", "GET / HTTP/1.1\r\n", post("/", "abc").slice(0, -1), get("/"), get("/") + get("/")]) {
      const client = yield* context.connect
      yield* client.send(bytes)
      yield* client.reset
    }
    for (const bytes of ["H", "HTTP/1.1 200 OK\r\nX", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"]) {
      const client = yield* context.connect
      yield* client.send(post("/step", "abc"))
      const { origin } = yield* untilTarget(context, "/step")
      yield* Effect.ignore(origin.send(bytes))
      yield* origin.reset
      yield* client.reset
    }
    const client = yield* context.connect
    yield* client.send(get("/alive"))
    const { origin } = yield* untilTarget(context, "/alive")
    yield* origin.send(ok)
    yield* same("the status", (yield* client.response()).status, 200)
  })
]

/** The request with this target, after others that nobody waits for any more. */
const untilTarget = Effect.fnUntraced(function*(context: Context, target: string) {
  for (;;) {
    const found = yield* context.nextRequest
    if (found.seen.target === target) return found
  }
})
