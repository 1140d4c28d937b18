import { assert, describe, it } from "@effect/vitest"
import type * as Exchange from "@sluice/core/Exchange"
import type { App, RawConnection } from "@sluice/core/testing"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import { answer, both, get, ok, proxied, raw, roundTrip } from "./utils/proxied.ts"
import { handshake } from "./utils/tunnel.ts"

/** How exchange 0 ended; every exchange ends exactly once. */
const endOf = Effect.fnUntraced(function*(app: App.App) {
  const ended = yield* app.exchange(0)
  assert.strictEqual((yield* app.exchanges).length, 1)
  return ended
})

const errorOf = ({ cause }: Exchange.Ended): unknown => cause === undefined ? undefined : Cause.squash(cause)

const leave = {
  FIN: (_: RawConnection.RawConnection) => Effect.sync(() => _.socket.destroy()),
  RST: (_: RawConnection.RawConnection) => _.reset
}

describe("Proxy, a client that leaves", () => {
  for (const how of ["FIN", "RST"] as const) {
    both(
      `B153, B156 before the response head: the upstream's connection closes (${how})`,
      (path) =>
        Effect.gen(function*() {
          const { app, client, origin, upstream } = yield* proxied(path)
          yield* client.send(get("/"))
          const connection = yield* origin
          yield* connection.nextRequest
          yield* leave[how](client)
          yield* connection.ended
          const ended = yield* endOf(app)
          assert.deepStrictEqual(ended.outcome, { _tag: "ClientAborted", phase: "handler" })
          assert.strictEqual(yield* upstream.accepted, 1)
        })
    )

    both(
      `B154, B156 within the response body: the upstream's connection closes (${how})`,
      (path) =>
        Effect.gen(function*() {
          const { app, client, origin } = yield* proxied(path)
          yield* client.send(get("/"))
          const connection = yield* origin
          yield* connection.nextRequest
          yield* connection.send(answer("200 OK", ["Content-Type: text/event-stream"], "data: 1\n\n"))
          yield* client.read("data: 1\n\n")
          yield* leave[how](client)
          yield* connection.ended
          assert.deepStrictEqual((yield* endOf(app)).outcome, { _tag: "ClientAborted", phase: "responseBody" })
        })
    )

    both(
      `B153, B156 while it waits to switch: the upstream's connection closes (${how})`,
      (path) =>
        Effect.gen(function*() {
          const { app, client, origin } = yield* proxied(path)
          yield* client.send(handshake())
          const connection = yield* origin
          yield* connection.nextRequestHead
          yield* leave[how](client)
          yield* connection.ended
          assert.deepStrictEqual((yield* endOf(app)).outcome, { _tag: "ClientAborted", phase: "handler" })
        })
    )

    both(
      `B154, B156 within the body of a refused switch: the upstream's connection closes (${how})`,
      (path) =>
        Effect.gen(function*() {
          const { app, client, origin } = yield* proxied(path)
          yield* client.send(handshake())
          const connection = yield* origin
          yield* connection.nextRequestHead
          yield* connection.send(answer("200 OK", ["Content-Type: text/event-stream"], "data: 1\n\n"))
          yield* client.read("data: 1\n\n")
          yield* leave[how](client)
          yield* connection.ended
          assert.deepStrictEqual((yield* endOf(app)).outcome, { _tag: "ClientAborted", phase: "responseBody" })
        })
    )

    both(
      `B155, B156 within its upload: the upstream sees no complete request (${how})`,
      (path) =>
        Effect.gen(function*() {
          const { app, client, origin } = yield* proxied(path)
          yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n"))
          const connection = yield* origin
          yield* connection.read("abc\r\n")
          yield* leave[how](client)
          assert.strictEqual((yield* connection.ended).unread, "")
          assert.deepStrictEqual((yield* endOf(app)).outcome, { _tag: "ClientAborted", phase: "handler" })
        })
    )
  }

  both("B157 a client that ends its side has left, as for Node, Go and nginx", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path)
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* client.end
      yield* connection.ended
      assert.deepStrictEqual((yield* endOf(app)).outcome, { _tag: "ClientAborted", phase: "handler" })
    }))

  both("B247 its upstream connection is not used again", (path) =>
    Effect.gen(function*() {
      const { client, connect, origin, upstream } = yield* proxied(path)
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* connection.send(answer("200 OK", ["Content-Length: 10"], "abc"))
      yield* client.read("abc")
      yield* client.reset
      yield* connection.ended
      const second = yield* connect
      yield* second.send(get("/"))
      const fresh = yield* upstream.nextConnection
      yield* fresh.nextRequest
      yield* fresh.send(ok)
      assert.strictEqual((yield* second.response()).text, "ok")
    }))
})

