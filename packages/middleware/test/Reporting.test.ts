import { assert, describe, it } from "@effect/vitest"
import * as Exchange from "@sluice/core/Exchange"
import * as Incident from "@sluice/core/Incident"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Reporter from "@sluice/core/Reporter"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import * as Server from "@sluice/core/Server"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Fiber from "effect/Fiber"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import * as Reporting from "../src/Reporting.ts"
import * as RequestId from "../src/RequestId.ts"
import * as Timeout from "../src/Timeout.ts"
import { exchanges, open, raw, reports, send, settled, start, turn, until } from "./kit.ts"

class DatabaseDown extends Problem.TaggedError<DatabaseDown>()("DatabaseDown", { status: 500 }) {}
class Missing extends Problem.TaggedError<Missing>()("Missing", { status: 404 }) {}
class Conflict extends Problem.TaggedError<Conflict>()("Conflict", { status: 409 }) {}
class Teapot extends Problem.TaggedError<Teapot>()("Teapot", { status: 418 }) {}
class Planned extends Problem.TaggedError<Planned>()("Planned", { status: 503, report: false }) {}
class SoldOut extends Schema.TaggedError<SoldOut>()("SoldOut", { sku: Schema.String }) {}

const empty = (status: number) => HttpServerResponse.empty({ status })
const ok = HttpServerResponse.text("done")

/** Sends one GET to a handler under `Reporting`, and returns status and reports. */
const run = <E>(
  handler: Effect.Effect<
    HttpServerResponse.HttpServerResponse,
    E,
    HttpServerRequest.HttpServerRequest | Incident.Incident
  >,
  through: Middleware.Any = Reporting.make(),
  init: RequestInit = {}
) =>
  Effect.gen(function*() {
    // Sound: the tests below give handlers and stacks that fit.
    const route = (Route.all as unknown as (path: string, through: unknown, handler: unknown) => Layer.Layer<never>)(
      "/orders/:id",
      through,
      handler
    )
    const server = yield* start(Server.layer(route))
    const { status } = yield* send(server, "/orders/7", init)
    yield* settled(server)
    return { status, reports: yield* reports }
  }).pipe(Effect.scoped, Effect.provide(Layer.fresh(Reporter.layerMemory)))

