import * as Effect from "effect/Effect"
import {
  answer,
  ask,
  asked,
  type Case,
  check,
  define,
  describe,
  exchange,
  get,
  ok,
  outcome,
  raw,
  same
} from "../Case.ts"

const hints = answer("103 Early Hints", ["Link: </a>", "Link: </b>"])
const processing = answer("102 Processing", ["Link: </c>", "Link: </d>", "Link: </e>"])

const expecting = raw("POST /", ["Content-Length: 3", "Expect: 100-continue"])

/** B11: 1xx and Expect. */
export const interim: ReadonlyArray<Case> = [
  define("B183", "each 1xx is relayed with its own fields", function*(context) {
    const { got } = yield* exchange(context, get("/"), hints + processing + ok)
    const links = got.informational.map(({ fields, status }) => [
      status,
      fields.filter((_, i) => i % 2 === 1 && fields[i - 1].toLowerCase() === "link").join(", ")
    ])
    yield* same("what came before", links, [[103, "</a>, </b>"], [102, "</c>, </d>, </e>"]])
    yield* same("the status", got.status, 200)
  }),
  define("B183", "a 1xx comes before its final response", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin } = yield* asked(context, client)
    yield* origin.send(hints)
    yield* client.read(/HTTP\/1\.1 103 [\s\S]*?\r\n\r\n/)
    yield* origin.send(ok)
    yield* same("the status", (yield* client.response()).status, 200)
  }),
  define("B184", "a 1xx after the final response is dropped", function*(context) {
    const { client } = yield* exchange(context, get("/"), ok + hints)
    const { got } = yield* ask(context, client, get("/next"))
    yield* same("what came before the next response", got.informational.length, 0)
    yield* same("the next body", got.text, "ok")
  }),
  define("B185", "a 100 that nobody asked for is relayed or dropped, and does no harm", function*(context) {
    const { client, got } = yield* exchange(context, get("/"), answer("100 Continue") + ok)
    yield* check(got.informational.every(({ status }) => status === 100), "another 1xx was sent")
    yield* same("the status", got.status, 200)
    yield* same("the next body", (yield* ask(context, client, get("/next"))).got.text, "ok")
  }),
  define("B186", "the upstream decides when the body is sent", function*(context) {
    const client = yield* context.connect
    yield* client.send(expecting)
    const origin = yield* context.origin
    const head = yield* origin.nextRequestHead
    yield* check(client.socket.bytesRead === 0, "100 was sent before the upstream could say so")
    yield* same("Expect upstream", head.get("expect")?.toLowerCase(), "100-continue")
    yield* origin.send(answer("100 Continue"))
    yield* client.read("100 Continue\r\n")
    yield* client.read("\r\n")
    yield* client.send("abc")
    yield* origin.read("abc")
    yield* origin.send(ok)
    const got = yield* client.response()
    yield* same("the status", got.status, 200)
    yield* same("the number of further 1xx responses", got.informational.length, 0)
  }),
  ...[401, 417].map((status) =>
    define("B187", `${status} instead of 100 is all that the client gets`, function*(context) {
      const client = yield* context.connect
      yield* client.send(expecting)
      const origin = yield* context.origin
      yield* origin.nextRequestHead
      yield* origin.send(answer(`${status} No`, ["Content-Length: 2"], "no"))
      const got = yield* client.response()
      yield* same("the 1xx responses", got.informational.map(({ status }) => status), [])
      yield* same("the status", got.status, status)
      yield* same("the body", got.text, "no")
    })
  ),
  define("B189", "Expect is ignored in HTTP/1.0", function*(context) {
    const client = yield* context.connect
    yield* client.send("POST / HTTP/1.0\r\nHost: shop.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
    const { origin, seen } = yield* asked(context, client)
    yield* same("the body upstream", seen.text, "abc")
    yield* origin.send(ok)
    const { unread } = yield* client.ended
    yield* check(/^HTTP\/1\.[01] 200 /.test(unread), `the response begins with ${JSON.stringify(unread.slice(0, 30))}`)
  }),
  define("B190", "an unknown expectation is a 417, or goes on", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/", "Expect: the-unexpected"))
    const found = yield* outcome(context, client)
    if (found._tag !== "Asked") {
      return yield* check(found._tag === "Answered" && found.got.status === 417, describe(found))
    }
    yield* found.origin.send(ok)
    yield* same("the status", (yield* client.response()).status, 200)
  }),
  define("B191", "a 101 among 1xx responses that nobody asked for is a 502", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/"))
    const { origin } = yield* asked(context, client)
    yield* origin.send(hints + answer("101 Switching Protocols", ["Connection: Upgrade", "Upgrade: foo"]))
    yield* same("the status", (yield* client.response()).status, 502)
    yield* origin.ended
  }),
  define("B192", "a 103 and the end of the upstream is a 502", function*(context) {
    const client = yield* context.connect
    yield* client.send(raw("POST /", ["Content-Length: 3"], "abc"))
    const { origin } = yield* asked(context, client)
    yield* origin.send(hints)
    yield* Effect.sleep(20)
    yield* origin.end
    yield* same("the status", (yield* client.response()).status, 502)
  }),
  define("B193", "HEAD with Expect is answered, and the connection goes on or says that it ends", function*(context) {
    const client = yield* context.connect
    const response = answer("100 Continue") + answer("200 OK", ["Content-Length: 5"])
    const { got } = yield* ask(context, client, raw("HEAD /", ["Expect: 100-continue"]), response)
    yield* same("the status", got.status, 200)
    if (/close/i.test(got.get("connection") ?? "")) return yield* client.ended
    yield* same("the next body", (yield* ask(context, client, get("/next"))).got.text, "ok")
  })
]
