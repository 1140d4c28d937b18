import { assert, describe, it } from "@effect/vitest"
import type * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import * as NodeServer from "@sluice/core/NodeServer"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import { gzipSync } from "node:zlib"
import * as AccessLog from "../src/AccessLog.ts"
import * as RequestId from "../src/RequestId.ts"
import { logs, open, raw, refused, send, settled, start, until } from "./kit.ts"

const hello = Effect.succeed(HttpServerResponse.text("hello"))
const never = Effect.as(Effect.never, HttpServerResponse.empty())

const lineOf = ({ method, outcome, path, status }: AccessLog.Entry): string => `${method} ${path} ${status} ${outcome}`

describe("AccessLog", () => {
  it.effect("C52 one line a request: 200, HEAD, 404, 405, 500, malformed, over a limit, aborted", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const routes = Layer.mergeAll(
        Route.get("/", hello),
        Route.get("/die", Effect.die("boom")),
        Route.get("/slow", Effect.andThen(Deferred.succeed(reached, undefined), never)),
        Route.post(
          "/upload",
          Effect.flatMap(
            HttpServerRequest.HttpServerRequest,
            (request) => Effect.as(request.text, HttpServerResponse.empty())
          )
        )
      )
      const server = yield* start(Server.layer(routes, { edge: AccessLog.make({ format: lineOf }) }))
      yield* send(server)
      yield* send(server, "/", { method: "HEAD" })
      yield* send(server, "/none")
      yield* send(server, "/", { method: "DELETE" })
      yield* send(server, "/die")
      yield* raw(server, "nonsense\r\n\r\n")
      yield* raw(server, "GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
      yield* raw(server, `GET /${"a".repeat(9000)} HTTP/1.1\r\nhost: a\r\n\r\n`)
      yield* raw(server, "POST /upload HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
      yield* settled(server)
      const client = yield* open(server)
      client.socket.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Deferred.await(reached)
      client.socket.destroy()
      yield* settled(server)
      assert.deepStrictEqual(lines.map(({ message }) => message.replace(/a{9000}/, "aaa")), [
        "GET / 200 Completed",
        "HEAD / 200 Completed",
        "GET /none 404 Completed",
        "DELETE / 405 Completed",
        "GET /die 500 Failed",
        "  400 Rejected",
        "GET / 400 Rejected",
        "GET /aaa 414 Rejected",
        "POST /upload 400 Rejected",
        lines.at(-1)?.message
      ])
      assert.match(lines.at(-1)?.message ?? "", /^GET \/slow (?:499|undefined) ClientAborted$/)
    }).pipe(Effect.provide(layer))
  })

  it.effect("C52 a request that the end of a drain cut off has its line", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const slow = Route.get("/slow", Effect.andThen(Deferred.succeed(reached, undefined), never))
      const scope = yield* Scope.make()
      const live = Server.layer(slow, { edge: AccessLog.make({ format: lineOf }), drain: { deadline: "10 seconds" } })
      const server = Context.get(
        yield* Layer.buildWithScope(Layer.provide(live, NodeServer.layer({ port: 0 })), scope),
        Server.Server
      )
      const reply = yield* Effect.forkChild(send(server, "/slow"))
      yield* Deferred.await(reached)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(reply)).status, 503)
      yield* Fiber.join(closing)
      assert.deepStrictEqual(lines.map(({ level, message }) => `${level} ${message}`), [
        "Error GET /slow 503 Drained"
      ])
    }).pipe(Effect.provide(layer))
  })

  it.effect("C53 the status is the wire's, whatever a hook makes of the response", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const notModified = Middleware.around<never, HttpServerRequest.HttpServerRequest>(
        "hook",
        (handler) =>
          Effect.andThen(
            HttpEffect.appendPreResponseHandler(() => Effect.succeed(HttpServerResponse.empty({ status: 304 }))),
            handler
          )
      )
      const through = Middleware.stack(notModified, AccessLog.make())
      const server = yield* start(Server.layer(Route.get("/", through, hello)))
      assert.strictEqual((yield* send(server)).status, 304)
      yield* settled(server)
      assert.deepStrictEqual(
        lines.map(({ annotations }) => [
          annotations["http.response.status_code"],
          annotations["http.response.body.size"]
        ]),
        [[304, 0]]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("C54 bytes are those of the body that was written, after compression", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const zipped = gzipSync("hello ".repeat(1000))
      const compressed = HttpServerResponse.uint8Array(zipped, { headers: { "content-encoding": "gzip" } })
      const routes = Layer.mergeAll(
        Route.get("/", hello),
        Route.get("/zipped", Effect.succeed(compressed)),
        Route.post(
          "/",
          Effect.flatMap(
            HttpServerRequest.HttpServerRequest,
            (request) => Effect.as(Effect.orDie(request.text), HttpServerResponse.empty())
          )
        )
      )
      const server = yield* start(Server.layer(routes, { edge: AccessLog.make() }))
      yield* send(server)
      yield* settled(server)
      yield* send(server, "/", { method: "HEAD" })
      yield* settled(server)
      yield* send(server, "/zipped")
      yield* settled(server)
      yield* send(server, "/", { method: "POST", body: "x".repeat(321) })
      yield* settled(server)
      assert.deepStrictEqual(
        lines.map(({ annotations }) => [
          annotations["http.request.body.size"],
          annotations["http.response.body.size"]
        ]),
        [[0, 5], [0, 0], [0, zipped.length], [321, 0]]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("makes no entry that no logger would see", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const paths: Array<string> = []
      const path = (exchange: Exchange.Ended) => {
        paths.push(exchange.path)
        return exchange.path
      }
      const routes = Layer.merge(Route.get("/", hello), Route.get("/die", Effect.die("boom")))
      const server = yield* start(Server.layer(routes, { edge: AccessLog.make({ path }) }))
      yield* send(server, "/")
      yield* settled(server)
      yield* send(server, "/die")
      yield* settled(server)
      assert.deepStrictEqual(paths, ["/die"])
      assert.lengthOf(lines, 1)
    }).pipe(Effect.provide(layer), Effect.provideService(References.MinimumLogLevel, "Error"))
  })

  it.effect("C55 a stream has one line, at its end, with its whole duration", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const chunks = yield* Queue.unbounded<string>()
      const body = Stream.encodeText(Stream.take(Stream.fromQueue(chunks), 2))
      const handler = Effect.succeed(HttpServerResponse.stream(body))
      const server = yield* start(Server.layer(Route.get("/", handler), { edge: AccessLog.make() }))
      const client = yield* open(server)
      client.socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Queue.offer(chunks, "first")
      yield* until(() => client.text().includes("first"))
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(lines, [])
      yield* Queue.offer(chunks, "second")
      yield* until(() => client.text().endsWith("0\r\n\r\n"))
      yield* settled(server)
      assert.deepStrictEqual(
        lines.map(({ annotations }) => [
          annotations["exchange.duration"],
          annotations["exchange.ttfb"],
          annotations["http.response.body.size"]
        ]),
        [[3000, 0, 11]]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("C55 a stream whose client leaves is aborted, with the bytes so far", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const body = Stream.concat(Stream.make(new Uint8Array(7)), Stream.never)
      const handler = Effect.succeed(HttpServerResponse.stream(body))
      const server = yield* start(Server.layer(Route.get("/", handler), { edge: AccessLog.make() }))
      const client = yield* open(server)
      client.socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* until(() => client.text().includes("\r\n\r\n7\r\n"))
      client.socket.destroy()
      yield* settled(server)
      assert.deepStrictEqual(
        lines.map(({ annotations, level }) => [
          level,
          annotations["exchange.outcome"],
          annotations["http.response.status_code"],
          annotations["http.response.body.size"]
        ]),
        [["Info", "ClientAborted", 200, 7]]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("C10 a client that leaves a handler is aborted, at level Info", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const route = Route.get("/", Effect.andThen(Deferred.succeed(reached, undefined), never))
      const server = yield* start(Server.layer(route, { edge: AccessLog.make() }))
      const client = yield* open(server)
      client.socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Deferred.await(reached)
      client.socket.destroy()
      yield* settled(server)
      assert.deepStrictEqual(lines.map(({ annotations, level }) => [level, annotations["exchange.outcome"]]), [
        ["Info", "ClientAborted"]
      ])
    }).pipe(Effect.provide(layer))
  })

  it.effect("C56 neither query nor credentials appear in any format", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const secret = "s3cr3t"
      const edge = Middleware.stack(
        AccessLog.make(),
        AccessLog.make({ format: "combined" }),
        AccessLog.make({ format: "json" }),
        AccessLog.make({ format: "w3c" })
      )
      const server = yield* start(Server.layer(Route.get("/*", hello), { edge }))
      const fields = `authorization: Basic ${secret}\r\ncookie: a=${secret}\r\nreferer: http://a/?t=${secret}\r\n`
      yield* raw(server, `GET /a?token=${secret} HTTP/1.1\r\nhost: a\r\n${fields}connection: close\r\n\r\n`)
      yield* raw(
        server,
        `GET http://u:${secret}@a/b?t=${secret} HTTP/1.1\r\nhost: a\r\n${fields}connection: close\r\n\r\n`
      )
      yield* settled(server)
      assert.strictEqual(lines.length, 8)
      assert.notInclude(JSON.stringify(lines), secret)
      assert.deepStrictEqual([lines[0].message, lines[4].message.slice(0, 7)], ["GET /a 200", "GET /b "])
    }).pipe(Effect.provide(layer))
  })

  it.effect("has route, ids, client address, user agent and trace id in its annotations", () => {
    const { layer, lines } = logs()
    const tracer = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })
    return Effect.gen(function*() {
      const edge = Middleware.stack(AccessLog.make(), RequestId.make({ generate: Effect.succeed("id-1") }))
      const server = yield* start(Server.layer(Route.get("/orders/:id", hello), { edge }))
      const traceId = "0af7651916cd43dd8448eb211c80319c"
      yield* send(server, "/orders/7", {
        headers: {
          "user-agent": "probe/1",
          "x-forwarded-for": "203.0.113.9",
          "traceparent": `00-${traceId}-b7ad6b7169203331-01`
        }
      })
      yield* settled(server)
      assert.deepStrictEqual(lines, [{
        level: "Info",
        message: "GET /orders/7 200",
        annotations: {
          "http.request.method": "GET",
          "http.route": "/orders/:id",
          "url.path": "/orders/7",
          "http.response.status_code": 200,
          "http.request.body.size": 0,
          "http.response.body.size": 5,
          "network.protocol.version": "1.1",
          "client.address": "203.0.113.9",
          "user_agent.original": "probe/1",
          "request.id": "id-1",
          "trace.id": traceId,
          "exchange.outcome": "Completed",
          "exchange.duration": 0,
          "exchange.ttfb": 0
        }
      }])
    }).pipe(
      Effect.provide([layer, TrustedPeers.layer(TrustedPeers.networks(["loopback"]))]),
      Effect.provideService(Tracer.Tracer, tracer)
    )
  })

  it.effect("combined is Apache's line, byte for byte, and a client can't break out of it", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 9, 10, 13, 55, 36))
      const edge = AccessLog.make({ format: "combined", referer: true })
      const server = yield* start(Server.layer(Route.get("/*", hello), { edge }))
      const agent = "a\"b\\c\u009bd"
      yield* raw(
        server,
        `GET /a?b HTTP/1.1\r\nhost: a\r\nuser-agent: ${agent}\r\nreferer: http://a/\r\nconnection: close\r\n\r\n`
      )
      yield* raw(server, "nonsense\r\n\r\n")
      yield* settled(server)
      assert.deepStrictEqual(lines.map(({ message }) => message), [
        "127.0.0.1 - - [10/Oct/2026:13:55:36 +0000] \"GET /a HTTP/1.1\" 200 5 \"http://a/\" \"a\\\"b\\\\c?d\"",
        "127.0.0.1 - - [10/Oct/2026:13:55:36 +0000] \"-\" 400 57 \"-\" \"-\""
      ])
    }).pipe(Effect.provide(layer))
  })

  it.effect("w3c is a line of the extended log file format, which a client can't break out of", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 9, 10, 13, 55, 36))
      const server = yield* start(Server.layer(Route.get("/*", hello), { edge: AccessLog.make({ format: "w3c" }) }))
      yield* raw(server, "GET /a?b HTTP/1.1\r\nhost: a\r\nuser-agent: a b\tc\r\nconnection: close\r\n\r\n")
      yield* raw(server, "nonsense\r\n\r\n")
      yield* settled(server)
      assert.strictEqual(
        AccessLog.w3cDirectives,
        "#Version: 1.0\n#Fields: date time c-ip cs-method cs-uri-stem cs-version sc-status sc-bytes cs-bytes " +
          "time-taken cs(User-Agent) cs(Referer)"
      )
      assert.deepStrictEqual(lines.map(({ message }) => message), [
        "2026-10-10 13:55:36 127.0.0.1 GET /a HTTP/1.1 200 5 0 0.000 a+b?c -",
        "2026-10-10 13:55:36 127.0.0.1 - - - 400 57 0 0.000 - -"
      ])
    }).pipe(Effect.provide(layer))
  })

  it.effect("json is an object in a line", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 9, 10, 13, 55, 36))
      const server = yield* start(Server.layer(Route.get("/a/:b", hello), { edge: AccessLog.make({ format: "json" }) }))
      yield* raw(server, "GET /a/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
      yield* settled(server)
      assert.strictEqual(
        lines[0].message,
        "{\"time\":\"2026-10-10T13:55:36.000Z\",\"method\":\"GET\",\"route\":\"/a/:b\",\"path\":\"/a/1\"," +
          "\"httpVersion\":\"1.1\",\"status\":200,\"bytesIn\":0,\"bytesOut\":5,\"duration\":0,\"firstByteAfter\":0," +
          "\"outcome\":\"Completed\",\"clientAddress\":\"127.0.0.1\"}"
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("skips what it is told to, and logs the path that it is told to", () => {
    const { layer, lines } = logs()
    return Effect.gen(function*() {
      const edge = AccessLog.make({ skip: ({ path }) => path === "/ping", path: ({ route }) => route ?? "?" })
      const server = yield* start(Server.layer(Route.get("/*", hello), { edge }))
      yield* send(server, "/ping")
      yield* send(server, "/other")
      yield* settled(server)
      assert.deepStrictEqual(lines.map(({ message }) => message), ["GET /* 200"])
    }).pipe(Effect.provide(layer))
  })

  it("has a level for every way to end", () => {
    const level = (status: number | undefined, outcome: Exchange.Outcome) =>
      // Only these two members are looked at.
      AccessLog.defaultLevel({ status, outcome } as Exchange.Ended)
    assert.deepStrictEqual([
      level(200, { _tag: "Completed" }),
      level(404, { _tag: "Completed" }),
      level(501, { _tag: "Rejected", reason: "CONNECT" }),
      level(408, { _tag: "TimedOut", clock: "request" }),
      level(undefined, { _tag: "ClientAborted", phase: "handler" }),
      level(200, { _tag: "Drained", phase: "responseBody" })
    ], ["Info", "Info", "Info", "Info", "Info", "Warn"])
    assert.deepStrictEqual([
      level(500, { _tag: "Failed", phase: "handler" }),
      level(502, { _tag: "Completed" }),
      level(503, { _tag: "TimedOut", clock: "handler" }),
      level(503, { _tag: "Drained", phase: "handler" }),
      level(200, { _tag: "Failed", phase: "responseBody" }),
      level(200, { _tag: "TimedOut", clock: "total" })
    ], Array.from({ length: 6 }, () => "Error"))
  })

  it("refuses a format that there is not", () => {
    assert.strictEqual(
      refused(() => AccessLog.make({ format: "common" as "combined" })),
      "RangeError: format must be one of structured, combined, json, w3c, got common"
    )
  })
})