/** What an upstream does after it has sent a head and a part of its body. */
const truncations = [
  ["B129 a short body and FIN", answer("200 OK", ["Content-Length: 10"], "abc"), "end"],
  ["B130 chunks without the last one and FIN", answer("200 OK", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n"), "end"],
  [
    "B131 chunks without the last one and RST",
    answer("200 OK", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n"),
    "reset"
  ],
  ["B133 a body until the end of the connection and RST", answer("200 OK", [], "abc"), "reset"]
] as const

const nodeMajor = Number(process.versions.node.split(".")[0])

describe("Proxy, an upstream that breaks off", () => {
  for (const [name, response, how] of truncations) {
    both(`${name}: the client sees an abort`, (path) =>
      Effect.gen(function*() {
        const { app, client, origin } = yield* proxied(path)
        yield* client.send(get("/"))
        const connection = yield* origin
        yield* connection.nextRequest
        yield* connection.send(response)
        yield* client.read("abc")
        yield* connection[how]
        assert.notInclude((yield* client.ended).unread, "0\r\n\r\n")
        const ended = yield* endOf(app)
        assert.deepStrictEqual(ended.outcome, { _tag: "Failed", phase: "responseBody" })
        assert.propertyVal(errorOf(ended), "_tag", "UpstreamBodyTruncated")
        assert.propertyVal(errorOf(ended), "received", 3)
        assert.strictEqual(ended.status, 200)
      }))

    // A reset that comes at once with the bytes before it is an end for the reads of Node 22: nobody can tell.
    if (how === "reset" && nodeMajor < 24) {
      it.skip(`${name}, all at once: not on Node 22, which reads such a reset as an end`, () => {})
      continue
    }
    both(`${name}, all at once: the client sees an abort`, (path) =>
      Effect.gen(function*() {
        const { app, client, origin } = yield* proxied(path)
        yield* client.send(get("/"))
        const connection = yield* origin
        yield* connection.nextRequest
        yield* connection.send(response)
        yield* connection[how]
        const { unread } = yield* client.ended
        assert.notInclude(unread, "0\r\n\r\n")
        const { outcome } = yield* endOf(app)
        // A reset may overtake the head.
        assert.strictEqual(outcome._tag, "Failed")
      }))
  }

  both("B132 a body until the end of the connection and FIN is whole", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path)
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* connection.send(answer("200 OK", [], "abc"))
      yield* connection.end
      const got = yield* client.response()
      assert.isTrue(got.complete)
      assert.strictEqual(got.text, "abc")
      assert.deepStrictEqual((yield* endOf(app)).outcome, { _tag: "Completed" })
    }))

  both("B134 what came of a truncated encoded body is relayed before the abort", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* connection.send(answer("200 OK", ["Content-Encoding: gzip", "Content-Length: 99"], "\x1f\x8b\x08"))
      yield* connection.end
      const got = yield* client.response()
      assert.strictEqual(got.body.toString("latin1"), "\x1f\x8b\x08")
      assert.isFalse(got.complete)
    }))

  both("B135 bytes after the body are cut off and the connection is not used again", (path) =>
    Effect.gen(function*() {
      const { client, got, origin, upstream } = yield* roundTrip(path, get("/"), `${ok}EXTRA`)
      assert.strictEqual(got.text, "ok")
      yield* origin.ended
      yield* client.send(get("/"))
      const fresh = yield* upstream.nextConnection
      yield* fresh.nextRequest
      yield* fresh.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
    }))

  for (const [number, how] of [["B124", "end"], ["B125", "reset"]] as const) {
    both(
      `${number} before a head (${how}) is a 502, and the client's connection stays`,
      (path) =>
        Effect.gen(function*() {
          const { app, client, origin, upstream } = yield* proxied(path)
          yield* client.send(get("/"))
          const connection = yield* origin
          yield* connection.nextRequest
          yield* connection[how]
          const got = yield* client.response()
          assert.strictEqual(got.status, 502)
          assert.strictEqual(got.get("proxy-status"), "sluice; error=connection_terminated")
          assert.propertyVal(errorOf(yield* app.exchange(0)), "_tag", "UpstreamClosedBeforeResponse")
          yield* client.send(get("/"))
          const next = yield* upstream.nextConnection
          yield* next.nextRequest
          yield* next.send(ok)
          assert.strictEqual((yield* client.response()).status, 200)
        })
    )
  }

  both("B160 within the client's upload is a 502", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(raw("POST /", ["Content-Length: 10"], "abc"))
      const connection = yield* origin
      yield* connection.read("abc")
      yield* connection.reset
      assert.strictEqual((yield* client.response()).status, 502)
    }))

  both("B161 an early answer to an upload is relayed, and the upload stops", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(raw("POST /", ["Content-Length: 1000000"], "abc"))
      const connection = yield* origin
      yield* connection.read("abc")
      yield* connection.send(answer("413 Content Too Large", ["Content-Length: 2"], "no"))
      const got = yield* client.response()
      assert.strictEqual(got.status, 413)
      assert.strictEqual(got.text, "no")
      yield* connection.ended
    }))

  both("B162 a response may stream while the upload goes on", (path) =>
    Effect.gen(function*() {
      const { client, origin } = yield* proxied(path)
      yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], "1\r\na\r\n"))
      const connection = yield* origin
      yield* connection.read("1\r\na\r\n")
      yield* connection.send(answer("200 OK", ["Transfer-Encoding: chunked"], "1\r\nA\r\n"))
      yield* client.read("1\r\nA\r\n")
      yield* client.send("1\r\nb\r\n")
      yield* connection.read("1\r\nb\r\n")
      yield* connection.send("1\r\nB\r\n")
      yield* client.read("1\r\nB\r\n")
      yield* client.send("0\r\n\r\n")
      yield* connection.read("0\r\n\r\n")
      yield* connection.send("0\r\n\r\n")
      yield* client.read("0\r\n\r\n")
    }))

  both("B164 a refused connection is a 502 that tells no address", (path) =>
    Effect.gen(function*() {
      const { app, client } = yield* proxied(path, { target: "http://127.0.0.1:1" })
      const got = yield* client.request(get("/"))
      assert.strictEqual(got.status, 502)
      assert.strictEqual(got.get("proxy-status"), "sluice; error=connection_refused")
      assert.notMatch(got.text, /127\.0\.0\.1|ECONN|refused|:1\b/)
      assert.deepInclude(JSON.parse(got.text), { status: 502, title: "Bad Gateway" })
      const ended = yield* endOf(app)
      assert.propertyVal(errorOf(ended), "_tag", "UpstreamConnectError")
      assert.deepStrictEqual(ended.outcome, { _tag: "Failed", phase: "handler" })
    }))

  for (const [number, how] of [["B160", "breaks off"], ["B161", "answers early"]] as const) {
    for (const size of [100, 16 * 1024 * 1024]) {
      both(
        `${number} an upload of ${size} bytes whose upstream ${how} is read to its end, or its connection closes`,
        (path) =>
          Effect.gen(function*() {
            const { client, origin, upstream } = yield* proxied(path)
            yield* client.send(raw("POST /", [`Content-Length: ${size}`], "abc"))
            const connection = yield* origin
            yield* connection.read("abc")
            yield* how === "breaks off"
              ? connection.reset
              : connection.send(answer("413 Content Too Large", ["Content-Length: 2"], "no"))
            assert.strictEqual((yield* client.response()).status, how === "breaks off" ? 502 : 413)
            client.socket.write(Buffer.alloc(size - 3))
            client.socket.write(get("/next"))
            const next = Effect.flatMap(upstream.nextConnection, (fresh) => fresh.nextRequest)
            const went = yield* Effect.raceFirst(
              Effect.as(client.ended, "closed"),
              Effect.map(next, ({ target }) => target)
            )
            assert.include(size === 100 ? ["/next"] : ["/next", "closed"], went)
          })
      )
    }
  }

  both("B163 twenty uploads of 6 MiB to an upstream that dies", (path) =>
    Effect.gen(function*() {
      const { app, connect, upstream } = yield* proxied(path)
      const size = 6 * 1024 * 1024
      const clients = yield* Effect.forEach(Array.from({ length: 20 }), () => connect)
      for (const client of clients) {
        yield* client.send(raw("POST /", [`Content-Length: ${size}`]))
        client.socket.write(Buffer.alloc(size))
      }
      yield* Effect.forEach(clients, (_, i) =>
        Effect.gen(function*() {
          const connection = yield* upstream.nextConnection
          yield* connection.nextRequestHead
          yield* leave[i % 2 === 0 ? "FIN" : "RST"](connection)
        }), { concurrency: "unbounded" })
      const seen = yield* Effect.forEach(clients, (client) => Effect.result(client.response()))
      for (const result of seen) if (Result.isSuccess(result)) assert.strictEqual(result.success.status, 502)
      for (let i = 0; i < clients.length; i++) {
        const { outcome, status } = yield* app.exchange(i)
        assert.strictEqual(status, 502)
        assert.deepStrictEqual(outcome, { _tag: "Failed", phase: "handler" })
      }
      // It has a connection and an answer for whoever comes next.
      const last = yield* connect
      yield* last.send(get("/"))
      const fresh = yield* upstream.nextConnection
      yield* fresh.nextRequest
      yield* fresh.send(ok)
      assert.strictEqual((yield* last.response()).text, "ok")
    }))
})

