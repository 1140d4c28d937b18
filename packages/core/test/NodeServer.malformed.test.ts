import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Exchange from "../src/Exchange.ts"
import * as Route from "../src/Route.ts"
import { App, RawClient } from "../src/testing/index.ts"
import { get, post, raw } from "./support.ts"

const echo = Effect.flatMap(
  HttpServerRequest.HttpServerRequest,
  (request) => Effect.map(request.text, (text) => HttpServerResponse.text(`got ${text}`))
)

/** The request's fields as the app sees them, once its body has been read. */
const fields = Effect.gen(function*() {
  const request = yield* HttpServerRequest.HttpServerRequest
  yield* request.text
  const { requestFields } = yield* Exchange.current
  return HttpServerResponse.jsonUnsafe({ raw: requestFields, joined: request.headers })
})

const routes = Layer.mergeAll(
  Route.get("/", Effect.succeed(HttpServerResponse.text("ok"))),
  Route.post("/echo", echo),
  Route.post("/fields", fields),
  Route.post("/refusing", Effect.succeed(HttpServerResponse.text("no", { status: 403 })))
)

const chunked = (body: string, ...fields: ReadonlyArray<string>): string =>
  raw("POST /echo", ["Transfer-Encoding: chunked", ...fields], body)

const chunks = "3\r\nabc\r\n0\r\n\r\n"

const head = (...lines: ReadonlyArray<string>): string => [...lines, "", ""].join("\r\n")

/** What must never be executed behind a request that is refused. */
const smuggled = get("/smuggled")

