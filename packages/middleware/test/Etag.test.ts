import { assert, describe, it } from "@effect/vitest"
import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Exchange from "@sluice/core/Exchange"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as fc from "fast-check"
import { Readable } from "node:stream"
import * as Etag from "../src/Etag.ts"
import { entityTags, evaluate } from "../src/internal/conditions.ts"
import { httpDate } from "../src/internal/httpDate.ts"
import { exchanges, open, raw, refused, send, settled, start, until } from "./kit.ts"

const lines = (response: string): ReadonlyArray<string> =>
  response.split("\r\n\r\n")[0].split("\r\n").filter((line) => !/^(?:connection|keep-alive):/i.test(line)).toSorted()

const get = (path: string, ...fields: ReadonlyArray<string>) =>
  `GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${fields.map((field) => `${field}\r\n`).join("")}\r\n`

const date = "Fri, 01 Mar 2024 10:00:00 GMT"

const hello = Effect.succeed(HttpServerResponse.text("hello", {
  headers: {
    "cache-control": "max-age=60",
    "content-location": "/hello.en",
    date,
    expires: "Fri, 01 Mar 2024 10:01:00 GMT",
    vary: "accept-language",
    "last-modified": "Fri, 01 Mar 2024 09:00:00 GMT",
    "content-language": "en",
    "x-own": "1"
  }
}))

