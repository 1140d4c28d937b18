import * as Effect from "effect/Effect"
import {
  answer,
  ask,
  asked,
  type Case,
  check,
  type Context,
  define,
  describe,
  exchange,
  get,
  lines,
  ok,
  outcome,
  post,
  same,
  stillServes
} from "../Case.ts"

const handshake = get(
  "/socket",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
)

/** The 101 that accepts {@link handshake}. */
const switching = (...fields: ReadonlyArray<string>): string =>
  answer("101 Switching Protocols", [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ...fields
  ])

/** A handshake, with what follows each side's head in the same packet. */
const tunnel = Effect.fnUntraced(function*(context: Context, early = "", glued = "") {
  const client = yield* context.connect
  yield* client.send(handshake + early)
  const origin = yield* context.origin
  const seen = yield* origin.nextRequestHead
  yield* origin.send(switching("X-A: 1") + glued)
  const got = yield* client.responseHead
  yield* same("the status", got.status, 101)
  return { client, got, origin, seen }
})

/** A refusal that the client gets as it is. */
const refusal = (status: string, fields: ReadonlyArray<string>): Case =>
  define("B205", `a refusal with ${status} is relayed, and the connection goes on`, function*(context) {
    const refused = answer(status, [...fields, "Content-Length: 2"], "no")
    const { client, got } = yield* exchange(context, handshake, refused)
    yield* same("the status", got.status, Number(status.slice(0, 3)))
    yield* same("the body", got.text, "no")
    yield* same("the next body", (yield* ask(context, client, get("/next"))).got.text, "ok")
  })

/** A 101 that does not fit the request. */
const misfit = (number: string, title: string, request: string, response: string): Case =>
  define(number, title, function*(context) {
    const client = yield* context.connect
    yield* client.send(request)
    const { origin } = yield* asked(context, client)
    yield* origin.send(response)
    yield* same("the status", (yield* client.response()).status, 502)
    yield* origin.ended
  })

