import * as Effect from "effect/Effect"
import { answer, asked, type Case, check, define, describe, get, outcome, same, stillServes } from "../Case.ts"

const many = Array.from({ length: 1500 }, (_, i) => `X-${i}: 1`)

/** How many of {@link many} are among the fields. */
const found = (fields: ReadonlyArray<string>): number =>
  fields.filter((name, i) => i % 2 === 0 && /^x-\d+$/i.test(name)).length

const isClientError = (status: number): boolean => status >= 400 && status < 500

/** A head that is larger than anyone wants is refused. */
const tooLarge = (title: string, fields: ReadonlyArray<string>): Case =>
  define("B257", title, function*(context) {
    const client = yield* context.connect
    yield* Effect.ignore(client.send(get("/", ...fields)))
    const found = yield* outcome(context, client)
    // Whoever still sends may miss the response.
    const refused = found._tag === "Closed" || found._tag === "Answered" && isClientError(found.got.status)
    yield* check(refused, describe(found))
    yield* client.ended
    yield* same("bytes to the upstream", yield* context.received, 0)
  })

/** Bytes that are no request get a response that is one, or none; the connection ends either way. */
const noRequest = (title: string, bytes: string): Case =>
  define("B260", title, function*(context) {
    const client = yield* context.connect
    yield* client.send(bytes)
    const { unread } = yield* client.ended
    yield* check(
      unread === "" || /^HTTP\/1\.[01] 4\d\d [^\r\n]*\r\n([^\r\n]+\r\n)*\r\n/.test(unread),
      `it got ${unread}`
    )
    yield* same("bytes to the upstream", yield* context.received, 0)
    yield* stillServes(context)
  })

/** B16: limits. */
export const limits: ReadonlyArray<Case> = [
  tooLarge("a field of 4 MiB is refused", [`X-A: ${"a".repeat(4 * 1024 * 1024)}`]),
  tooLarge("fields of 4 MiB are refused", Array.from({ length: 512 }, (_, i) => `X-${i}: ${"a".repeat(8192)}`)),
  define("B258", "1500 fields of a request come whole, or are refused", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/", ...many))
    const got = yield* outcome(context, client)
    if (got._tag === "Asked") return yield* same("the number upstream", found(got.seen.fields), many.length)
    yield* check(got._tag === "Answered" && isClientError(got.got.status), describe(got))
  }),
  define("B259", "1500 fields of a response come whole, or are a 502", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin } = yield* asked(context, client)
    yield* origin.send(answer("200 OK", [...many, "Content-Length: 0"]))
    const got = yield* client.response()
    if (got.status === 502) return yield* stillServes(context, origin)
    yield* same("the status", got.status, 200)
    yield* same("the number", found(got.fields), many.length)
  }),
  noRequest("a TLS handshake is no request", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n"),
  noRequest("words are no request", "hello world, this is no request\r\n\r\n"),
  noRequest("binary is no request", "\x00\x01\x02\xff\xfe\r\n\r\n")
]
