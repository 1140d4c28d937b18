import { assert, describe } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { answer, both, count, eventually, get, lines, ok, proxied, raw, roundTrip } from "./utils/proxied.ts"

/** Without what the server and the proxy add. */
const relayed = (fields: ReadonlyArray<string>): ReadonlyArray<string> => {
  const own = ["connection", "keep-alive", "via", "transfer-encoding"]
  return fields.filter((_, i) => !own.includes(fields[i - i % 2].toLowerCase()))
}

const cookies = ["a=1; path=/; foo=bar", "a=2; Path=/x; sameSITE=lax", "b=\"q\"; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]

describe("Proxy, response heads", () => {
  both("B149, B150 order, case, repeats and bytes of the fields stay", (path) =>
    Effect.gen(function*() {
      const fields = [
        "X-Second: 2",
        "x-FIRST: one",
        `Set-Cookie: ${cookies[0]}`,
        "X-Multi: a",
        `set-cookie: ${cookies[1]}`,
        "X-MULTI: b, c",
        `Set-Cookie: ${cookies[2]}`,
        "X-Latin1: caf\xe9",
        "X-Empty: ",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "Content-Length: 2"
      ]
      const { got } = yield* roundTrip(path, get("/"), answer("200 OK", fields, "ok"))
      assert.deepStrictEqual(relayed(got.fields), fields.flatMap((field) => field.split(/: (.*)/s).slice(0, 2)))
      assert.deepStrictEqual(lines(got, "set-cookie"), cookies)
    }))

  both("B140 the reason phrase is relayed", (path) =>
    Effect.gen(function*() {
      const { got } = yield* roundTrip(path, get("/"), answer("404 Gone Fishing", ["Content-Length: 0"]))
      assert.strictEqual(got.startLine, "HTTP/1.1 404 Gone Fishing")
    }))

  both("B141 HEAD keeps Content-Length and both connections", (path) =>
    Effect.gen(function*() {
      const head = answer("200 OK", ["Content-Length: 5"])
      const { client, got, origin } = yield* roundTrip(path, raw("HEAD /"), head)
      assert.strictEqual(got.get("content-length"), "5")
      yield* client.send(get("/next"))
      assert.strictEqual((yield* origin.nextRequest).target, "/next")
      yield* origin.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
    }))

  both("B142, B144 a 204 has no framing field", (path) =>
    Effect.gen(function*() {
      const { client, got } = yield* roundTrip(
        path,
        get("/"),
        answer("204 No Content", ["Content-Length: 0", "X-A: 1"])
      )
      assert.strictEqual(got.get("content-length"), undefined)
      assert.strictEqual(got.get("transfer-encoding"), undefined)
      assert.strictEqual(got.get("x-a"), "1")
      yield* client.end
      assert.strictEqual((yield* client.ended).unread, "")
    }))

  both("B143 a 304 keeps its validators and its length", (path) =>
    Effect.gen(function*() {
      const fields = ["ETag: \"x\"", "Content-Length: 5"]
      const { client, got } = yield* roundTrip(path, get("/"), answer("304 Not Modified", fields))
      assert.strictEqual(got.get("etag"), "\"x\"")
      assert.strictEqual(got.get("content-length"), "5")
      yield* client.end
      assert.strictEqual((yield* client.ended).unread, "")
    }))

  both(
    "B145 an HTTP/1.0 client gets a chunked body without its chunks, and the connection closes",
    (path) =>
      Effect.gen(function*() {
        const { client, origin } = yield* proxied(path)
        yield* client.send("GET / HTTP/1.0\r\n\r\n")
        const connection = yield* origin
        assert.deepStrictEqual(lines(yield* connection.nextRequest, "via"), ["1.0 sluice"])
        yield* connection.send(answer("200 OK", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n0\r\n\r\n"))
        const { ending, unread } = yield* client.ended
        assert.strictEqual(ending, "FIN")
        assert.isTrue(unread.endsWith("\r\n\r\nabc"), unread)
        assert.notMatch(unread, /transfer-encoding/i)
      })
  )

  both("B145 to an HTTP/1.0 client a truncated body does not look whole", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send("GET / HTTP/1.0\r\n\r\n")
      const connection = yield* origin
      yield* connection.nextRequest
      yield* connection.send(answer("200 OK", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n"))
      yield* client.read("abc")
      yield* connection.end
      assert.strictEqual((yield* client.ended).ending, "RST")
    }))

  both("B146 HTTP/1.0 keep-alive is honoured with a length", (path) =>
    Effect.gen(function*() {
      const request = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
      const { client, got, origin } = yield* roundTrip(path, request)
      assert.strictEqual(got.get("connection"), "keep-alive")
      yield* client.send(request)
      yield* origin.nextRequest
      yield* origin.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
    }))

  both("B148 a body that the end of the connection ends is chunked for the client", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* connection.send("HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nabc")
      yield* connection.end
      const got = yield* client.response()
      assert.strictEqual(got.framing, "Chunked")
      assert.strictEqual(got.text, "abc")
      assert.isTrue(got.complete)
      assert.deepStrictEqual(lines(got, "via"), ["1.0 sluice"])
    }))

  both("B202 head edits apply to relayed responses, the inner one first", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.compose(
        Middleware.head("outer", (head) => {
          head.set("X-Frame", `${head.get("X-Frame")}+outer`)
          head.remove("Server")
        }),
        Middleware.head("inner", (head) => {
          head.set("X-Frame", "inner")
          head.append("Set-Cookie", "mine=1")
        })
      )
      const fields = ["Server: origin", "X-Frame: upstream", "Set-Cookie: theirs=1; foo", "Set-Cookie: b=2"]
      const { got } = yield* roundTrip(path, get("/"), answer("200 OK", [...fields, "Content-Length: 0"]), { stack })
      assert.deepStrictEqual(lines(got, "x-frame"), ["inner+outer"])
      assert.deepStrictEqual(lines(got, "server"), [])
      assert.deepStrictEqual(lines(got, "set-cookie"), ["theirs=1; foo", "b=2", "mine=1"])
    }))

  both("head edits apply to the proxy's errors", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.head("nosniff", (head) => head.set("X-Content-Type-Options", "nosniff"))
      const { client } = yield* proxied(path, { stack, target: "http://127.0.0.1:1" })
      const got = yield* client.request(get("/"))
      assert.strictEqual(got.status, 502)
      assert.strictEqual(got.get("x-content-type-options"), "nosniff")
    }))

  both(
    "middleware that works on the value can add cookies, change fields and replace the response",
    (path) =>
      Effect.gen(function*() {
        const fields = [
          "Set-Cookie: a=1; foo=bar",
          "Set-Cookie: a=2",
          "X-Kept: 1",
          "X-Kept: 2",
          "X-Changed: 1",
          "X-Gone: 1"
        ]
        const stack = Middleware.around("edit", (handler) =>
          Effect.map(handler, (response) =>
            response.status === 404
              ? HttpServerResponse.text("replaced")
              : response.pipe(
                HttpServerResponse.setCookieUnsafe("mine", "1"),
                HttpServerResponse.setHeader("x-changed", "2"),
                HttpServerResponse.removeHeader("x-gone")
              )))
        const first = yield* Effect.scoped(
          roundTrip(path, get("/"), answer("200 OK", [...fields, "Content-Length: 2"], "ok"), { stack })
        )
        assert.deepStrictEqual(lines(first.got, "set-cookie"), ["mine=1", "a=1; foo=bar", "a=2"])
        assert.deepStrictEqual(lines(first.got, "x-kept"), ["1", "2"])
        assert.deepStrictEqual(lines(first.got, "x-changed"), ["2"])
        assert.deepStrictEqual(lines(first.got, "x-gone"), [])
        const second = yield* roundTrip(path, get("/"), answer("404 X", [...fields, "Content-Length: 2"], "no"), {
          stack
        })
        assert.strictEqual(second.got.text, "replaced")
        assert.deepStrictEqual(lines(second.got, "set-cookie"), [])
        assert.deepStrictEqual(lines(second.got, "x-kept"), [])
      })
  )
})