/** B13: upgrades. */
export const upgrade: ReadonlyArray<Case> = [
  define("B202", "a tunnel carries bytes both ways, and the 101 its fields", function*(context) {
    const { client, got, origin, seen } = yield* tunnel(context)
    yield* same("Upgrade upstream", lines(seen, "upgrade"), ["websocket"])
    yield* check(/upgrade/i.test(seen.get("connection") ?? ""), "Connection: upgrade is missing upstream")
    yield* same("X-A", lines(got, "x-a"), ["1"])
    yield* same("Sec-WebSocket-Accept", lines(got, "sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="])
    yield* client.send("\x00up\xff")
    yield* origin.read("\x00up\xff")
    yield* origin.send("\x00down\xff")
    yield* client.read("\x00down\xff")
  }),
  define("B203", "bytes that come with the handshake are delivered", function*(context) {
    const { client, origin } = yield* tunnel(context, "early")
    yield* origin.read("early")
    yield* client.send("late")
    yield* same("what follows", yield* origin.read("late"), "late")
  }),
  define("B204", "bytes glued to the 101 are delivered", function*(context) {
    const { client, origin } = yield* tunnel(context, "", "glued")
    yield* client.read("glued")
    yield* origin.send("late")
    yield* same("what follows", yield* client.read("late"), "late")
  }),
  refusal("403 Forbidden", []),
  refusal("302 Found", ["Location: /elsewhere"]),
  refusal("200 OK", []),
  misfit("B206", "a 101 with another protocol is a 502", handshake, switching().replace(": websocket", ": other")),
  misfit("B206", "a 101 without a protocol is a 502", handshake, answer("101 Switching Protocols")),
  misfit("B207", "a 101 that nobody asked for is a 502", get("/"), switching()),
  define("B216", "the end of one side of a tunnel reaches the other", function*(context) {
    const { client, origin } = yield* tunnel(context)
    yield* origin.reset
    yield* client.ended
  }),
  define("B208", "names of protocols are compared without case", function*(context) {
    const client = yield* context.connect
    yield* client.send(handshake.replace("websocket", "WebSocket"))
    const origin = yield* context.origin
    yield* origin.nextRequestHead
    yield* origin.send(switching())
    yield* same("the status", (yield* client.responseHead).status, 101)
    yield* client.send("up")
    yield* origin.read("up")
  }),
  define("B209", "another protocol is tunnelled, or the request is served without", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/", "Connection: Upgrade", "Upgrade: foo/1"))
    const { origin, seen } = yield* asked(context, client)
    if (seen.get("upgrade") === undefined) {
      yield* origin.send(ok)
      return yield* same("the status", (yield* client.response()).status, 200)
    }
    yield* origin.send(answer("101 Switching Protocols", ["Connection: Upgrade", "Upgrade: foo/1"]))
    yield* same("the status", (yield* client.responseHead).status, 101)
    yield* client.send("up")
    yield* origin.read("up")
  }),
  define("B210", "the body of an upgrade is sent before the switch, or the request is refused", function*(context) {
    const client = yield* context.connect
    yield* client.send(post("/", "abc", "Connection: Upgrade", "Upgrade: foo"))
    const found = yield* outcome(context, client)
    if (found._tag !== "Asked") {
      return yield* check(found._tag === "Answered" && found.got.status < 502, describe(found))
    }
    yield* same("the body upstream", found.seen.text, "abc")
    yield* found.origin.send(ok)
    yield* same("the status", (yield* client.response()).status, 200)
  }),
  define("B211", "Upgrade: h2c is not relayed", function*(context) {
    const client = yield* context.connect
    yield* client.send(get("/", "Connection: Upgrade", "Upgrade: h2c"))
    const found = yield* outcome(context, client)
    if (found._tag !== "Asked") {
      return yield* check(found._tag === "Answered" && found.got.status < 500, describe(found))
    }
    yield* same("Upgrade upstream", lines(found.seen, "upgrade"), [])
  }),
  define("B212", "Upgrade is ignored in HTTP/1.0", function*(context) {
    const client = yield* context.connect
    yield* client.send(handshake.replace("HTTP/1.1", "HTTP/1.0"))
    const found = yield* outcome(context, client)
    if (found._tag !== "Asked") {
      return yield* check(found._tag === "Answered" && found.got.status < 500, describe(found))
    }
    yield* same("Upgrade upstream", lines(found.seen, "upgrade"), [])
    yield* found.origin.send(ok)
    yield* same("the status", (yield* client.response()).status, 200)
  }),
  define("B213", "the last bytes of the client come before its FIN", function*(context) {
    const { client, origin } = yield* tunnel(context)
    yield* client.send("last")
    yield* client.end
    const { ending, unread } = yield* origin.ended
    yield* same("what the upstream got", [unread, ending], ["last", "FIN"])
  }),
  define("B213", "the last bytes of the upstream come before its FIN", function*(context) {
    const { client, origin } = yield* tunnel(context)
    yield* origin.send("last")
    yield* origin.end
    const { ending, unread } = yield* client.ended
    yield* same("what the client got", [unread, ending], ["last", "FIN"])
  }),
  define("B214", "a client that leaves during the handshake is known upstream", function*(context) {
    const client = yield* context.connect
    yield* client.send(handshake)
    const origin = yield* context.origin
    yield* origin.nextRequestHead
    yield* client.reset
    yield* origin.ended
    yield* stillServes(context, origin)
  }),
  ...(["end", "reset"] as const).map((how) =>
    define("B215", `an upstream that leaves during the handshake (${how}) is a 502`, function*(context) {
      const client = yield* context.connect
      yield* client.send(handshake)
      const { origin } = yield* asked(context, client)
      yield* origin[how]
      const found = yield* outcome(context, client)
      if (found._tag === "Asked") {
        // A handshake is a GET, which may be sent again.
        yield* found.origin[how]
        return yield* same("the status", (yield* client.response()).status, 502)
      }
      yield* check(found._tag === "Answered" && found.got.status === 502, describe(found))
    })
  ),
  define("B219", "Sec-WebSocket fields stay as they are, both ways", function*(context) {
    const client = yield* context.connect
    const protocols = "Sec-WebSocket-Protocol: chat, superchat"
    const extensions = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    yield* client.send(handshake.replace("Upgrade: websocket", `Upgrade: websocket\r\n${protocols}\r\n${extensions}`))
    const { origin, seen } = yield* asked(context, client)
    yield* same("Sec-WebSocket-Protocol upstream", lines(seen, "sec-websocket-protocol"), ["chat, superchat"])
    yield* same("Sec-WebSocket-Extensions upstream", lines(seen, "sec-websocket-extensions"), [
      "permessage-deflate; client_max_window_bits"
    ])
    yield* origin.send(switching("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate"))
    const got = yield* client.responseHead
    yield* same("Sec-WebSocket-Protocol", lines(got, "sec-websocket-protocol"), ["chat"])
    yield* same("Sec-WebSocket-Extensions", lines(got, "sec-websocket-extensions"), ["permessage-deflate"])
  })
]
