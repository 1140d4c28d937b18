import * as Effect from "effect/Effect"
import { answer, ask, asked, type Case, check, define, exchange, get, lines, raw, same } from "../Case.ts"

/** A chunked response with trailers. */
const trailing = (fields: ReadonlyArray<string>, body: string, trailers: ReadonlyArray<string>): string =>
  answer("200 OK", ["Transfer-Encoding: chunked", ...fields], `${body}0\r\n${[...trailers, "", ""].join("\r\n")}`)

/** Trailers come whole and as trailers, or not at all: a recipient may discard them. */
const keptOrDropped = (number: string, title: string, fields: ReadonlyArray<string>, body: string): Case =>
  define(number, title, function*(context) {
    const response = trailing(fields, body, ["X-One: 1", "X-Two: 2"])
    const { client, got } = yield* exchange(context, get("/", "TE: trailers", "Connection: TE"), response)
    yield* same("the body", got.text, body === "" ? "" : "abc")
    yield* check(got.complete, "the body is cut off")
    const trailers = JSON.stringify(got.trailers).toLowerCase()
    yield* check(["[]", "[\"x-one\",\"1\",\"x-two\",\"2\"]"].includes(trailers), `the trailers are ${trailers}`)
    yield* same("X-One among the fields", lines(got, "x-one"), [])
    yield* same("the next body", (yield* ask(context, client, get("/next"))).got.text, "ok")
  })

const body = "3\r\nabc\r\n"

/** B12: trailers. */
export const trailers: ReadonlyArray<Case> = [
  keptOrDropped("B194", "announced trailers are relayed as such, or dropped", ["Trailer: X-One, X-Two"], body),
  keptOrDropped("B195", "trailers that were not announced are relayed as such, or dropped", [], body),
  keptOrDropped("B196", "trailers of an empty body are relayed as such, or dropped", [], ""),
  define("B198", "trailers that frame a message, or belong to a connection, are dropped", function*(context) {
    const names = ["Content-Length", "Transfer-Encoding", "Connection", "Host"]
    const response = trailing([], body, names.map((name) => `${name}: 5`))
    const client = yield* context.connect
    yield* client.send(get("/", "TE: trailers", "Connection: TE"))
    const { origin } = yield* asked(context, client)
    yield* origin.send(response)
    const got = yield* client.response()
    // A proxy may also refuse them.
    if (got.status === 502) return
    yield* same("the trailers", got.trailers, [])
    if (got.complete) yield* same("the next body", (yield* ask(context, client, get("/next"))).got.text, "ok")
  }),
  define("B199", "a client of HTTP/1.0 gets no trailers", function*(context) {
    const client = yield* context.connect
    yield* client.send("GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n")
    const { origin } = yield* asked(context, client)
    yield* origin.send(trailing(["Trailer: X-One"], body, ["X-One: 1"]))
    const { unread } = yield* client.ended
    yield* check(unread.endsWith("\r\n\r\nabc"), `the response is ${JSON.stringify(unread)}`)
  }),
  define("B201", "request trailers come as trailers, or not at all", function*(context) {
    const request = raw("POST /", ["Transfer-Encoding: chunked", "Trailer: X-One"], `${body}0\r\nX-One: 1\r\n\r\n`)
    const { client, seen } = yield* exchange(context, request)
    yield* same("the body upstream", seen.text, "abc")
    yield* same("X-One upstream", lines(seen, "x-one"), [])
    yield* Effect.flatMap(
      ask(context, client, get("/next")),
      ({ seen }) => same("the next target", seen.target, "/next")
    )
  })
]
