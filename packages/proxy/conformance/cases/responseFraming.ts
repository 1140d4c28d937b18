import type { RawConnection } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import type { Context, Problem } from "../Case.ts"
import { answer, asked, type Case, check, chunks, define, get, lines, ok, post, same, stillServes } from "../Case.ts"

/** What the upstream does after it has sent its bytes. */
type Then = "stay" | "end" | "reset"

const finish = (origin: RawConnection.RawConnection, then: Then) =>
  then === "end" ? origin.end : then === "reset" ? origin.reset : Effect.void

/** Sends a request, and answers it with bytes and an end. */
const answered = Effect.fnUntraced(function*(context: Context, request: string, bytes: string, then: Then) {
  const client = yield* context.connect
  yield* client.send(request)
  const { origin } = yield* asked(context, client)
  if (bytes !== "") yield* origin.send(bytes)
  // A reset may discard what the peer has not read yet.
  if (then === "reset" && bytes !== "") yield* Effect.sleep(20)
  yield* finish(origin, then)
  return { client, origin }
})

/** A response that is no response: the client gets a 502, and the connection is not used again. */
const bad = (number: string, title: string, bytes: string, then: Then = "stay"): Case =>
  define(number, title, function*(context) {
    // A POST, because a GET may be sent again.
    const { client, origin } = yield* answered(context, post("/", "abc"), bytes, then)
    const got = yield* client.response()
    yield* same("the status", got.status, 502)
    yield* check(got.complete, "the 502 is cut off")
    yield* stillServes(context, origin)
  })

/** A response that is a 502, or repaired in the one way that RFC 9112 allows. */
const badOrRepaired = (
  number: string,
  title: string,
  bytes: string,
  repaired: (got: RawConnection.RawResponse) => Effect.Effect<unknown, Problem>
): Case =>
  define(number, `${title} is a 502, or repaired`, function*(context) {
    const { client, origin } = yield* answered(context, post("/", "abc"), bytes, "stay")
    const got = yield* client.response()
    yield* check(got.complete, "the response is cut off")
    if (got.status === 502) return yield* stillServes(context, origin)
    yield* same("the status", got.status, 200)
    yield* repaired(got)
  })

/** The body is `abc`, in one framing. */
const framedOnce = Effect.fnUntraced(function*(got: RawConnection.RawResponse) {
  yield* same("the body", got.text, "abc")
  const framings = [...lines(got, "content-length"), ...lines(got, "transfer-encoding")]
  yield* same("the number of framing fields", framings.length, 1)
})

const fieldIs = (...values: ReadonlyArray<string>) => (got: RawConnection.RawResponse) =>
  check(values.includes(lines(got, "x-a")[0]), `X-A is ${JSON.stringify(lines(got, "x-a"))}`)

/** A body that is cut off: the client sees that, or a 502 when nothing was sent yet. */
const truncated = (number: string, title: string, bytes: string, then: Then): Case =>
  define(number, title, function*(context) {
    const { client, origin } = yield* answered(context, get("/"), bytes, then)
    const got = yield* client.response()
    if (got.status !== 502) {
      const { ending } = yield* client.ended
      const whole = got.framing === "Close" ? ending === "FIN" : got.complete
      yield* check(!whole, `the cut off body looks whole (${got.framing}, ${ending})`)
      yield* check(bytes.includes(got.text), `the body is ${JSON.stringify(got.text)}`)
    }
    yield* stillServes(context, origin)
  })

/** A request that is answered well although more comes, which nobody gets. */
const surplus = (number: string, title: string, request: string, bytes: string, expected: number, body: string): Case =>
  define(number, title, function*(context) {
    const { client, origin } = yield* answered(context, request, bytes, "stay")
    const got = yield* client.response({ toHead: request.startsWith("HEAD ") })
    yield* same("the status", got.status, expected)
    yield* same("the body", got.text, body)
    yield* stillServes(context, origin)
    yield* client.end
    const { unread } = yield* client.ended
    yield* same("what follows the response", unread, "")
  })

const length = (value: string, body = "abc"): string => answer("200 OK", [`Content-Length: ${value}`], body)

const huge = Array.from({ length: 64 }, (_, i) => `X-${i}: ${"x".repeat(16_384)}`)