describe("B113 NodeServer, a request that is refused, and nothing behind it executed", () => {
  const cases: ReadonlyArray<readonly [name: string, request: string, status: number]> = [
    ["no request at all", "GARBAGE\r\n\r\n", 400],
    ["B67 an unknown method", head("BREW / HTTP/1.1", "Host: test"), 400],
    ["B68 a lower-case method", head("get / HTTP/1.1", "Host: test"), 400],
    ["HTTP/0.9", "GET /\r\n\r\n", 505],
    ["B69 HTTP/2.0 in a request line", head("GET / HTTP/2.0", "Host: test"), 505],
    ["B69 HTTP/2.0 that asks to go on", head("GET / HTTP/2.0", "Host: test", "Connection: keep-alive"), 505],
    ["B70 HTTP/1.2", head("GET / HTTP/1.2", "Host: test"), 505],
    ["B70 HTTP/1.10", head("GET / HTTP/1.10", "Host: test"), 505],
    ["B70 http/1.1", head("GET / http/1.1", "Host: test"), 400],
    ["B58 * with GET", raw("GET *"), 400],
    ["a target without a slash", raw("GET foo"), 400],
    ["B59 a fragment", raw("GET /#a"), 400],
    ["an absolute target without authority", raw("GET http:///x"), 400],
    ["a space in the target", raw("GET /a b"), 400],
    ["B60 CONNECT", raw("CONNECT test:443"), 501],
    ["B60 CONNECT with a body", raw("CONNECT test:443", ["Content-Length: 3"], "abc"), 501],
    ["B60 CONNECT that asks to switch", raw("CONNECT test:443", ["Connection: Upgrade", "Upgrade: foo"]), 501],
    ["B63 two Hosts, asking to switch", get("/", "Host: b", "Connection: Upgrade", "Upgrade: foo"), 400],
    ["B62 no Host", head("GET / HTTP/1.1"), 400],
    ["B63 two Hosts", get("/", "Host: other"), 400],
    ["B63 two equal Hosts", get("/", "Host: test"), 400],
    ["B64 a Host with a path", head("GET / HTTP/1.1", "Host: test/path"), 400],
    ["B64 a Host with user info", head("GET / HTTP/1.1", "Host: a@test"), 400],
    ["B64 a Host with a space", head("GET / HTTP/1.1", "Host: a b"), 400],
    ["B64 a Host with a comma", head("GET / HTTP/1.1", "Host: a,b"), 400],
    ["B64 a Host with a bad port", head("GET / HTTP/1.1", "Host: test:80x"), 400],
    ["B92, C42 Content-Length and Transfer-Encoding", chunked("0\r\n\r\n", "Content-Length: 3"), 400],
    ["B95 two Content-Lengths", raw("POST /echo", ["Content-Length: 3", "Content-Length: 3"], "abc"), 400],
    ["B96 Content-Length: 3, 3", raw("POST /echo", ["Content-Length: 3, 3"], "abc"), 400],
    ["B97 Content-Length: +3", raw("POST /echo", ["Content-Length: +3"], "abc"), 400],
    ["B98 Content-Length: 03", raw("POST /echo", ["Content-Length: 03"], "abc"), 400],
    ["B100 gzip, chunked", raw("POST /echo", ["Transfer-Encoding: gzip, chunked"], "0\r\n\r\n"), 501],
    [
      "B100 gzip and chunked on two lines",
      raw("POST /echo", ["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], chunks),
      501
    ],
    ["B101 Transfer-Encoding in HTTP/1.0", head("POST /echo HTTP/1.0", "Transfer-Encoding: chunked") + chunks, 400],
    ["B103 a space before a colon", get("/", "X-A : 1"), 400],
    ["B104 a folded field", get("/", "X-A: 1", " folded"), 400],
    ["B104 a field folded with a tab", get("/", "X-A: 1", "\tfolded"), 400],
    ["B104 a folded Content-Length", raw("POST /echo", ["Content-Length:", " 3"], "abc"), 400],
    ["B104 a folded Transfer-Encoding", raw("POST /echo", ["Transfer-Encoding:", " chunked"], chunks), 400],
    ["B104 a folded Host", head("GET / HTTP/1.1", "Host: test", " .example"), 400],
    ["B105 white space before the first field", head("GET / HTTP/1.1", " X-A: 1", "Host: test"), 400],
    ["B105 a line of white space before the fields", head("GET / HTTP/1.1", " ", "Host: test"), 400],
    ["B105 white space before the request line", ` ${get("/")}`, 400],
    ["B106 bare line feeds", "GET / HTTP/1.1\nHost: test\n\n", 400],
    ["B106 a bare line feed after a field", head("GET / HTTP/1.1", "Host: test\nX-A: 1"), 400],
    ["B106 a bare line feed at the end of the head", "GET / HTTP/1.1\r\nHost: test\r\n\n", 400],
    ["B106 a bare carriage return in a value", get("/", "X-A: 1\rX-B: 2"), 400],
    ["B106 a bare carriage return in a name", get("/", "X\r-A: 1"), 400],
    ["B106 a bare carriage return after the request line", "GET / HTTP/1.1\rHost: test\r\n\r\n", 400],
    ["B107 a NUL in a value", get("/", "X-A: a\0b"), 400],
    ["B107 a NUL in a name", get("/", "X-\0A: b"), 400],
    ["B107 a control character in a value", get("/", "X-A: a\x01b"), 400],
    ["B107 a DEL in a value", get("/", "X-A: a\x7fb"), 400],
    ["B107 a NUL in the target", raw("GET /\0"), 400],
    ["B108 a field without a colon", get("/", "X-A"), 400],
    ["B108 an empty name", get("/", ": 1"), 400],
    ["B108 a space in a name", get("/", "X A: 1"), 400],
    ["B108 a name outside of ASCII", get("/", "X-\xe9: 1"), 400],
    ["B108 a name with a delimiter", get("/", "X(A): 1"), 400],
    ["B190 an unknown expectation", get("/", "Expect: teapot"), 417]
  ]
  for (const [name, request, status] of cases) {
    it.effect(`${name} is ${status}, and the end of the connection`, () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request(request + smuggled)
        assert.strictEqual(response.status, status)
        assert.strictEqual(response.get("content-type"), "application/problem+json")
        assert.strictEqual(response.get("connection")?.toLowerCase(), "close")
        assert.strictEqual(JSON.parse(response.text).status, status)
        assert.deepStrictEqual(yield* client.ended, { ending: "FIN", unread: "" })
        assert.strictEqual((yield* app.exchange(0)).outcome._tag, "Rejected")
        assert.strictEqual((yield* app.exchanges).length, 1)
      }))
  }

  it.effect("B71 the preface of HTTP/2 ends the connection, and is no request", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      const client = yield* RawClient.connect(app.port)
      yield* client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
      const { unread } = yield* client.ended
      assert.match(unread, /^(?:HTTP\/1\.1 (?:400|505) [^]*)?$/)
      assert.isEmpty((yield* app.exchanges).filter(({ outcome }) => outcome._tag !== "Rejected"))
    }))
})

