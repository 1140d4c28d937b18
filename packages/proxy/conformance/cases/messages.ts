import type { RawConnection } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import {
  answer,
  ask,
  asked,
  type Case,
  check,
  chunks,
  type Context,
  define,
  exchange,
  get,
  lines,
  ok,
  raw,
  same
} from "../Case.ts"

const framing = ["content-length", "transfer-encoding"]

/** Nothing more comes over a connection, and it serves the next request. */
const servesNext = Effect.fnUntraced(function*(context: Context, client: RawConnection.RawConnection) {
  const { got } = yield* ask(context, client, get("/next"))
  yield* same("the body of the next response", got.text, "ok")
})

/** A status without a body that must not have framing fields either. */
const unframed = (number: string, status: string, fields: ReadonlyArray<string>): Case =>
  define(number, `a ${status} with ${fields.join() || "no framing"} has no framing field`, function*(context) {
    const { client, got } = yield* exchange(context, get("/"), answer(status, [...fields, "X-A: 1"]))
    yield* same("X-A", lines(got, "x-a"), ["1"])
    for (const name of framing) yield* same(name, lines(got, name), [])
    yield* servesNext(context, client)
  })

/** What a client of HTTP/1.0 gets, until its connection ends. */
const old = Effect.fnUntraced(function*(context: Context, response: string, ...fields: ReadonlyArray<string>) {
  const client = yield* context.connect
  yield* client.send(["GET / HTTP/1.0", ...fields, "", ""].join("\r\n"))
  const { origin } = yield* asked(context, client)
  yield* origin.send(response)
  return { client, origin }
})

const cookies = ["a=1; path=/; foo=bar", "a=2; Path=/x; sameSITE=lax", "b=\"q\"; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]

/** A status with its phrase; a proxy may have a phrase of its own. */
const odd = (line: string, status: number): Case =>
  define("B140", `the status of ${JSON.stringify(line)} is relayed`, function*(context) {
    const { client, got } = yield* exchange(context, get("/"), answer(line, ["Content-Length: 2"], "ok"))
    yield* same("the status", got.status, status)
    yield* same("the body", got.text, "ok")
    yield* servesNext(context, client)
  })

/** B8: HEAD, 204, 304, HTTP/1.0 and cookies. */
export const messages: ReadonlyArray<Case> = [
  define("B139", "a 205 has no content", function*(context) {
    const { client, got } = yield* exchange(context, get("/"), answer("205 Reset Content", ["Content-Length: 0"]))
    yield* same("the status", got.status, 205)
    yield* same("the body", got.text, "")
    yield* servesNext(context, client)
  }),
  odd("200 Fine, thank you", 200),
  odd("299 Odd", 299),
  odd("404 ", 404),
  define("B141", "HEAD keeps Content-Length, and the connection goes on", function*(context) {
    const { client, got } = yield* exchange(context, raw("HEAD /"), answer("200 OK", ["Content-Length: 5"]))
    yield* same("Content-Length", lines(got, "content-length"), ["5"])
    yield* servesNext(context, client)
  }),
  unframed("B142", "204 No Content", []),
  unframed("B144", "204 No Content", ["Content-Length: 0"]),
  define("B143", "a 304 keeps its validators", function*(context) {
    const fields = ["ETag: \"x\"", "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT", "Content-Length: 5"]
    const { client, got } = yield* exchange(context, get("/"), answer("304 Not Modified", fields))
    yield* same("ETag", lines(got, "etag"), ["\"x\""])
    yield* same("Last-Modified", lines(got, "last-modified").length, 1)
    yield* same("Transfer-Encoding", lines(got, "transfer-encoding"), [])
    yield* servesNext(context, client)
  }),
  define("B145", "a client of HTTP/1.0 gets a chunked body without its chunks", function*(context) {
    const { client } = yield* old(context, answer("200 OK", ["Transfer-Encoding: chunked"], chunks))
    const { ending, unread } = yield* client.ended
    yield* same("the end", ending, "FIN")
    yield* check(unread.endsWith("\r\n\r\nabc"), `the response is ${JSON.stringify(unread)}`)
    yield* check(!/transfer-encoding/i.test(unread), "Transfer-Encoding was sent")
  }),
  define("B145", "a client of HTTP/1.0 can tell that a body was cut off", function*(context) {
    const { client, origin } = yield* old(context, answer("200 OK", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n"))
    yield* client.read("abc")
    yield* origin.end
    yield* same("the end", (yield* client.ended).ending, "RST")
  }),
  define("B146", "keep-alive of HTTP/1.0 is honoured with a length", function*(context) {
    const { client } = yield* old(context, ok, "Host: shop.test", "Connection: keep-alive")
    const got = yield* client.response()
    if (!/keep-alive/i.test(got.get("connection") ?? "")) return yield* client.ended
    yield* servesNext(context, client)
  }),
  define("B146", "keep-alive of HTTP/1.0 is not honoured without a length", function*(context) {
    const chunked = answer("200 OK", ["Transfer-Encoding: chunked"], chunks)
    const { client } = yield* old(context, chunked, "Host: shop.test", "Connection: keep-alive")
    const { unread } = yield* client.ended
    const length = /content-length: 3/i.test(unread)
    yield* check(length || !/^connection: keep-alive/im.test(unread), "keep-alive was promised")
  }),
  define("B147", "a client of HTTP/1.0 gets no 1xx", function*(context) {
    const hints = answer("103 Early Hints", ["Link: </a>"])
    const { client } = yield* old(context, hints + ok, "Host: shop.test", "Connection: close")
    const { unread } = yield* client.ended
    yield* check(/^HTTP\/1\.[01] 200 /.test(unread), `the response begins with ${JSON.stringify(unread.slice(0, 30))}`)
  }),
  define("B148", "a close-delimited response of HTTP/1.0 is framed for a client of HTTP/1.1", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin } = yield* asked(context, client)
    yield* origin.send("HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nabc")
    yield* origin.end
    const got = yield* client.response()
    yield* same("the version", got.version, "1.1")
    yield* same("the framing", got.framing, "Chunked")
    yield* same("the body", got.text, "abc")
    yield* servesNext(context, client)
  }),
  define("B149", "cookies stay separate, and keep their bytes", function*(context) {
    const fields = [...cookies.map((cookie) => `Set-Cookie: ${cookie}`), "Content-Length: 0"]
    const { got } = yield* exchange(context, get("/"), answer("200 OK", fields))
    yield* same("Set-Cookie", lines(got, "set-cookie"), cookies)
  }),
  define("B150", "repeated fields keep their values in order, both ways", function*(context) {
    const fields = ["X-Multi: a", "x-multi: b, c", "X-MULTI: d"]
    const { got, seen } = yield* exchange(
      context,
      get("/", ...fields),
      answer("200 OK", [...fields, "Content-Length: 0"])
    )
    yield* same("X-Multi upstream", lines(seen, "x-multi").join(", "), "a, b, c, d")
    yield* same("X-Multi", lines(got, "x-multi").join(", "), "a, b, c, d")
  })
]