describe("Reporting", () => {
  it.effect("C1 an error rendered as 500 is one report with the very error", () =>
    Effect.gen(function*() {
      const error = new DatabaseDown({})
      const { reports, status } = yield* run(Effect.fail(error))
      assert.strictEqual(status, 500)
      assert.strictEqual(reports.length, 1)
      assert.strictEqual(reports[0].error, error)
      assert.deepStrictEqual(
        [reports[0].status, reports[0].method, reports[0].route, reports[0].path, reports[0].phase, reports[0].outcome],
        [500, "GET", "/orders/:id", "/orders/7", "handler", "Failed"]
      )
    }))

  it.effect("C2 errors rendered as 4xx are none", () =>
    Effect.gen(function*() {
      for (const error of [new Missing({}), new Conflict({}), new Teapot({})]) {
        const seen = yield* run(Effect.fail(error))
        assert.deepStrictEqual([seen.status, seen.reports], [error.status, []])
      }
      const returned = yield* run(Effect.succeed(empty(422)))
      assert.deepStrictEqual([returned.status, returned.reports], [422, []])
      const died = yield* run(Effect.die(new Conflict({})))
      assert.deepStrictEqual([died.status, died.reports], [409, []])
    }))

  it.effect("C3 a body that can't be decoded is none", () =>
    Effect.gen(function*() {
      const Order = Schema.Struct({ sku: Schema.String })
      const handler = Effect.as(HttpServerRequest.schemaBodyJson(Order), ok)
      for (const body of ["{", "{\"sku\":7}"]) {
        const headers = { "content-type": "application/json" }
        const { reports, status } = yield* run(handler, Reporting.make(), { method: "POST", body, headers })
        assert.deepStrictEqual([status, reports], [400, []])
      }
    }))

  it.effect("C4 a returned 500 that nobody explained is one report", () =>
    Effect.gen(function*() {
      const { reports } = yield* run(
        Effect.succeed(empty(500)),
        Middleware.stack(Reporting.make(), RequestId.make({ generate: Effect.succeed("id-1") }))
      )
      assert.deepStrictEqual(
        reports.map(({ error, outcome, requestId, route, unhandled }) => [
          String(error),
          requestId,
          route,
          outcome,
          unhandled
        ]),
        [["Unexplained: answered 500 without a cause", "id-1", "/orders/:id", "Completed", false]]
      )
    }))

  it.effect("C5 a returned 502 carries what Incident was told", () =>
    Effect.gen(function*() {
      const cause = Cause.fail(new Error("the warehouse is closed"))
      const { reports } = yield* run(Effect.gen(function*() {
        const incident = yield* Incident.Incident
        yield* incident.note({ sku: "a-1" })
        yield* incident.cause(cause)
        return empty(502)
      }))
      assert.deepStrictEqual(
        reports.map(({ cause, error, notes, status }) => [cause, error, notes, status]),
        [[cause, Cause.squash(cause), { sku: "a-1" }, 502]]
      )
    }))

  it.effect("C5 what Incident was told does not make a report of a response below 500", () =>
    Effect.gen(function*() {
      const { reports } = yield* run(Effect.gen(function*() {
        const incident = yield* Incident.Incident
        yield* incident.cause(Cause.fail("the first try failed"))
        return ok
      }))
      assert.deepStrictEqual(reports, [])
    }))

  it.effect("C6 an error that became a 500 further in is one report with the very error", () =>
    Effect.gen(function*() {
      const error = new SoldOut({ sku: "a-1" })
      const soldOut = Middleware.handle(SoldOut, () => Effect.succeed(empty(500)))
      const { reports } = yield* run(Effect.fail(error), Middleware.stack(Reporting.make(), soldOut))
      assert.strictEqual(reports.length, 1)
      assert.strictEqual(reports[0].error, error)
    }))

  it.effect("C6 also when it stands for a 4xx by itself", () =>
    Effect.gen(function*() {
      const error = new Missing({})
      const missing = Middleware.handle(Missing, () => Effect.succeed(empty(500)))
      const { reports } = yield* run(Effect.fail(error), Middleware.stack(Reporting.make(), missing))
      assert.deepStrictEqual(reports.map((report) => report.error), [error])
    }))

  it.effect("C7 a defect is reported with its stack, and the connection stays usable", () =>
    Effect.gen(function*() {
      const boom = new Error("the secret is 42")
      const routes = Layer.mergeAll(
        Route.get(
          "/die",
          Effect.sync((): HttpServerResponse.HttpServerResponse => {
            throw boom
          })
        ),
        Route.get("/", Effect.succeed(ok))
      )
      const server = yield* start(Server.layer(routes, { edge: Reporting.make() }))
      const client = yield* open(server)
      client.socket.write("GET /die HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* until(() => client.text().endsWith("}"))
      assert.match(client.text(), /^HTTP\/1\.1 500 /)
      assert.notInclude(client.text(), "secret")
      client.socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* until(() => client.text().endsWith("done"))
      yield* settled(server)
      const [report, ...more] = yield* reports
      assert.deepStrictEqual([report.error, report.unhandled, more.length], [boom, true, 0])
      assert.include(Cause.pretty(report.cause), "Reporting.test.ts")
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("C8 a thrown response is a response: reported when it is a 5xx", () =>
    Effect.gen(function*() {
      const fine = yield* run(Effect.die(empty(204)))
      assert.deepStrictEqual([fine.status, fine.reports], [204, []])
      const failed = yield* run(Effect.die(empty(503)))
      assert.deepStrictEqual([failed.status, failed.reports.map(({ error }) => String(error))], [
        503,
        ["Unexplained: answered 503 without a cause"]
      ])
    }))

  it.effect("C9 a body that breaks off is one report, and its end is not written", () =>
    Effect.gen(function*() {
      const broken = new Error("the disk is gone")
      const received = yield* Deferred.make<void>()
      const breaking = Stream.fromEffect(Effect.andThen(Deferred.await(received), Effect.die(broken)))
      const body = Stream.concat(Stream.make(new Uint8Array(3)), breaking)
      const route = Route.get("/", Effect.succeed(HttpServerResponse.stream(body)))
      const server = yield* start(Server.layer(route, { edge: Reporting.make() }))
      const client = yield* open(server)
      client.socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* until(() => client.text().includes("\r\n\r\n3\r\n"))
      yield* Deferred.succeed(received, undefined)
      yield* until(client.closed)
      yield* settled(server)
      assert.match(client.text(), /^HTTP\/1\.1 200 /)
      assert.notInclude(client.text(), "\r\n0\r\n")
      assert.deepStrictEqual(
        (yield* reports).map(({ error, outcome, phase, status }) => [error, phase, outcome, status]),
        [[broken, "responseBody", "Failed", 200]]
      )
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("C9 a body that fails with a typed error is one report, too", () =>
    Effect.gen(function*() {
      const body = Stream.concat(Stream.make(new Uint8Array(3)), Stream.fail(new SoldOut({ sku: "a" })))
      const route = Route.get("/", Effect.succeed(HttpServerResponse.stream(body)))
      const server = yield* start(Server.layer(route, { edge: Reporting.make() }))
      yield* raw(server, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* settled(server)
      assert.deepStrictEqual((yield* reports).map(({ phase, unhandled }) => [phase, unhandled]), [
        ["responseBody", false]
      ])
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("C10 a client that leaves is none, and the handler's finalizers run", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const finalized = yield* Deferred.make<void>()
      const handler = Effect.andThen(Deferred.succeed(reached, undefined), Effect.as(Effect.never, ok)).pipe(
        Effect.onInterrupt(() => Deferred.succeed(finalized, undefined))
      )
      const server = yield* start(Server.layer(Route.get("/", handler), { edge: Reporting.make() }))
      const client = yield* open(server)
      client.socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Deferred.await(reached)
      client.socket.destroy()
      yield* Deferred.await(finalized)
      yield* settled(server)
      assert.deepStrictEqual(yield* reports, [])
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("C11 a client that leaves also interrupts a middleware at the edge", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const slowAuth = Middleware.around("auth", (handler) =>
        Effect.andThen(Deferred.succeed(reached, undefined), Effect.andThen(Effect.never, handler)).pipe(
          Effect.onInterrupt(() =>
            Deferred.succeed(interrupted, undefined)
          )
        ))
      const edge = Middleware.stack(Reporting.make(), slowAuth)
      const server = yield* start(Server.layer(Route.get("/", Effect.succeed(ok)), { edge }))
      const client = yield* open(server)
      client.socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      yield* Deferred.await(reached)
      client.socket.destroy()
      yield* Deferred.await(interrupted)
      yield* settled(server)
      assert.deepStrictEqual(yield* reports, [])
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("C12 a reporter or a sink that throws changes no response", () =>
    Effect.gen(function*() {
      const throwing = () => {
        throw new Error("in the sink")
      }
      const reporters = [
        Layer.succeed(Reporter.Reporter, { report: throwing, flush: Effect.void }),
        Reporter.layer(Effect.succeed(throwing))
      ]
      for (const reporter of reporters) {
        yield* Effect.scoped(Effect.gen(function*() {
          const live = Server.layer(Route.get("/", Effect.die("boom")), { edge: Reporting.make() })
          const server = yield* start(Layer.provide(live, reporter))
          assert.strictEqual((yield* send(server)).status, 500)
          yield* settled(server)
          assert.strictEqual((yield* send(server)).status, 500)
          yield* settled(server)
        }))
      }
    }))

  it.effect("C13 a sink that never resolves delays nothing; what does not fit into the queue is counted", () =>
    Effect.gen(function*() {
      const hanging = Reporter.layer(Effect.succeed(() => Effect.never), {
        capacity: 3,
        batchSize: 1,
        flushTimeout: 0,
        sinkTimeout: Infinity
      })
      const live = Server.layer(Route.get("/", Effect.die("boom")), { edge: Reporting.make() })
      const server = yield* start(Layer.provide(live, hanging))
      for (let i = 0; i < 8; i++) {
        assert.strictEqual((yield* send(server)).status, 500)
        yield* settled(server)
        yield* turn
      }
      const { count } = yield* Metric.value(Reporter.dropped("capacity"))
      assert.strictEqual(count, 4)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("C14 a sink that computes does so when the response has been written", () =>
    Effect.gen(function*() {
      const { ended, observer } = exchanges()
      const seen: Array<number> = []
      const busy = Reporter.layer(Effect.succeed(() => Effect.sync(() => void seen.push(ended.length))))
      const edge = Middleware.stack(observer, Reporting.make())
      const server = yield* start(Layer.provide(Server.layer(Route.get("/", Effect.die("boom")), { edge }), busy))
      assert.strictEqual((yield* send(server)).status, 500)
      yield* until(() => seen.length > 0)
      assert.deepStrictEqual(seen, [1])
    }))

  it.effect("C15 one error object in two requests is two reports", () =>
    Effect.gen(function*() {
      const error = new DatabaseDown({})
      const server = yield* start(Server.layer(Route.get("/", Effect.fail(error)), { edge: Reporting.make() }))
      yield* send(server)
      yield* send(server)
      yield* settled(server)
      assert.deepStrictEqual((yield* reports).map((report) => report.error), [error, error])
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("C15 inside the dedupe window it is one, counted", () => {
    const batches: Array<number> = []
    const sink: Reporter.Sink = (batch) => Effect.sync(() => void batches.push(...batch.map(({ count }) => count)))
    return Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Effect.die("boom")), { edge: Reporting.make() }))
      yield* send(server)
      yield* send(server)
      yield* settled(server)
      yield* Effect.flatMap(Reporter.Reporter, (reporter) => reporter.flush)
      assert.deepStrictEqual(batches, [2])
    }).pipe(Effect.provide(Reporter.layer(Effect.succeed(sink), { dedupeWindow: "1 minute" })))
  })

  it.effect("C16 carries request id, route, method, trace and user, and no secrets", () => {
    const tracer = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })
    class CurrentUser extends RequestService.Service<CurrentUser, string>()("test/CurrentUser") {}
    const auth = Middleware.provide(CurrentUser, Effect.as(Exchange.annotate("user", "ada"), "ada"))
    const tenant = Middleware.around<never, HttpServerRequest.HttpServerRequest>(
      "tenant",
      (handler) => Effect.andThen(Exchange.annotate("tenant", "blue"), handler)
    )
    const traceId = "0af7651916cd43dd8448eb211c80319c"
    const secret = "s3cr3t"
    return Effect.gen(function*() {
      const edge = Middleware.stack(
        Reporting.make(),
        RequestId.make({ generate: Effect.succeed("id-1") }),
        tenant,
        auth
      )
      const route = Route.below(edge).get("/orders/:id", Effect.andThen(CurrentUser, Effect.die(new Error("boom"))))
      const server = yield* start(Server.layer(route, { edge }))
      yield* TestClock.setTime(1000)
      yield* send(server, `/orders/7?token=${secret}&page=2`, {
        headers: {
          "authorization": `Bearer ${secret}`,
          "cookie": `sid=${secret}`,
          "x-api-key": secret,
          "x-plain": "yes",
          "traceparent": `00-${traceId}-b7ad6b7169203331-01`
        }
      })
      yield* settled(server)
      const [report] = yield* reports
      assert.deepStrictEqual(
        [report.requestId, report.route, report.method, report.path, report.user, report.trace?.traceId, report.time],
        ["id-1", "/orders/:id", "GET", "/orders/7", "ada", traceId, 1000]
      )
      assert.deepStrictEqual(
        ["authorization", "cookie", "x-api-key", "x-plain"].map((name) => report.headers[name]),
        ["<redacted>", "<redacted>", "<redacted>", "yes"]
      )
      assert.deepStrictEqual(report.notes, { url: "/orders/7?token=REDACTED&page=2", tenant: "blue" })
      assert.notInclude(JSON.stringify({ ...report, cause: undefined }), secret)
    }).pipe(Effect.provide(Reporter.layerMemory), Effect.provideService(Tracer.Tracer, tracer))
  })

  it.effect("C17 a failure above authentication is reported without a user", () =>
    Effect.gen(function*() {
      const broken = Middleware.around("broken", (handler) => Effect.andThen(Effect.die("boom"), handler))
      const auth = Middleware.around<never, HttpServerRequest.HttpServerRequest>(
        "auth",
        (handler) => Effect.andThen(Exchange.annotate("user", "ada"), handler)
      )
      const { reports } = yield* run(Effect.succeed(ok), Middleware.stack(Reporting.make(), broken, auth))
      assert.deepStrictEqual(reports.map(({ error, user }) => [error, user]), [["boom", undefined]])
    }))

  it.effect("C18 two that are nested make one report, with the notes of both", () =>
    Effect.gen(function*() {
      const noting = Middleware.around<never, Incident.Incident>("noting", (handler) =>
        Effect.andThen(
          Effect.flatMap(Incident.Incident, (incident) => incident.note({ outer: true })),
          handler
        ))
      const handler = Effect.andThen(
        Effect.flatMap(Incident.Incident, (incident) => incident.note({ inner: true })),
        Effect.die("boom")
      )
      const { reports } = yield* run(handler, Middleware.stack(Reporting.make(), noting, Reporting.make()))
      assert.deepStrictEqual(reports.map(({ notes }) => notes), [{ outer: true, inner: true }])
    }))

  it.effect("C20 where reports go is a Layer: the same routes with another one", () =>
    Effect.gen(function*() {
      const live = Server.layer(Route.get("/", Effect.die("boom")), { edge: Reporting.make() })
      const lines: Array<string> = []
      const mine = Reporter.layer(
        Effect.succeed((batch) => Effect.sync(() => void lines.push(...batch.map(({ error }) => String(error)))))
      )
      for (const layer of [Reporter.layerNoop, mine]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const server = yield* start(Layer.provide(live, layer))
          assert.strictEqual((yield* send(server)).status, 500)
          yield* settled(server)
        }))
      }
      assert.deepStrictEqual(lines, ["boom"])
    }))

  it.effect("C24 a pre-response hook that fails is one report", () =>
    Effect.gen(function*() {
      const handler = Effect.andThen(
        HttpEffect.appendPreResponseHandler(() => Effect.die("in the hook")),
        Effect.succeed(ok)
      )
      const { reports, status } = yield* run(handler)
      assert.deepStrictEqual([status, reports.map(({ error }) => error)], [500, ["in the hook"]])
    }))

  it.effect("C25 a response that can't be written is one report", () =>
    Effect.gen(function*() {
      const responses = [
        HttpServerResponse.empty({ headers: { "x-bad": "a\nb" } }),
        HttpServerResponse.empty({ status: 99 })
      ]
      for (const response of responses) {
        const { reports, status } = yield* run(Effect.succeed(response))
        assert.deepStrictEqual([status, reports.length, reports[0]?.status], [500, 1, 500])
      }
    }))

  it.effect("C26 a timeout is reported as what it is", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const route = Route.get(
        "/",
        Timeout.make("1 second"),
        Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)
      )
      const server = yield* start(Server.layer(route, { edge: Reporting.make() }))
      const reply = yield* Effect.forkChild(send(server))
      yield* Deferred.await(reached)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(reply)
      yield* settled(server)
      const [{ duration, error, outcome, status }] = yield* reports
      assert.instanceOf(error, Timeout.HandlerTimeout)
      assert.deepStrictEqual([outcome, status, duration], ["TimedOut", 503, 1000])
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("errors that are not to be reported are none", () =>
    Effect.gen(function*() {
      class Ignored extends Error {
        override readonly [ErrorReporter.ignore] = true
      }
      for (const handler of [Effect.fail(new Planned({})), Effect.die(new Ignored())]) {
        const { reports, status } = yield* run(handler)
        assert.isAtLeast(status, 500)
        assert.deepStrictEqual(reports, [])
      }
    }))

  it.effect("malformed requests are none, whatever their status", () =>
    Effect.gen(function*() {
      const server = yield* start(Server.layer(Route.get("/", Effect.succeed(ok)), { edge: Reporting.make() }))
      assert.match(yield* raw(server, "nonsense\r\n\r\n"), /^HTTP\/1\.1 400 /)
      assert.match(yield* raw(server, "GET / HTTP/3.0\r\nhost: a\r\n\r\n"), /^HTTP\/1\.1 505 /)
      assert.match(yield* raw(server, "CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n"), /^HTTP\/1\.1 501 /)
      yield* settled(server)
      assert.deepStrictEqual(yield* reports, [])
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("reports only when it is told to, and an inner one may still want to", () =>
    Effect.gen(function*() {
      const never = Reporting.make({ when: () => false })
      assert.deepStrictEqual((yield* run(Effect.die("boom"), never)).reports, [])
      const only502 = Reporting.make({ when: ({ status }) => status === 502 })
      assert.strictEqual((yield* run(Effect.succeed(empty(502)), Middleware.stack(never, only502))).reports.length, 1)
      assert.deepStrictEqual((yield* run(Effect.succeed(empty(503)), Middleware.stack(never, only502))).reports, [])
    }))

  it.effect("takes the error's own attributes into the notes", () =>
    Effect.gen(function*() {
      class Tagged extends Error {
        override readonly [ErrorReporter.attributes] = { shard: 3 }
      }
      const { reports } = yield* run(Effect.die(new Tagged("boom")))
      assert.deepStrictEqual(reports.map(({ notes }) => notes), [{ shard: 3 }])
    }))

  it("is one part of a pipeline, and leaves the response alone", () => {
    const { label, response } = Reporting.make()
    assert.deepStrictEqual([label, response], ["Reporting", "none"])
  })
})
