import { assert, describe, it } from "@effect/vitest"
import * as Middleware from "@sluice/core/Middleware"
import { LeakCounter } from "@sluice/core/testing"
import type { RawClient, RawConnection } from "@sluice/core/testing"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { TestClock } from "effect/testing"
import * as Proxy from "../src/Proxy.ts"
import { answer, both, get, ok, proxied, raw, roundTrip } from "./utils/proxied.ts"
import type { Path, Setup } from "./utils/proxied.ts"

type Parts = Effect.Success<ReturnType<typeof proxied>>

type Failures = RawConnection.ConnectionLost | RawClient.ConnectError

interface Exit {
  readonly name: string
  readonly setup?: Setup
  /** How the exchanges end, by target. */
  readonly ends: Readonly<Record<string, string>>
  readonly run: (parts: Parts) => Effect.Effect<unknown, Failures>
}

const upgrade = (path: string, ...fields: ReadonlyArray<string>): string =>
  get(path, "Connection: Upgrade", "Upgrade: foo", ...fields)

const chunkedOk = answer("200 OK", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n")

/** Sends a request, and waits until the upstream has its head. */
const asked = Effect.fnUntraced(function*({ client, origin }: Parts, request: string) {
  yield* client.send(request)
  const upstream = yield* origin
  yield* upstream.nextRequestHead
  return upstream
})

const exits: ReadonlyArray<Exit> = [
  {
    name: "a response",
    ends: { "/a": "Completed" },
    run: (parts) =>
      Effect.gen(function*() {
        yield* (yield* asked(parts, get("/a"))).send(ok)
        yield* parts.client.response()
      })
  },
  {
    name: "pipelined requests, with garbage behind them",
    ends: { "/a": "Completed", "/b": "Completed", "": "Rejected" },
    run: (parts) =>
      Effect.gen(function*() {
        const first = yield* asked(parts, `${get("/a") + get("/b")}GARBAGE\r\n\r\n`)
        const second = yield* parts.upstream.nextConnection
        yield* second.nextRequest
        yield* second.send(ok)
        yield* first.send(ok)
        for (const status of [200, 200, 400]) {
          assert.strictEqual((yield* parts.client.response()).status, status)
        }
        yield* parts.client.ended
      })
  },
  {
    name: "a request that is refused, with another behind it",
    ends: { "/a": "Rejected" },
    run: ({ client }) => Effect.andThen(client.send(get("/a", "Host: twice") + get("/b")), client.ended)
  },
  {
    name: "a client that leaves before the response",
    ends: { "/a": "ClientAborted" },
    run: (parts) =>
      Effect.gen(function*() {
        const upstream = yield* asked(parts, get("/a"))
        yield* parts.client.reset
        yield* upstream.ended
      })
  },
  {
    name: "a client that leaves within the response",
    ends: { "/a": "ClientAborted" },
    run: (parts) =>
      Effect.gen(function*() {
        const upstream = yield* asked(parts, get("/a"))
        yield* upstream.send(chunkedOk)
        yield* parts.client.read("abc")
        yield* parts.client.reset
        yield* upstream.ended
      })
  },
  {
    name: "a client that leaves within its upload",
    ends: { "/a": "ClientAborted" },
    run: (parts) =>
      Effect.gen(function*() {
        const upstream = yield* asked(parts, raw("POST /a", ["Content-Length: 10"], "abc"))
        yield* parts.client.end
        yield* upstream.ended
      })
  },
  {
    name: "a body that turns malformed",
    ends: { "/a": "Rejected" },
    run: (parts) =>
      Effect.gen(function*() {
        const upstream = yield* asked(parts, raw("POST /a", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n"))
        yield* parts.client.send("xyz\r\n")
        assert.strictEqual((yield* parts.client.response()).status, 400)
        yield* upstream.ended
      })
  },
  {
    name: "an upstream that refuses the connection",
    setup: { target: "http://127.0.0.1:1" },
    ends: { "/a": "Failed" },
    run: ({ client }) => client.request(get("/a"))
  },
  {
    name: "an upstream that resets before its response",
    ends: { "/a": "Failed" },
    run: (parts) =>
      Effect.gen(function*() {
        yield* (yield* asked(parts, raw("POST /a", ["Content-Length: 3"], "abc"))).reset
        assert.strictEqual((yield* parts.client.response()).status, 502)
      })
  },
  {
    name: "an upstream that resets within its response",
    ends: { "/a": "Failed" },
    run: (parts) =>
      Effect.gen(function*() {
        const upstream = yield* asked(parts, get("/a"))
        yield* upstream.send(chunkedOk)
        yield* parts.client.read("abc")
        yield* upstream.reset
        yield* parts.client.ended
      })
  },
  {
    name: "a response that is malformed",
    ends: { "/a": "Failed" },
    run: (parts) =>
      Effect.gen(function*() {
        yield* (yield* asked(parts, get("/a"))).send("HTTP/1.1 200 OK\r\nX A: 1\r\n\r\n")
        assert.strictEqual((yield* parts.client.response()).status, 502)
      })
  },
  {
    name: "a response with bytes behind it",
    ends: { "/a": "Completed" },
    run: (parts) =>
      Effect.gen(function*() {
        yield* (yield* asked(parts, get("/a"))).send(`${ok}more`)
        assert.strictEqual((yield* parts.client.response()).text, "ok")
      })
  },
  {
    name: "a tunnel",
    ends: { "/a": "Completed" },
    run: (parts) =>
      Effect.gen(function*() {
        const upstream = yield* asked(parts, upgrade("/a"))
        yield* upstream.send(answer("101 Switching Protocols", ["Connection: Upgrade", "Upgrade: foo"]))
        yield* parts.client.responseHead
        yield* parts.client.end
        yield* upstream.ended
        yield* upstream.end
        yield* parts.client.ended
      })
  },
  {
    name: "a tunnel whose client resets",
    ends: { "/a": "ClientAborted" },
    run: (parts) =>
      Effect.gen(function*() {
        const upstream = yield* asked(parts, upgrade("/a"))
        yield* upstream.send(answer("101 Switching Protocols", ["Connection: Upgrade", "Upgrade: foo"]))
        yield* parts.client.responseHead
        yield* parts.client.reset
        yield* upstream.ended
      })
  },
  {
    name: "refused upgrades, and a request behind them",
    ends: { "/a": "Completed", "/b": "Completed", "/c": "Completed" },
    run: (parts) =>
      Effect.gen(function*() {
        for (const request of [upgrade("/a"), upgrade("/b"), get("/c")]) {
          yield* parts.client.send(request)
          const upstream = request.includes("/a") ? yield* parts.origin : yield* parts.upstream.nextConnection
          yield* upstream.nextRequest
          yield* upstream.send(answer("403 Forbidden", ["Content-Length: 2", "Connection: close"], "no"))
          assert.strictEqual((yield* parts.client.response()).text, "no")
        }
      })
  },
  {
    name: "an upgrade with a body",
    ends: { "/a": "Completed" },
    run: (parts) =>
      Effect.gen(function*() {
        const upstream = yield* asked(parts, upgrade("/a", "Content-Length: 3") + "abc")
        yield* upstream.send(ok)
        yield* parts.client.response()
        yield* parts.client.ended
      })
  }
]

/** What the effect returns, and the warnings and errors that nobody has taken while it ran. */
const complaints = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<readonly [A, ReadonlyArray<string>], E, R> =>
  Effect.suspend(() => {
    const seen: Array<string> = []
    const events = ["warning", "unhandledRejection", "uncaughtException"] as const
    const listeners = events.map((event) => (what: unknown) => {
      // Effect hashes what a failure holds, on Node 22 through properties of responses that warn.
      if (!(what instanceof Error && what.name === "DeprecationWarning")) seen.push(`${event}: ${String(what)}`)
    })
    events.forEach((event, i) => process.on(event, listeners[i]))
    const stop = Effect.sync(() => events.forEach((event, i) => process.off(event, listeners[i])))
    // Rejections and warnings are told one turn later.
    const settle = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    const settled = Effect.tap(self, () => Effect.andThen(settle, settle))
    return Effect.ensuring(Effect.map(settled, (value) => [value, seen] as const), stop)
  })

/** Takes the exit, and returns how the exchanges have ended once the server has drained. */
const ended = Effect.fnUntraced(function*(path: Path, exit: Exit) {
  const { app } = yield* Effect.scoped(Effect.gen(function*() {
    const parts = yield* proxied(path, exit.setup)
    yield* exit.run(parts)
    yield* parts.app.exchange(Object.keys(exit.ends).length - 1)
    return parts
  }))
  return (yield* app.exchanges).map(({ outcome, target }) => [target, outcome._tag] as const)
})

describe("Proxy, every way out of an exchange", () => {
  for (const path of ["direct", "value"] as const) {
    for (const exit of exits) {
      it.effect(
        `B262, B263, B264 ${exit.name}: one terminal event, no leak, no complaint (${path})`,
        () =>
          Effect.gen(function*() {
            const [ends, said] = yield* complaints(LeakCounter.expectNoLeak(ended(path, exit)))
            assert.deepStrictEqual(said, [])
            assert.strictEqual(ends.length, Object.keys(exit.ends).length)
            assert.deepStrictEqual(Object.fromEntries(ends), exit.ends)
          }),
        10_000
      )
    }

    it.effect(
      `B262, B264 a hundred requests on one connection add no listeners (${path})`,
      () =>
        Effect.gen(function*() {
          const requests = Effect.scoped(Effect.gen(function*() {
            const { client, origin } = yield* roundTrip(path, get("/"))
            for (let i = 0; i < 100; i++) {
              yield* client.send(i % 2 === 0 ? get("/") : raw("POST /", ["Content-Length: 3"], "abc"))
              yield* origin.nextRequest
              yield* origin.send(ok)
              assert.strictEqual((yield* client.response()).text, "ok")
            }
          }))
          const [, said] = yield* complaints(LeakCounter.expectNoLeak(requests))
          assert.deepStrictEqual(said, [])
        }),
      10_000
    )
  }

  both("B265 an observer that dies is not felt", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.observe("broken", () => Effect.die(new Error("observer")))
      const { client, got, origin } = yield* roundTrip(path, get("/"), ok, { stack })
      assert.strictEqual(got.text, "ok")
      yield* client.send(get("/again"))
      assert.strictEqual((yield* origin.nextRequest).target, "/again")
      yield* origin.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
    }))

  both("B265 a head edit that throws is a 500, and the next request is served", (path) =>
    Effect.gen(function*() {
      let edits = 0
      const stack = Middleware.head("throwing", () => {
        if (++edits === 1) throw new Error("edit")
      })
      const { client, got, origin, upstream } = yield* roundTrip(path, get("/"), ok, { stack })
      assert.strictEqual(got.status, 500)
      yield* client.send(get("/again"))
      const next = yield* Effect.race(
        Effect.as(origin.nextRequest, origin),
        Effect.tap(upstream.nextConnection, (connection) => connection.nextRequest)
      )
      yield* next.send(ok)
      assert.strictEqual((yield* client.response()).text, "ok")
    }))

  for (
    const [name, pass] of [
      ["late", Middleware.identity],
      ["never", Middleware.around("replace", Effect.as(HttpServerResponse.text("own")))]
    ] as const
  ) {
    both(
      `an upstream that breaks a body off which middleware passes on ${name} is no uncaught error`,
      (path) =>
        Effect.gen(function*() {
          const gate = yield* Deferred.make<void>()
          const slow = Middleware.around("slow", Effect.tap(() => Deferred.await(gate)))
          const { client, origin } = yield* proxied(path, { stack: Middleware.compose(pass, slow) })
          yield* client.send(get("/"))
          const connection = yield* origin
          yield* connection.nextRequest
          yield* connection.send(answer("200 OK", ["Content-Type: text/plain", "Content-Length: 10"], "abc"))
          yield* connection.end
          yield* connection.ended
          yield* Deferred.succeed(gate, undefined)
          if (name === "never") assert.strictEqual((yield* client.response()).text, "own")
          else yield* client.ended
        })
    )
  }

  both("the total clock of a response that was replaced does not run on", (path) =>
    Effect.gen(function*() {
      const stack = Middleware.around("replace", Effect.as(HttpServerResponse.text("own")))
      const { app, client, origin } = yield* proxied(path, { stack, proxy: { clocks: { total: "1 minute" } } })
      yield* client.send(get("/"))
      const connection = yield* origin
      yield* connection.nextRequest
      yield* connection.send(answer("200 OK", ["Content-Type: text/plain", "Content-Length: 10"], "abc"))
      assert.strictEqual((yield* client.response()).text, "own")
      yield* connection.ended
      const ended = yield* app.exchange(0)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(ended.cause, undefined)
    }))

  both(
    "a client that leaves within a limited body that nobody reads is no uncaught error",
    (path) =>
      Effect.gen(function*() {
        const failed = yield* Deferred.make<void>()
        const held = Middleware.around("held", (handler) =>
          Effect.catchCause(handler, () => Effect.andThen(Deferred.succeed(failed, undefined), Effect.never)))
        const { app, client } = yield* proxied(path, {
          stack: held,
          proxy: {
            clocks: { requestBodyIdle: "Infinity" },
            maxRequestBody: 1000,
            direct: () =>
              Effect.succeed(Proxy.proceed({ set: { "x-a": "a\nb" } }))
          }
        })
        yield* client.send(raw("POST /", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n"))
        yield* Deferred.await(failed)
        yield* client.reset
        assert.strictEqual((yield* app.exchange(0)).outcome._tag, "ClientAborted")
      })
  )
})