describe("Etag", () => {
  it.effect("C93 a second GET with If-None-Match is a 304 with the fields that RFC 9110 names, and no body", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Etag.make(), hello)))
      const first = yield* send(server)
      const etag = first.headers.get("etag") ?? ""
      assert.match(etag, /^"[\w-]{22}"$/)
      const response = yield* raw(server, get("/", `if-none-match: ${etag}`))
      assert.deepStrictEqual(lines(response), [
        "HTTP/1.1 304 Not Modified",
        "cache-control: max-age=60",
        "content-location: /hello.en",
        `date: ${date}`,
        `etag: ${etag}`,
        "expires: Fri, 01 Mar 2024 10:01:00 GMT",
        "vary: accept-language"
      ])
      assert.isTrue(response.endsWith("\r\n\r\n"))
    }))

  it.effect("C93 C95 compares weakly, in lists, and with *; a tag in no proper form matches nothing", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Etag.make(), hello)))
      const etag = (yield* send(server)).headers.get("etag") ?? ""
      const status = (field: string) =>
        Effect.map(send(server, "/", { headers: { "if-none-match": field } }), (reply) => reply.status)
      for (const field of [`W/${etag}`, `"a,b", W/"c" , ${etag}`, "*", `,, ${etag}`]) {
        assert.strictEqual(yield* status(field), 304, field)
      }
      for (const field of ["\"other\"", etag.slice(1), `w/${etag}`, "", `"a ${etag}`]) {
        assert.strictEqual(yield* status(field), 200, field)
      }
    }))

  it.effect("C54 HEAD has the tag of GET, and its 304; a 304 counts no bytes", () =>
    Effect.gen(function*() {
      const { ended, observer } = exchanges()
      const server = yield* start(Server.layer(Route.get("/", Etag.make(), hello), { edge: observer }))
      const etag = (yield* send(server)).headers.get("etag") ?? ""
      assert.strictEqual((yield* send(server, "/", { method: "HEAD" })).headers.get("etag"), etag)
      const reply = yield* send(server, "/", { method: "HEAD", headers: { "if-none-match": etag } })
      assert.strictEqual(reply.status, 304)
      yield* settled(server)
      assert.deepStrictEqual(ended.map(({ bytesOut, status }) => [status, bytesOut]), [[200, 5], [200, 0], [304, 0]])
    }))

  it.effect("keeps a tag of the handler's, and leaves streams, other statuses and bodies over the limit alone", () =>
    Effect.gen(function*() {
      const own = HttpServerResponse.text("hello", { headers: { etag: "W/\"own\"" } })
      const stream = HttpServerResponse.stream(Stream.succeed(new TextEncoder().encode("hello")))
      const routes = Layer.mergeAll(
        Route.get("/own", Etag.make(), Effect.succeed(own)),
        Route.get("/stream", Etag.make(), Effect.succeed(stream)),
        Route.get("/created", Etag.make(), Effect.succeed(HttpServerResponse.text("a", { status: 201 }))),
        Route.get("/long", Etag.make({ maxBodyBytes: 4 }), hello),
        Route.post("/", Etag.make(), hello)
      )
      const server = yield* start(Server.layer(routes))
      const etag = (path: string, init?: RequestInit) =>
        Effect.map(send(server, path, init), ({ headers }) => headers.get("etag"))
      assert.strictEqual(yield* etag("/own"), "W/\"own\"")
      for (const path of ["/stream", "/created", "/long"]) assert.isNull(yield* etag(path), path)
      assert.isNull(yield* etag("/", { method: "POST" }))
    }))

  it.effect("a stream with a tag of its own becomes a 304, and is let go of", () =>
    Effect.gen(function*() {
      const readable = new Readable({ read() {} })
      const response = HttpServerResponse.raw(readable, { headers: { etag: "\"v1\"" } })
      const server = yield* start(Server.layer(Route.get("/", Etag.make(), Effect.succeed(response))))
      const reply = yield* send(server, "/", { headers: { "if-none-match": "\"v1\"" } })
      assert.deepStrictEqual([reply.status, reply.headers.get("etag"), readable.destroyed], [304, "\"v1\"", true])
    }))

  it.effect("a response that is written past the stack stays so, unless the request is conditional", () =>
    Effect.gen(function*() {
      const headers = { etag: "\"v1\"" }
      const relaying = Effect.flatMap(DirectResponse.take, (direct) => {
        if (direct === undefined) return Effect.succeed(HttpServerResponse.text("value", { headers }))
        direct.node.writeHead(200, headers).end("direct")
        return Effect.succeed(DirectResponse.receipt(200))
      })
      const server = yield* start(Server.layer(Route.get("/", Etag.make(), relaying)))
      const ask = (field: string) => send(server, "/", { headers: { "if-none-match": field } })
      assert.strictEqual((yield* send(server)).body, "direct")
      assert.strictEqual((yield* ask("\"v1\"")).status, 304)
      assert.strictEqual((yield* ask("\"v2\"")).body, "value")
    }))

  it.effect("C96 an event stream passes untouched, and at once", () =>
    Effect.gen(function*() {
      const events = HttpServerResponse.stream(
        Stream.concat(Stream.succeed(new TextEncoder().encode("data: 1\n\n")), Stream.never),
        { contentType: "text/event-stream" }
      )
      const server = yield* start(
        Server.layer(Route.get("/", Etag.make(), Effect.succeed(events)), { drain: { deadline: "1 millis" } })
      )
      const client = yield* open(server)
      client.socket.write(get("/", "if-none-match: \"v1\""))
      yield* until(() => client.text().includes("data: 1"))
      assert.notInclude(client.text().toLowerCase(), "etag")
      client.socket.destroy()
      yield* settled(server)
    }))

  it.effect("a 304 has what middleware adds to every response", () =>
    Effect.gen(function*() {
      const handler = Effect.andThen(Exchange.editHead((head) => head.set("x-request-id", "7")), hello)
      const server = yield* start(Server.layer(Route.get("/", Etag.make(), handler)))
      const reply = yield* send(server, "/", { headers: { "if-none-match": "*" } })
      assert.deepStrictEqual([reply.status, reply.headers.get("x-request-id")], [304, "7"])
    }))

  it.effect("If-Modified-Since is answered by Last-Modified, in all three forms of a date", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Etag.make({ maxBodyBytes: 0 }), hello)))
      const reply = (since: string) => send(server, "/", { headers: { "if-modified-since": since } })
      for (
        const since of ["Fri, 01 Mar 2024 09:00:00 GMT", "Friday, 01-Mar-24 09:00:00 GMT", "Fri Mar  1 09:00:00 2024"]
      ) {
        const { headers, status } = yield* reply(since)
        assert.deepStrictEqual([status, headers.get("last-modified")], [304, "Fri, 01 Mar 2024 09:00:00 GMT"], since)
      }
      for (const since of ["Fri, 01 Mar 2024 08:59:59 GMT", "yesterday", "2025-01-01"]) {
        assert.strictEqual((yield* reply(since)).status, 200, since)
      }
    }))

  it.effect("C94 a GET whose If-Match does not hold is a 412", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Etag.make(), hello)))
      const reply = yield* send(server, "/", { headers: { "if-match": "\"old\"" } })
      assert.deepStrictEqual([reply.status, reply.headers.get("content-type")], [412, "application/problem+json"])
    }))

  it.effect("C94 a PUT with a stale If-Match is a 412, and its handler does not run", () =>
    Effect.gen(function*() {
      let runs = 0
      const handler = Effect.sync(() => {
        runs++
        return HttpServerResponse.empty()
      })
      const current = Effect.succeed({ etag: "\"v2\"", lastModified: new Date("2024-03-01T09:00:00.5Z") })
      const through = Etag.precondition(current)
      const server = yield* start(Server.layer(Layer.merge(
        Route.put("/", through, handler),
        Route.put("/new", Etag.precondition(Effect.undefined), handler)
      )))
      const put = (headers: Record<string, string>, path = "/") =>
        Effect.map(send(server, path, { method: "PUT", headers }), ({ status }) => status)
      assert.strictEqual(yield* put({ "if-match": "\"v1\"" }), 412)
      assert.strictEqual(yield* put({ "if-match": "W/\"v2\"" }), 412)
      assert.strictEqual(yield* put({ "if-none-match": "*" }), 412)
      assert.strictEqual(yield* put({ "if-unmodified-since": "Fri, 01 Mar 2024 08:00:00 GMT" }), 412)
      assert.strictEqual(yield* put({ "if-match": "*" }, "/new"), 412)
      assert.strictEqual(runs, 0)
      assert.strictEqual(yield* put({ "if-match": "\"v1\", \"v2\"" }), 204)
      assert.strictEqual(yield* put({ "if-none-match": "*" }, "/new"), 204)
      assert.strictEqual(yield* put({ "if-unmodified-since": "Fri, 01 Mar 2024 09:00:00 GMT" }), 204)
      assert.strictEqual(yield* put({}), 204)
      assert.strictEqual(yield* put({ "if-modified-since": date }), 204)
      assert.strictEqual(runs, 5)
    }))

  it.effect("a change without a condition is a 428 where one is required", () =>
    Effect.gen(function*() {
      const through = Etag.requirePrecondition(Effect.succeed({ etag: "\"v1\"" }))
      const server = yield* start(Server.layer(Route.all("/", through, hello)))
      const status = (method: string, headers = {}) =>
        Effect.map(send(server, "/", { method, headers }), (reply) => reply.status)
      assert.deepStrictEqual(
        [yield* status("PATCH"), yield* status("PATCH", { "if-match": "\"v1\"" }), yield* status("GET")],
        [428, 200, 200]
      )
    }))

  it("C94 conditions are taken in the order of RFC 9110, 13.2.2", () => {
    const current = { etag: "\"v1\"", lastModified: Date.parse(date) }
    const earlier = "Fri, 01 Mar 2024 09:00:00 GMT"
    const verdict = (fields: Record<string, string>, safe: boolean) => evaluate(fields, current, safe)
    assert.strictEqual(verdict({ "if-match": "\"v1\"", "if-unmodified-since": earlier }, false), "proceed")
    assert.strictEqual(verdict({ "if-match": "\"v0\"", "if-none-match": "\"v1\"" }, true), "failed")
    assert.strictEqual(verdict({ "if-unmodified-since": earlier, "if-none-match": "\"v1\"" }, true), "failed")
    assert.strictEqual(verdict({ "if-none-match": "\"v0\"", "if-modified-since": date }, true), "proceed")
    assert.strictEqual(verdict({ "if-none-match": "\"v1\"", "if-modified-since": earlier }, true), "notModified")
    assert.strictEqual(verdict({ "if-modified-since": date }, false), "proceed")
  })

  it("the tags of a list come back as they were, and no field makes the parsers throw", () => {
    const tag = fc.tuple(fc.boolean(), fc.stringMatching(/^[!#-~]*$/)).map(([weak, text]) =>
      `${weak ? "W/" : ""}"${text}"`
    )
    fc.assert(fc.property(fc.array(tag), (tags) => {
      assert.deepStrictEqual(entityTags(tags.join(" ,\t")), tags)
    }))
    fc.assert(fc.property(fc.string(), (text) => {
      assert.isArray(entityTags(text))
      const millis = httpDate(text)
      assert.isTrue(millis === undefined || Number.isFinite(millis))
    }))
  })

  it("refuses a limit that is none", () => {
    assert.match(refused(() => Etag.make({ maxBodyBytes: -1 })), /RangeError: maxBodyBytes/)
  })
})
