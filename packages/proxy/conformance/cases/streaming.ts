import type { RawConnection } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { answer, asked, type Case, check, type Context, define, get, raw, same } from "../Case.ts"

const mebibyte = Buffer.alloc(1024 * 1024, "x")

/** More than the proxy's and the system's buffers of two connections may hold. */
const plenty = 64

/** Sends until nothing more is taken, at most {@link plenty}; how many mebibytes were taken. */
const pour = Effect.fnUntraced(function*(to: RawConnection.RawConnection) {
  for (let sent = 0; sent < plenty; sent++) {
    const taken = yield* Effect.timeoutOption(to.send(mebibyte), 300)
    if (Option.isNone(taken)) return sent
  }
  return plenty
})

/** A response that comes in pieces: each is relayed before the next is sent. */
const relayed = (number: string, title: string, fields: ReadonlyArray<string>, pieces: ReadonlyArray<string>): Case =>
  define(number, title, function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin } = yield* asked(context, client)
    const framed = (piece: string): string =>
      fields.includes(chunked) ? `${piece.length.toString(16)}\r\n${piece}\r\n` : piece
    const [first, ...rest] = pieces
    yield* origin.send(answer("200 OK", fields, framed(first)))
    yield* same("the status", (yield* client.responseHead).status, 200)
    yield* client.read(first)
    for (const piece of rest) {
      yield* origin.send(framed(piece))
      yield* client.read(piece)
    }
  })

/** A head that comes alone. */
const flushed = (title: string, fields: ReadonlyArray<string>): Case =>
  define("B223", title, function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin } = yield* asked(context, client)
    yield* origin.send(answer("200 OK", fields))
    yield* same("the status", (yield* client.responseHead).status, 200)
  })

const chunked = "Transfer-Encoding: chunked"
const events = ["data: one\n\n", ": comment\n\n", "data: two\n\n"]

const upload = Effect.fnUntraced(function*(context: Context) {
  const client = yield* context.connect
  yield* client.send(raw("POST /", [`Content-Length: ${plenty * mebibyte.length}`]))
  return client
})

/** B14: what streams, and how much of it is held. */
export const streaming: ReadonlyArray<Case> = [
  flushed("a head is relayed before its body comes", [chunked]),
  flushed("a head with a length is relayed before its body comes", ["Content-Length: 3"]),
  relayed("B224", "server-sent events are relayed one by one", [chunked, "Content-Type: text/event-stream"], events),
  relayed("B224", "the same with a charset", [chunked, "Content-Type: text/event-stream; charset=utf-8"], events),
  relayed("B225", "chunks are relayed one by one", [chunked], ["a", "bc", "def"]),
  relayed("B225", "pieces of a body with a length are relayed one by one", ["Content-Length: 6"], ["a", "bc", "def"]),
  relayed("B225", "pieces of a body that FIN ends are relayed one by one", ["X-A: 1"], ["a", "bc", "def"]),
  define("B227", "a client that does not read stops the upstream", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin } = yield* asked(context, client)
    client.socket.pause()
    yield* origin.send(answer("200 OK", [`Content-Length: ${plenty * mebibyte.length}`]))
    yield* check((yield* pour(origin)) < plenty, `${plenty} MiB were taken from the upstream`)
  }),
  define("B228", "an upstream that does not read stops the client", function*(context) {
    const client = yield* upload(context)
    const found = yield* Effect.raceFirst(
      Effect.map(client.responseHead, ({ status }) => status),
      Effect.map(context.origin, (origin) => origin.socket.pause())
    )
    // A limit of the size of bodies bounds it too.
    if (typeof found === "number") return yield* same("the status", found, 413)
    yield* check((yield* pour(client)) < plenty, `${plenty} MiB were taken from the client`)
  })
]