/** Each brings a request to a point, after which its client leaves. */
const stages = {
  "before the head": Effect.fnUntraced(function*(client: RawConnection.RawConnection, next: Next) {
    yield* client.send(get("/"))
    const connection = yield* next
    yield* connection.nextRequest
    return connection
  }),
  "within the response": Effect.fnUntraced(function*(client: RawConnection.RawConnection, next: Next) {
    yield* client.send(get("/"))
    const connection = yield* next
    yield* connection.nextRequest
    yield* connection.send(answer("200 OK", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n"))
    yield* client.read("abc")
    return connection
  }),
  "within the upload": Effect.fnUntraced(function*(client: RawConnection.RawConnection, next: Next) {
    yield* client.send(raw("POST /", ["Content-Length: 1000000"], "abc"))
    const connection = yield* next
    yield* connection.read("abc")
    return connection
  }),
  "behind a 103": Effect.fnUntraced(function*(client: RawConnection.RawConnection, next: Next) {
    yield* client.send(get("/"))
    const connection = yield* next
    yield* connection.nextRequest
    yield* connection.send(answer("103 Early Hints", ["Link: </a>"]))
    yield* client.read("</a>\r\n\r\n")
    return connection
  })
}

type Next = Effect.Effect<RawConnection.RawConnection>

describe("Proxy, many clients that leave", () => {
  both("B166, B167 a storm of aborts leaves nothing behind", (path) =>
    Effect.gen(function*() {
      const { app, connect, upstream } = yield* proxied(path)
      const points = Object.values(stages)
      for (let i = 0; i < 200; i++) {
        const client = yield* connect
        const connection = yield* points[i % points.length](client, upstream.nextConnection)
        yield* i % 8 < 4 ? client.reset : leave.FIN(client)
        yield* connection.ended
        const { outcome } = yield* app.exchange(i)
        assert.include(["ClientAborted", "Rejected"], outcome._tag)
      }
      assert.strictEqual(yield* upstream.accepted, 200)
      assert.strictEqual((yield* app.exchanges).length, 200)
    }))

  both("B167 so do many at once", (path) =>
    Effect.gen(function*() {
      const { app, connect, upstream } = yield* proxied(path)
      const clients = yield* Effect.forEach(Array.from({ length: 100 }), () => connect)
      for (const client of clients) yield* client.send(get("/"))
      const connections = yield* Effect.forEach(clients, () => upstream.nextConnection)
      for (const client of clients) client.socket.resetAndDestroy()
      for (const connection of connections) yield* connection.ended
      for (let i = 0; i < clients.length; i++) {
        assert.deepStrictEqual((yield* app.exchange(i)).outcome, { _tag: "ClientAborted", phase: "handler" })
      }
    }))
})

describe("Proxy, 1xx that come too late", () => {
  const late = answer("103 Early Hints", ["Link: </late>"])

  for (const [name, response] of [["a whole response", ok], ["an empty one", answer("204 No Content")]] as const) {
    both(`B184 behind ${name} they are dropped`, (path) =>
      Effect.gen(function*() {
        const { client, got, origin, upstream } = yield* roundTrip(path, get("/"), response + late)
        assert.strictEqual(got.informational.length, 0)
        yield* origin.ended
        yield* client.send(get("/"))
        const fresh = yield* upstream.nextConnection
        yield* fresh.nextRequest
        yield* fresh.send(ok)
        const next = yield* client.response()
        assert.deepStrictEqual(next.informational, [])
        assert.strictEqual(next.text, "ok")
      }))
  }

  both("B184 within a body they are part of it", (path) =>
    Effect.gen(function*() {
      const { got } = yield* roundTrip(path, get("/"), answer("200 OK", [`Content-Length: ${late.length}`], late))
      assert.deepStrictEqual(got.informational, [])
      assert.strictEqual(got.text, late)
    }))

  both("B184 after the client has left they are dropped", (path) =>
    Effect.gen(function*() {
      const { app, client, origin } = yield* proxied(path)
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      client.socket.resetAndDestroy()
      connection.socket.write(late + late)
      yield* connection.ended
      assert.deepStrictEqual((yield* endOf(app)).outcome, { _tag: "ClientAborted", phase: "handler" })
    }))

  both("B184 after a 504 they are dropped, and the client's connection is in order", (path) =>
    Effect.gen(function*() {
      const { client, origin, upstream } = yield* proxied(path, { proxy: { clocks: { total: "5 seconds" } } })
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* TestClock.adjust("5 seconds")
      connection.socket.write(late + ok)
      assert.strictEqual((yield* client.response()).status, 504)
      yield* connection.ended
      yield* client.send(get("/"))
      const fresh = yield* upstream.nextConnection
      yield* fresh.nextRequest
      yield* fresh.send(ok)
      const next = yield* client.response()
      assert.deepStrictEqual(next.informational, [])
      assert.strictEqual(next.text, "ok")
    }))
})
