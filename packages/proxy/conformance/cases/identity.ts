import { gzipSync } from "node:zlib"
import {
  answer,
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
  raw,
  same
} from "../Case.ts"

/** What must not go further is answered here: for TRACE, that may be a refusal. */
const lastHop = (method: string, statuses: ReadonlyArray<number>): Case =>
  define("B41", `${method} with Max-Forwards: 0 is answered here`, function*(context) {
    const client = yield* context.connect
    yield* client.send(raw(`${method} /`, ["Max-Forwards: 0"]))
    const found = yield* outcome(context, client)
    yield* check(found._tag === "Answered" && statuses.includes(found.got.status), describe(found))
  })

/** B3: what is said about the client and the proxy. */
export const identity: ReadonlyArray<Case> = [
  define("B39", "Via says that the request passed a proxy", function*(context) {
    const { seen } = yield* exchange(context, get("/"))
    yield* check(/^(HTTP\/)?1\.1 \S+/.test(lines(seen, "via").join(", ")), "the upstream got no Via")
  }),
  define("B39", "a Via that is there stays in front", function*(context) {
    const { seen } = yield* exchange(context, get("/", "Via: 1.0 first", "Via: 1.1 second (b, c)"))
    const via = lines(seen, "via").join(", ")
    yield* check(via.startsWith("1.0 first, 1.1 second (b, c)"), `Via upstream is ${JSON.stringify(via)}`)
  }),
  lastHop("OPTIONS", [200, 204]),
  lastHop("TRACE", [200, 400, 403, 405, 501]),
  define("B41", "OPTIONS with Max-Forwards: 5 goes on with 4", function*(context) {
    const { seen } = yield* exchange(context, raw("OPTIONS /", ["Max-Forwards: 5"]))
    yield* same("Max-Forwards upstream", lines(seen, "max-forwards"), ["4"])
  }),
  define("B41", "Max-Forwards is of no concern to a GET", function*(context) {
    const { got } = yield* exchange(context, get("/", "Max-Forwards: 0"), ok)
    yield* same("the status", got.status, 200)
  }),
  define("B42", "no User-Agent is invented", function*(context) {
    const { seen } = yield* exchange(context, get("/"))
    yield* same("User-Agent upstream", lines(seen, "user-agent"), [])
  }),
  define("B43", "a client that did not ask for gzip gets none", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin, seen } = yield* asked(context, client)
    if (!/gzip/.test(seen.get("accept-encoding") ?? "")) return
    // Who asks for it in the client's name has to undo it.
    const packed = gzipSync("ok")
    yield* origin.send(answer("200 OK", ["Content-Encoding: gzip", `Content-Length: ${packed.length}`]))
    yield* origin.send(packed)
    const got = yield* client.response()
    yield* same("Content-Encoding", lines(got, "content-encoding"), [])
    yield* same("the body", got.text, "ok")
  })
]