const heads: ReadonlyArray<Case> = [
  ...["abc", "-1", "+3", "0x3", "99999999999999999999"].map((value) =>
    bad("B117", `Content-Length: ${value} is a 502`, length(value))
  ),
  bad("B118", "two Content-Lengths are a 502", answer("200 OK", ["Content-Length: 3", "Content-Length: 4"], "abc")),
  badOrRepaired(
    "B118",
    "two equal Content-Lengths",
    answer("200 OK", ["Content-Length: 3", "Content-Length: 3"], "abc"),
    framedOnce
  ),
  badOrRepaired(
    "B119",
    "Content-Length and Transfer-Encoding",
    answer("200 OK", ["Content-Length: 3", "Transfer-Encoding: chunked"], chunks),
    framedOnce
  ),
  ...["foo", "gzip, chunked"].map((coding) =>
    bad("B120", `Transfer-Encoding: ${coding} is a 502`, answer("200 OK", [`Transfer-Encoding: ${coding}`], chunks))
  ),
  bad(
    "B121",
    "Transfer-Encoding twice is a 502",
    answer("200 OK", ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], chunks)
  ),
  bad("B122", "a status line that is none is a 502", "hello world\r\nContent-Length: 0\r\n\r\n"),
  bad("B122", "an unknown protocol is a 502", "ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
  ...["99", "888", "1000"].map((status) =>
    bad("B123", `status ${status} is a 502`, answer(`${status} X`, ["Content-Length: 0"]))
  ),
  bad("B124", "FIN instead of a response is a 502", "", "end"),
  bad("B125", "RST instead of a response is a 502", "", "reset"),
  bad("B126", "FIN in the head is a 502", "HTTP/1.1 200 OK\r\nContent-Le", "end"),
  badOrRepaired(
    "B127",
    "a head of 1 MiB that is too large",
    answer("200 OK", [...huge, "Content-Length: 0"]),
    (got) => same("the number of long fields", got.fields.filter((text) => text.length === 16_384).length, huge.length)
  ),
  badOrRepaired(
    "B128",
    "a folded field",
    answer("200 OK", ["X-A: 1", " 2", "Content-Length: 0"]),
    fieldIs("1 2", "1  2", "1   2", "1    2")
  ),
  badOrRepaired(
    "B128",
    "a space before a colon",
    answer("200 OK", ["X-A : 1", "Content-Length: 0"]),
    fieldIs("1")
  ),
  badOrRepaired("B128", "NUL in a field", answer("200 OK", ["X-A: a\0b", "Content-Length: 0"]), fieldIs("a b")),
  badOrRepaired(
    "B128",
    "a bare CR in a field",
    answer("200 OK", ["X-A: a\rX-B: b", "Content-Length: 0"]),
    fieldIs("a X-B: b")
  )
]

const chunkedHead = answer("200 OK", ["Transfer-Encoding: chunked"])

const bodies: ReadonlyArray<Case> = [
  truncated("B129", "a body that is shorter than its length is cut off for the client too", length("10"), "end"),
  truncated("B129", "the same after a reset", length("10"), "reset"),
  truncated("B130", "a chunked body without its last chunk is cut off", `${chunkedHead}3\r\nabc\r\n`, "end"),
  truncated("B130", "a body that ends in a chunk is cut off", `${chunkedHead}5\r\nabc`, "end"),
  truncated("B131", "a chunked body that is reset is cut off", `${chunkedHead}3\r\nabc\r\n`, "reset"),
  define("B132", "a body that FIN ends is whole", function*(context) {
    const { client } = yield* answered(context, get("/"), answer("200 OK", [], "abc"), "end")
    const got = yield* client.response()
    yield* same("the body", got.text, "abc")
    yield* check(got.complete, "the body is cut off")
  }),
  truncated("B133", "a body that lasts until the end and is reset is cut off", answer("200 OK", [], "abc"), "reset"),
  truncated(
    "B134",
    "a gzip body that is cut off is relayed up to there",
    answer("200 OK", ["Content-Encoding: gzip", "Content-Length: 20"], "not gzip"),
    "end"
  )
]

const surpluses: ReadonlyArray<Case> = [
  surplus("B135", "bytes after the length are dropped", get("/"), `${ok}EXTRA`, 200, "ok"),
  surplus("B135", "bytes after the last chunk are dropped", get("/"), `${chunkedHead}${chunks}EXTRA`, 200, "abc"),
  surplus(
    "B136",
    "a body after the response to HEAD is dropped",
    "HEAD / HTTP/1.1\r\nHost: shop.test\r\n\r\n",
    ok,
    200,
    ""
  ),
  surplus("B136", "a body after a 204 is dropped", get("/"), answer("204 No Content", [], "ok"), 204, ""),
  surplus("B136", "a body after a 304 is dropped", get("/"), answer("304 Not Modified", [], "ok"), 304, ""),
  define("B137", "a 100 that nobody asked for is no reason to fail", function*(context) {
    const { client } = yield* answered(context, get("/"), `HTTP/1.1 100 Continue\r\n\r\n${ok}`, "stay")
    yield* same("the status", (yield* client.response()).status, 200)
  }),
  surplus(
    "B138",
    "a second final response is dropped",
    get("/"),
    ok + answer("500 X", ["Content-Length: 0"]),
    200,
    "ok"
  )
]

/** B7: how the upstream frames its responses. */
export const responseFraming: ReadonlyArray<Case> = [...heads, ...bodies, ...surpluses]