describe("NodeServer, a body that is refused", () => {
  const sizes = ["0x3", "+3", "-3", "_3", "3_", " 3", "\t3", "3 ", "g", "", "fffffffffffffffff", "3\0"]
  const cases: ReadonlyArray<readonly [name: string, body: string]> = [
    ...sizes.map((size) => [`B110 of chunk size ${JSON.stringify(size)}`, `${size}\r\nabc\r\n0\r\n\r\n`] as const),
    ["B111 of a chunk line that ends in LF", "3\nabc\r\n0\r\n\r\n"],
    ["B111 of a chunk that ends in LF", "3\r\nabc\n0\r\n\r\n"],
    ["B111 of a last chunk that ends in LF", "3\r\nabc\r\n0\n\r\n"],
    ["B111 of a chunk without its CRLF", "3\r\nabc0\r\n\r\n"],
    ["B111 of a chunk that is longer than its size", "3\r\nabcd\r\n0\r\n\r\n"],
    ["B111 of a chunk that is shorter than its size", "5\r\nabc\r\n0\r\n\r\n"],
    ["B111 of an extension with a bare CR", "3;a\rb\r\nabc\r\n0\r\n\r\n"],
    ["B111 of an extension with a bare LF", "3;a\nb\r\nabc\r\n0\r\n\r\n"],
    ["B111 of an extension with a NUL", "3;a\0b\r\nabc\r\n0\r\n\r\n"],
    ["B111 of an extension without a name", "3;\r\nabc\r\n0\r\n\r\n"],
    ["B111 of a trailer with a bare LF", "3\r\nabc\r\n0\r\nX-A: 1\n\r\n"]
  ]
  for (const [name, body] of cases) {
    it.effect(`${name} is 400, and the end of the connection`, () =>
      Effect.gen(function*() {
        const over = yield* Deferred.make<string>()
        const app = yield* App.listen(Layer.merge(
          Route.post("/echo", Effect.onExit(echo, ({ _tag }) => Deferred.succeed(over, _tag))),
          Route.get("/smuggled", Effect.die(new Error("executed")))
        ))
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request(chunked(body) + smuggled)
        assert.strictEqual(response.status, 400)
        assert.strictEqual(response.get("connection"), "close")
        assert.deepStrictEqual(yield* client.ended, { ending: "FIN", unread: "" })
        assert.strictEqual(yield* Deferred.await(over), "Failure")
        assert.strictEqual((yield* app.exchange(0)).outcome._tag, "Rejected")
        assert.strictEqual((yield* app.exchanges).length, 1)
      }))
  }

  for (const trailer of ["Host: evil", "Authorization: evil", "Content-Length: 5", "Transfer-Encoding: chunked"]) {
    it.effect(`B112 a trailer ${trailer} is no field of the request, and frames nothing`, () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const client = yield* RawClient.connect(app.port)
        const request = raw("POST /fields", ["Transfer-Encoding: chunked"], `3\r\nabc\r\n0\r\n${trailer}\r\n\r\n`)
        const response = yield* client.request(request + get("/"))
        if (response.status !== 400) {
          assert.deepStrictEqual(JSON.parse(response.text), {
            raw: ["Host", "test", "Transfer-Encoding", "chunked"],
            joined: { host: "test", "transfer-encoding": "chunked" }
          })
          assert.strictEqual((yield* client.response()).text, "ok")
        } else assert.deepStrictEqual(yield* client.ended, { ending: "FIN", unread: "" })
      }))
  }
})

describe("NodeServer, a body that nobody reads", () => {
  const body = smuggled
  for (const [path, status] of [["/refusing", 403], ["/none", 404]] as const) {
    it.effect(`B116 behind a ${status} is never taken for a request`, () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request(raw(`POST ${path}`, [`Content-Length: ${body.length}`]))
        assert.strictEqual(response.status, status)
        yield* Effect.exit(client.send(body))
        yield* client.end
        assert.strictEqual((yield* client.ended).unread, "")
        assert.deepStrictEqual((yield* app.exchanges).map(({ path }) => path), [path])
      }))
  }

  it.effect("B116 behind a refusal ends the connection", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      const client = yield* RawClient.connect(app.port)
      const response = yield* client.request(raw("POST /echo", ["Host: twice", "Content-Length: 1000"], smuggled))
      assert.strictEqual(response.status, 400)
      assert.deepStrictEqual(yield* client.ended, { ending: "FIN", unread: "" })
      assert.strictEqual((yield* app.exchanges).length, 1)
    }))
})

describe("NodeServer lets pass what is odd but valid", () => {
  const latin1 = raw("POST /fields", ["X-A: \xe9", "Content_Length: 3", "Connection: X-B", "Connection: X-C"])
  const cases: ReadonlyArray<readonly [name: string, request: string, text: string]> = [
    ["B56 an absolute target, whatever Host says", head("GET http://other.test/ HTTP/1.1", "Host: test"), "ok"],
    ["B65 HTTP/1.0 without Host", head("GET / HTTP/1.0"), "ok"],
    ["an empty Host", head("GET / HTTP/1.1", "Host:"), "ok"],
    ["an IPv6 Host with a port", head("GET / HTTP/1.1", "Host: [::1]:80"), "ok"],
    ["B78 a body on GET", raw("GET /", ["Content-Length: 3"], "abc"), "ok"],
    ["B86 chunk extensions", chunked("3;a=b\r\nabc\r\n0\r\n\r\n"), "got abc"],
    ["Chunked in another case", raw("POST /echo", ["Transfer-Encoding: Chunked"], chunks), "got abc"],
    ["Content-Length: 0", post("/echo", ""), "got "],
    ["an empty line before the request line", `\r\n${get("/")}`, "ok"]
  ]
  for (const [name, request, text] of cases) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const app = yield* App.listen(routes)
        const client = yield* RawClient.connect(app.port)
        const response = yield* client.request(request)
        assert.deepStrictEqual([response.status, response.text], [200, text])
      }))
  }

  it.effect("B26, B109 Latin-1 bytes, names with underscores and repeated lines stay what they are", () =>
    Effect.gen(function*() {
      const app = yield* App.listen(routes)
      const client = yield* RawClient.connect(app.port)
      const seen = JSON.parse((yield* client.request(latin1)).text).raw
      assert.deepStrictEqual(seen, [
        "Host",
        "test",
        "X-A",
        "\xe9",
        "Content_Length",
        "3",
        "Connection",
        "X-B",
        "Connection",
        "X-C"
      ])
      assert.strictEqual((yield* client.request(get("/"))).text, "ok")
    }))
})
