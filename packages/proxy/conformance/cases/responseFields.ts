import { answer, ask, asked, type Case, check, define, exchange, get, lines, same } from "../Case.ts"

const upgrade = get("/", "Connection: Upgrade", "Upgrade: foo")

/** B2: fields of responses. */
export const responseFields: ReadonlyArray<Case> = [
  define("B17", "a field that the response's Connection names is removed", function*(context) {
    const fields = ["Connection: X-Foo", "X-Foo: 1", "X-Kept: 1", "Content-Length: 0"]
    const { got } = yield* exchange(context, get("/"), answer("200 OK", fields))
    yield* same("X-Foo", lines(got, "x-foo"), [])
    yield* same("X-Kept", lines(got, "x-kept"), ["1"])
  }),
  define("B18", "the upstream's Keep-Alive and Proxy-Connection are removed", function*(context) {
    const fields = ["Keep-Alive: timeout=1234", "Proxy-Connection: keep-alive", "Content-Length: 0"]
    const { got } = yield* exchange(context, get("/"), answer("200 OK", fields))
    yield* check(!lines(got, "keep-alive").join().includes("1234"), "Keep-Alive: timeout=1234 was relayed")
    yield* same("Proxy-Connection", lines(got, "proxy-connection"), [])
  }),
  define("B19", "the same for a 101, but for Connection and Upgrade", function*(context) {
    const client = yield* context.connect
    yield* client.send(upgrade)
    const origin = yield* context.origin
    yield* origin.nextRequest
    yield* origin.send(answer("101 Switching Protocols", ["Connection: Upgrade, X-Foo", "Upgrade: foo", "X-Foo: 1"]))
    const got = yield* client.response()
    yield* same("the status", got.status, 101)
    yield* same("Upgrade", lines(got, "upgrade"), ["foo"])
    yield* same("X-Foo", lines(got, "x-foo"), [])
  }),
  define("B20", "Upgrade in a 426 is kept", function*(context) {
    const fields = ["Connection: Upgrade", "Upgrade: foo/2", "Content-Length: 0"]
    const { got } = yield* exchange(context, get("/"), answer("426 Upgrade Required", fields))
    yield* same("Upgrade", lines(got, "upgrade"), ["foo/2"])
  }),
  define("B21", "the upstream's Connection: close leaves the client's connection open", function*(context) {
    const closing = answer("200 OK", ["Connection: close", "Content-Length: 2"], "ok")
    const { client, got, origin } = yield* exchange(context, get("/"), closing)
    yield* origin.end
    yield* check(!/close/i.test(got.get("connection") ?? ""), "Connection: close was relayed")
    yield* same("the next status", (yield* ask(context, client, get("/next"))).got.status, 200)
  }),
  define("B22", "Transfer-Encoding is not copied, the body is framed anew", function*(context) {
    const chunked = answer("200 OK", ["Transfer-Encoding: Chunked"], "1;x=y\r\na\r\n2\r\nbc\r\n0\r\n\r\n")
    const { got } = yield* exchange(context, get("/"), chunked)
    yield* same("the body", got.text, "abc")
    const framings = [...lines(got, "content-length"), ...lines(got, "transfer-encoding")]
    yield* same("the number of framing fields", framings.length, 1)
  }),
  define("B23", "a field named Trailers is end-to-end", function*(context) {
    const { got } = yield* exchange(context, get("/"), answer("200 OK", ["Trailers: x", "Content-Length: 0"]))
    yield* same("Trailers", lines(got, "trailers"), ["x"])
  }),
  define("B24", "Date is kept and single", function*(context) {
    const date = "Thu, 01 Jan 1970 00:00:00 GMT"
    const { got } = yield* exchange(context, get("/"), answer("200 OK", [`Date: ${date}`, "Content-Length: 0"]))
    yield* same("Date", lines(got, "date"), [date])
  }),
  ...[["NUL", "a\0X-B: b"], ["CR", "a\rX-B: b"], ["LF", "a\nX-B: b"]].map(([name, value]) =>
    define("B25", `${name} in a field of the response does not reach the client`, function*(context) {
      const client = yield* context.connect
      yield* client.send(get("/"))
      const { origin } = yield* asked(context, client)
      yield* origin.send(answer("200 OK", [`X-A: ${value}`, "Content-Length: 0"]))
      const head = yield* client.read("\r\n\r\n")
      yield* check(/^HTTP\/1\.1 (200|502) /.test(head), `the response begins with ${JSON.stringify(head.slice(0, 30))}`)
      yield* check(!/[\0\r\n]/.test(head.replaceAll("\r\n", "")), `the head is ${JSON.stringify(head)}`)
    })
  ),
  define("B26", "Latin-1 bytes pass unchanged both ways", function*(context) {
    const response = answer("200 OK", ["X-Latin: caf\xe9", "Content-Length: 0"])
    const { got, seen } = yield* exchange(context, get("/", "X-Latin: \xfcber"), response)
    yield* same("X-Latin upstream", lines(seen, "x-latin"), ["\xfcber"])
    yield* same("X-Latin", lines(got, "x-latin"), ["caf\xe9"])
  }),
  define("B27", "an empty field value is kept both ways", function*(context) {
    const response = answer("200 OK", ["X-Empty:", "Content-Length: 0"])
    const { got, seen } = yield* exchange(context, get("/", "X-Empty:"), response)
    yield* same("X-Empty upstream", lines(seen, "x-empty"), [""])
    yield* same("X-Empty", lines(got, "x-empty"), [""])
  })
]
