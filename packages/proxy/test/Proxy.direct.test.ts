import { assert, describe } from "@effect/vitest"
import * as Cancellation from "@sluice/core/Cancellation"
import type * as Exchange from "@sluice/core/Exchange"
import * as Problem from "@sluice/core/Problem"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Proxy from "../src/Proxy.ts"
import { answer, both, get, lines, ok, post, proxied, roundTrip } from "./utils/proxied.ts"

class Frozen extends Problem.TaggedError<Frozen>()("Frozen", { status: 423 }) {}

const tagOf = ({ cause }: Exchange.Ended): unknown =>
  cause === undefined ? undefined : (Cause.squash(cause) as { readonly _tag?: unknown })._tag

describe("Proxy, direct", () => {
  both("forwards with changes", (path) =>
    Effect.gen(function*() {
      const { seen } = yield* roundTrip(path, post("/a?b=1", "abc", "X-Old: 1", "X-Keep: 1", "X-Set: client"), ok, {
        base: "/base",
        proxy: {
          stripPrefix: "/a",
          direct: (incoming) =>
            Effect.succeed(Proxy.proceed({
              method: "PUT",
              path: "/new%2Fpath",
              query: "q=%zz",
              host: "other.test",
              set: { "X-Set": "director", "x-seen": `${incoming.method} ${incoming.path} ${incoming.query}` },
              remove: ["x-old"]
            }))
        }
      })
      assert.strictEqual(seen.startLine, "PUT /base/new%2Fpath?q=%zz HTTP/1.1")
      assert.strictEqual(seen.text, "abc")
      assert.deepStrictEqual(lines(seen, "host"), ["other.test"])
      assert.deepStrictEqual(lines(seen, "x-set"), ["director"])
      assert.deepStrictEqual(lines(seen, "x-seen"), ["POST /a ?b=1"])
      assert.deepStrictEqual(lines(seen, "x-keep"), ["1"])
      assert.deepStrictEqual(lines(seen, "x-old"), [])
    }))

  both("setting the Host field sets the host, once", (path) =>
    Effect.gen(function*() {
      const direct = () => Effect.succeed(Proxy.proceed({ set: { HOST: "set.test" } }))
      const { seen } = yield* roundTrip(path, get("/"), ok, { proxy: { direct } })
      assert.deepStrictEqual(lines(seen, "host"), ["set.test"])
    }))

  both("can set neither framing nor connection fields", (path) =>
    Effect.gen(function*() {
      const set = { "Content-Length": "1", "Transfer-Encoding": "chunked", Connection: "close", Upgrade: "x" }
      const direct = () => Effect.succeed(Proxy.proceed({ set }))
      const { seen } = yield* roundTrip(path, post("/", "abc"), ok, { proxy: { direct } })
      assert.deepStrictEqual(lines(seen, "content-length"), ["3"])
      for (const name of ["transfer-encoding", "connection", "upgrade"]) assert.deepStrictEqual(lines(seen, name), [])
    }))

  both("a value that would split the request is refused", (path) =>
    Effect.gen(function*() {
      const direct = () => Effect.succeed(Proxy.proceed({ set: { "X-A": "1\r\nX-B: 2" } }))
      const { app, client, upstream } = yield* proxied(path, { proxy: { direct } })
      assert.strictEqual((yield* client.request(get("/"))).status, 500)
      assert.strictEqual(tagOf(yield* app.exchange(0)), "UpstreamRequestInvalid")
      assert.strictEqual(yield* upstream.accepted, 0)
    }))

  both("answers itself: the upstream is never contacted", (path) =>
    Effect.gen(function*() {
      const direct = () => Effect.succeed(Proxy.respond(HttpServerResponse.text("cached", { status: 203 })))
      const { client, upstream } = yield* proxied(path, { proxy: { direct } })
      const got = yield* client.request(post("/", "abc"))
      assert.strictEqual(got.status, 203)
      assert.strictEqual(got.text, "cached")
      assert.strictEqual((yield* client.request(get("/"))).status, 203)
      assert.strictEqual(yield* upstream.accepted, 0)
    }))

  for (
    const [name, stop, status, outcome] of [
      ["fails with an error of its own", Effect.fail(new Frozen({})), 423, { _tag: "Completed" }],
      ["interrupts", Effect.interrupt, 503, { _tag: "Cancelled", reason: undefined }],
      ["cancels with a reason", Cancellation.cancel("enough"), 503, { _tag: "Cancelled", reason: "enough" }]
    ] as const
  ) {
    both(`${name}: the upstream is never contacted`, (path) =>
      Effect.gen(function*() {
        const { app, client, upstream } = yield* proxied(path, { proxy: { direct: () => stop } })
        const got = yield* client.request(get("/"))
        assert.strictEqual(got.status, status)
        assert.deepStrictEqual((yield* app.exchange(0)).outcome, outcome)
        assert.strictEqual(yield* upstream.accepted, 0)
      }))
  }
})

describe("Proxy, mapResponse", () => {
  both("changes status and fields", (path) =>
    Effect.gen(function*() {
      const response = answer("345 Odd", ["X-Old: 1", "X-Set: 1", "X-Set: 2", "Content-Length: 2"], "ok")
      const { got } = yield* roundTrip(path, get("/"), response, {
        proxy: {
          mapResponse: ({ fields, status }) =>
            Effect.succeed(Proxy.relayed({
              status: status + 1 - 145,
              set: { "X-Set": "3", "X-Count": String(fields.length) },
              remove: ["x-old"]
            }))
        }
      })
      assert.strictEqual(got.status, 201)
      assert.strictEqual(got.reason, "Created")
      assert.strictEqual(got.text, "ok")
      assert.deepStrictEqual(lines(got, "x-set"), ["3"])
      assert.deepStrictEqual(lines(got, "x-count"), ["10"])
      assert.deepStrictEqual(lines(got, "x-old"), [])
    }))

  both("a status without content drops the body", (path) =>
    Effect.gen(function*() {
      const mapResponse = () => Effect.succeed(Proxy.relayed({ status: 204 }))
      const { client, got } = yield* roundTrip(path, get("/"), ok, { proxy: { mapResponse } })
      assert.strictEqual(got.status, 204)
      assert.strictEqual(got.get("content-length"), undefined)
      yield* client.end
      assert.strictEqual((yield* client.ended).unread, "")
    }))

  for (
    const [name, verdict, status] of [
      ["answers instead", Effect.succeed(Proxy.respond(HttpServerResponse.text("instead", { status: 203 }))), 203],
      ["fails with an error of its own", Effect.fail(new Frozen({})), 423],
      ["cancels", Cancellation.cancel("enough"), 503]
    ] as const
  ) {
    both(`${name}: the upstream's connection closes`, (path) =>
      Effect.gen(function*() {
        const mapResponse = () => verdict
        const { app, client, origin } = yield* proxied(path, { proxy: { mapResponse } })
        yield* client.send(get("/"))
        const connection = yield* origin
        yield* connection.nextRequest
        yield* connection.send(answer("200 OK", ["Set-Cookie: a=1", "Content-Length: 100"], "part"))
        const got = yield* client.response()
        assert.strictEqual(got.status, status)
        assert.deepStrictEqual(lines(got, "set-cookie"), [])
        yield* connection.ended
        assert.strictEqual((yield* app.exchange(0)).status, status)
      }))
  }
})