describe("Proxy, response bodies", () => {
  for (const framing of ["Content-Length: 5", "Transfer-Encoding: chunked"]) {
    both(`B223 a head without a body yet is sent at once: ${framing}`, (path) =>
      Effect.gen(function*() {
        const { client, origin } = yield* proxied(path)
        yield* client.send(get("/"))
        const connection = yield* origin
        yield* connection.nextRequest
        yield* connection.send(answer("200 OK", [framing]))
        const head = yield* client.responseHead
        assert.strictEqual(head.status, 200)
        yield* connection.send(framing.startsWith("C") ? "hello" : "5\r\nhello\r\n0\r\n\r\n")
        yield* client.read("hello")
      }))
  }

  both("B224, B225 events and other chunks are sent as they come", (path) =>
    Effect.gen(function*() {
      for (const type of ["text/event-stream", "text/event-stream;charset=utf-8", "application/octet-stream"]) {
        const { client, origin } = yield* proxied(path)
        yield* client.send(get("/"))
        const connection = yield* origin
        yield* connection.nextRequest
        yield* connection.send(answer("200 OK", [`Content-Type: ${type}`, "Transfer-Encoding: chunked"]))
        for (const event of ["data: 1\n\n", "data: 2\n\n"]) {
          yield* connection.send(`${event.length.toString(16)}\r\n${event}\r\n`)
          yield* client.read(event)
        }
        yield* connection.send("0\r\n\r\n")
        yield* client.read("0\r\n\r\n")
      }
    }))

  for (
    const [name, response] of [
      ["with a length", ok],
      ["with a length and a type", answer("200 OK", ["Content-Length: 2", "Content-Type: text/plain"], "ok")],
      ["chunked", answer("200 OK", ["Transfer-Encoding: chunked"], "2\r\nok\r\n0\r\n\r\n")]
    ] as const
  ) {
    both(`a small response ${name} is one packet`, (path) =>
      Effect.gen(function*() {
        const { client, origin } = yield* proxied(path)
        // The first response opens the pooled connection; the second is the ordinary case.
        yield* client.send(get("/"))
        const connection = yield* origin
        yield* connection.nextRequest
        yield* connection.send(response)
        yield* client.response()
        const packets: Array<string> = []
        client.socket.prependListener("data", (data: Buffer) => packets.push(data.toString("latin1")))
        yield* client.send(get("/"))
        yield* connection.nextRequest
        yield* connection.send(response)
        yield* client.response()
        assert.strictEqual(packets.length, 1, JSON.stringify(packets))
      }))
  }

  both("B227 a client that does not read stops the upstream", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      client.socket.pause()
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      const { socket } = connection
      socket.write(answer("200 OK", [`Content-Length: ${64 * 1024 * 1024}`]))
      const piece = Buffer.alloc(64 * 1024, 0x61)
      let sent = 0
      // What the kernels' buffers take is theirs; when nothing moves any more, the proxy has stopped reading.
      const fill = (): void => {
        while (sent < 1024 && socket.writableLength < 1024 * 1024) {
          socket.write(piece)
          sent++
        }
      }
      socket.on("drain", fill)
      fill()
      yield* stalled(() => socket.bytesWritten - socket.writableLength)
      assert.isBelow(socket.bytesWritten, 40 * 1024 * 1024)
      const received = count(client)
      client.socket.resume()
      yield* eventually(() => received.bytes > 64 * 1024 * 1024)
    }))

  both("B228 an upstream that does not read stops the client", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      const size = 64 * 1024 * 1024
      yield* client.send(raw("POST /", [`Content-Length: ${size}`]))
      const connection = yield* origin
      yield* connection.nextRequestHead
      connection.socket.pause()
      client.socket.write(Buffer.alloc(size, 0x61))
      yield* stalled(() => client.socket.bytesWritten - client.socket.writableLength)
      assert.isAbove(client.socket.writableLength, 0)
      const received = count(connection)
      connection.socket.resume()
      yield* eventually(() => received.bytes >= size)
      yield* connection.send(ok)
      assert.strictEqual((yield* client.response()).status, 200)
    }))
})

/** Until a count has not changed for many turns of the event loop. */
const stalled = (count: () => number): Effect.Effect<void> => {
  let last = -1
  let turns = 0
  return eventually(() => {
    const now = count()
    turns = now === last ? turns + 1 : 0
    last = now
    return turns > 2000
  })
}
