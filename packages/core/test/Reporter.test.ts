import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Report from "../src/Report.ts"
import * as Reporter from "../src/Reporter.ts"

const failure = (error: unknown, more: Partial<Report.Report> = {}): Report.Report =>
  Report.make({ error, status: 500, method: "GET", route: "/orders/:id", path: "/orders/7", ...more })

/** A sink that keeps the batches it got. */
const collect = () => {
  const batches: Array<ReadonlyArray<Report.Report>> = []
  const sink: Reporter.Sink = (batch) => Effect.sync(() => void batches.push(batch))
  return { batches, sink, counts: () => batches.flat().map((report) => report.count) }
}

const reporting = (sink: Reporter.Sink, policy?: Reporter.Policy) => Reporter.make(sink, policy)

const dropped = (reason: Reporter.DropReason) =>
  Effect.map(Metric.value(Reporter.dropped(reason)), (state) => state.count)

/** Each test counts for itself. */
const ownMetrics = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, Metric.MetricRegistry, new Map())

const logs = () => {
  const entries: Array<{ level: string; message: string; annotations: Readonly<Record<string, unknown>> }> = []
  const logger = Logger.make<unknown, void>(({ fiber, logLevel, message }) => {
    entries.push({
      level: logLevel,
      message: Array.isArray(message) ? String(message[0]) : String(message),
      annotations: fiber.getRef(References.CurrentLogAnnotations)
    })
  })
  return { entries, layer: Logger.layer([logger]) }
}

describe("Report", () => {
  it.effect("C16 carries route, method, request id, trace, and no secrets", () =>
    Effect.sync(() => {
      const report = failure(new Error("boom"), {
        path: "/orders/7?token=t0p",
        headers: Headers.fromInput({
          authorization: "Bearer t0p",
          cookie: "sid=t0p",
          "proxy-authorization": "Basic t0p",
          "set-cookie": "sid=t0p",
          "x-api-key": "t0p",
          referer: "https://shop.test/a?access_token=t0p&page=2",
          accept: "text/html"
        }),
        requestId: "7f3a",
        notes: { upstream: "http://u:t0p@10.0.0.7/x?api_key=t0p&a=1", tries: 2 },
        user: { id: "ada" }
      })
      assert.strictEqual(report.path, "/orders/7")
      assert.strictEqual(report.route, "/orders/:id")
      assert.strictEqual(report.requestId, "7f3a")
      assert.strictEqual(report.headers["accept"], "text/html")
      assert.strictEqual(report.notes["tries"], 2)
      assert.deepStrictEqual(report.user, { id: "ada" })
      assert.strictEqual(report.trace?.traceId.length, 32)
      assert.notInclude(JSON.stringify([report.headers, report.notes, report.path]), "t0p")
    }).pipe(Effect.withSpan("request")))

  it.effect("C16 blanks what Headers.CurrentRedactedNames names besides its own list", () =>
    Effect.gen(function*() {
      const report = yield* Effect.sync(() =>
        failure("boom", { headers: Headers.fromInput({ "x-tenant-secret": "s", authorization: "s" }) })
      )
      assert.deepStrictEqual({ ...report.headers }, { "x-tenant-secret": "<redacted>", authorization: "<redacted>" })
    }).pipe(Effect.provideService(Headers.CurrentRedactedNames, ["x-tenant-secret"])))

  it.effect("C7 a defect is unhandled and keeps its stack", () =>
    Effect.sync(() => {
      const defect = new TypeError("undefined is not a function")
      const report = Report.make({ cause: Cause.die(defect), status: 500 })
      assert.strictEqual(report.error, defect)
      assert.isTrue(report.unhandled)
      assert.include(Report.toJson(report).errors[0].stack ?? "", "Reporter.test.ts")
    }))

  it.effect("takes the time from Effect's clock", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_700_000_000_000)
      assert.strictEqual(failure("boom").time, 1_700_000_000_000)
    }))

  it.effect("fingerprints leave numbers and ids out, and tell routes apart", () =>
    Effect.sync(() => {
      const of = (message: string, route = "/a") => failure(new Error(message), { route }).fingerprint
      assert.strictEqual(of("order 7 is gone"), of("order 1234 is gone"))
      assert.strictEqual(of("no 5bd1e6a2-0f3c-4e1a-9d5e-0a1b2c3d4e5f here"), of("no 7c here"))
      assert.notStrictEqual(of("order 7 is gone"), of("order 7 is late"))
      assert.notStrictEqual(of("x", "/a"), of("x", "/b"))
    }))

  it.effect("severity goes by annotation, outcome, blame and status", () =>
    Effect.sync(() => {
      const of = (error: unknown, more?: Partial<Report.Report>) => Report.severity(failure(error, more))
      assert.strictEqual(of("boom"), "Error")
      assert.strictEqual(of("boom", { status: undefined }), "Error")
      assert.strictEqual(of("boom", { status: 404 }), "Warn")
      assert.strictEqual(of({ blame: "client" }, { status: 502 }), "Warn")
      assert.strictEqual(of("boom", { outcome: "ClientAborted" }), "Info")
      assert.strictEqual(of({ [ErrorReporter.severity]: "Fatal" }), "Fatal")
      assert.strictEqual(Report.severity(Report.make({ cause: Cause.die("x"), status: 400 })), "Error")
    }))
})

describe("Reporter", () => {
  it.effect("C12, B265 a sink that throws, fails or dies is not felt and leaves the reporter alive", () =>
    Effect.gen(function*() {
      const log = logs()
      const errors = [
        () => {
          throw new Error("sync")
        },
        () => Effect.fail("typed"),
        () => Effect.die("defect"),
        () => Effect.interrupt
      ]
      const arrived: Array<unknown> = []
      const sink: Reporter.Sink = (batch) => {
        const next = errors.shift()
        return next === undefined ? Effect.sync(() => void arrived.push(batch[0].error)) : next()
      }
      yield* Effect.gen(function*() {
        const reporter = yield* reporting(sink)
        for (let i = 0; i < 5; i++) {
          yield* reporter.report(failure(i))
          yield* reporter.flush
        }
        assert.deepStrictEqual(arrived, [4])
        assert.strictEqual(yield* dropped("sink"), 4)
        assert.deepStrictEqual(log.entries.map((entry) => entry.level), ["Warn"])

        errors.push(() => Effect.fail("again"))
        yield* TestClock.adjust("1 minute")
        yield* reporter.report(failure("late"))
        yield* reporter.flush
        assert.deepStrictEqual(log.entries.map((entry) => entry.annotations["sluice.reporter.failures"]), [1, 4])
      }).pipe(Effect.provide(log.layer))
    }).pipe(ownMetrics))

  it.effect("C12 a logger that throws does not stop the reporter", () =>
    Effect.gen(function*() {
      const arrived: Array<unknown> = []
      let calls = 0
      const reporter = yield* reporting((batch) => {
        if (calls++ === 0) throw new Error("sink")
        return Effect.sync(() => void arrived.push(batch[0].error))
      })
      yield* reporter.report(failure("a"))
      yield* reporter.flush
      yield* reporter.report(failure("b"))
      yield* reporter.flush
      assert.deepStrictEqual(arrived, ["b"])
    }).pipe(
      Effect.provide(Logger.layer([Logger.make(() => {
        throw new Error("logger")
      })])),
      ownMetrics
    ))

  it.effect("C13 a sink that never resolves: reports don't wait, the queue is bounded, the rest is counted", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      const reporter = yield* reporting(
        () => Effect.andThen(Deferred.succeed(started, undefined), Effect.never),
        { capacity: 3, batchSize: 1, sinkTimeout: Infinity, flushTimeout: 0 }
      )
      yield* reporter.report(failure("in flight"))
      yield* Deferred.await(started)
      for (let i = 0; i < 10; i++) yield* reporter.report(failure(i))
      assert.strictEqual(yield* dropped("capacity"), 7)
    }).pipe(ownMetrics))

  it.effect("C13 a batch that takes longer than sinkTimeout is dropped, even when it can't be interrupted", () =>
    Effect.gen(function*() {
      const second = yield* Deferred.make<unknown>()
      let calls = 0
      const reporter = yield* reporting(
        (batch) =>
          calls++ === 0
            ? Effect.uninterruptible(Effect.never)
            : Effect.asVoid(Deferred.succeed(second, batch[0].error)),
        { batchSize: 1, sinkTimeout: "10 seconds" }
      )
      yield* reporter.report(failure("first"))
      yield* reporter.report(failure("second"))
      yield* TestClock.adjust("9 seconds")
      assert.isFalse(yield* Deferred.isDone(second))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Deferred.await(second), "second")
      assert.strictEqual(yield* dropped("sink"), 1)
    }).pipe(Effect.provide(logs().layer), ownMetrics))

  it.live("C14 a sink that computes for 300 ms runs after the response is written", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const reporter = yield* reporting(() =>
        Effect.sync(() => {
          events.push("sink")
          const end = performance.now() + 300
          while (performance.now() < end);
        })
      )
      const server = createServer((_, response) => {
        response.on("finish", () => void events.push("written"))
        Effect.runFork(Effect.andThen(
          reporter.report(failure("boom")),
          Effect.sync(() => {
            response.statusCode = 500
            response.end("sorry")
          })
        ))
      })
      const port = yield* listen(server)
      const response = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}`))
      assert.strictEqual(response.status, 500)
      assert.strictEqual(yield* Effect.promise(() => response.text()), "sorry")
      yield* reporter.flush
      assert.deepStrictEqual(events, ["written", "sink"])
    }))

  it.effect("C14 the sink never runs in the turn of the fiber that reports", () =>
    Effect.gen(function*() {
      const { batches, sink } = collect()
      const reporter = yield* reporting(sink)
      yield* reporter.report(failure("warm up"))
      yield* reporter.flush
      yield* reporter.report(failure("boom"))
      yield* Effect.promise(() => Promise.resolve())
      yield* Effect.promise(() => new Promise<void>((resolve) => process.nextTick(resolve)))
      assert.strictEqual(batches.length, 1)
      yield* reporter.flush
      assert.strictEqual(batches.length, 2)
    }))

  it.effect("C15 the same error on two requests: two reports without a window", () =>
    Effect.gen(function*() {
      const { batches, sink } = collect()
      const reporter = yield* reporting(sink)
      const singleton = new Error("boom")
      yield* reporter.report(failure(singleton))
      yield* reporter.report(failure(singleton))
      yield* reporter.flush
      assert.deepStrictEqual(batches.flat().map((report) => [report.error, report.count]), [
        [singleton, 1],
        [singleton, 1]
      ])
    }))

  it.effect("C15 inside the window one report with count 2, outside two reports", () =>
    Effect.gen(function*() {
      const { counts, sink } = collect()
      const reporter = yield* reporting(sink, { dedupeWindow: "10 seconds" })
      const singleton = new Error("boom")
      yield* reporter.report(failure(singleton))
      yield* TestClock.adjust("9 seconds")
      yield* reporter.report(failure(singleton))
      assert.deepStrictEqual(counts(), [])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(counts(), [2])

      yield* reporter.report(failure(singleton))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(counts(), [2, 1])
    }))

  it.effect("C15 other fingerprints are not held up, and a flush does not wait for the window", () =>
    Effect.gen(function*() {
      const { batches, sink } = collect()
      const reporter = yield* reporting(sink, { dedupeWindow: "10 seconds" })
      yield* reporter.report(failure("a"))
      yield* TestClock.adjust("5 seconds")
      yield* reporter.report(failure("b"))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(batches.flat().map((report) => report.error), ["a"])
      yield* reporter.report(failure("b"))
      yield* reporter.flush
      assert.deepStrictEqual(batches.flat().map((report) => [report.error, report.count]), [["a", 1], ["b", 2]])
      yield* reporter.report(failure("b"))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(batches.flat().map((report) => report.count), [1, 2, 1])
    }))

  it.effect("C19 closing the scope delivers what is queued and accepts nothing more", () =>
    Effect.gen(function*() {
      const { batches, sink } = collect()
      const scope = yield* Scope.make()
      const reporter = yield* Scope.provide(reporting(sink, { dedupeWindow: "1 hour", batchSize: 4 }), scope)
      for (let i = 0; i < 10; i++) yield* reporter.report(failure(i, { fingerprint: String(i) }))
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(batches.flat().map((report) => report.error), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      assert.deepStrictEqual(batches.map((batch) => batch.length), [4, 4, 2])

      yield* reporter.report(failure("too late"))
      yield* reporter.flush
      assert.strictEqual(batches.length, 3)
      assert.strictEqual(yield* dropped("closed"), 1)
    }).pipe(ownMetrics))

  it.effect("C19 closing the scope gives up after flushTimeout and interrupts the sink", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      const scope = yield* Scope.make()
      const reporter = yield* Scope.provide(
        reporting(
          () => Effect.onInterrupt(Effect.never, () => Effect.asVoid(Deferred.succeed(interrupted, undefined))),
          {
            batchSize: 1,
            sinkTimeout: Infinity
          }
        ),
        scope
      )
      for (let i = 0; i < 10; i++) yield* reporter.report(failure(i))
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
      yield* Deferred.await(interrupted)
      assert.strictEqual(yield* dropped("deadline"), 10)
    }).pipe(ownMetrics))

  it.effect("C19 the sink's own resources outlive the last flush", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const sink = Effect.acquireRelease(
        Effect.succeed<Reporter.Sink>(() => Effect.sync(() => void events.push("sent"))),
        () => Effect.sync(() => void events.push("closed"))
      )
      yield* Effect.flatMap(Reporter.Reporter, (reporter) => reporter.report(failure("boom"))).pipe(
        Effect.provide(Reporter.layer(sink))
      )
      assert.deepStrictEqual(events, ["sent", "closed"])
    }))

  it.effect("flush gives up after flushTimeout", () =>
    Effect.gen(function*() {
      const reporter = yield* reporting(() => Effect.never, { flushTimeout: "1 second", sinkTimeout: "3 seconds" })
      yield* reporter.report(failure("boom"))
      const flushing = yield* Effect.forkChild(reporter.flush)
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(flushing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(flushing)
      yield* TestClock.adjust("2 seconds")
    }).pipe(Effect.provide(logs().layer)))

  it.effect("rateLimit is a token bucket on Effect's clock", () =>
    Effect.gen(function*() {
      const { sink, counts } = collect()
      const reporter = yield* reporting(sink, { rateLimit: 2 })
      for (let i = 0; i < 5; i++) yield* reporter.report(failure(i))
      yield* TestClock.adjust("500 millis")
      for (let i = 0; i < 5; i++) yield* reporter.report(failure(i))
      yield* reporter.flush
      assert.strictEqual(counts().length, 3)
      assert.strictEqual(yield* dropped("rate"), 7)
    }).pipe(ownMetrics))

  it.effect("sampleRate keeps about its share", () =>
    Effect.gen(function*() {
      const { sink, counts } = collect()
      const reporter = yield* reporting(sink, { sampleRate: 0.25, capacity: 2000 })
      for (let i = 0; i < 2000; i++) yield* reporter.report(failure(i))
      yield* reporter.flush
      assert.isAbove(counts().length, 350)
      assert.isBelow(counts().length, 650)
    }))

  it.effect("scrub runs after redaction, may drop a report, and drops it when it throws", () =>
    Effect.gen(function*() {
      const { batches, sink } = collect()
      const reporter = yield* reporting(sink, {
        scrub: (report) => {
          if (report.error === "bad") throw new Error("scrub")
          return report.error === "secret" ? undefined : { ...report, user: report.headers["authorization"] }
        }
      })
      // A report that was not made by Report.make is redacted too.
      const raw = { ...failure("fine"), headers: Headers.fromInput({ authorization: "t0p" }) }
      for (const report of [failure("bad"), failure("secret"), raw]) yield* reporter.report(report)
      yield* reporter.flush
      assert.deepStrictEqual(batches.flat().map((report) => report.user), ["<redacted>"])
      assert.strictEqual(yield* dropped("scrub"), 1)
    }).pipe(ownMetrics))

  it.effect("refuses nonsense where it is declared, by name", () =>
    Effect.sync(() => {
      const nonsense: ReadonlyArray<Reporter.Policy> = [
        { capacity: 0 },
        { capacity: 1.5 },
        { batchSize: -1 },
        { batchSize: NaN },
        { dedupeWindow: Infinity },
        { dedupeWindow: -1 },
        { sampleRate: 0 },
        { sampleRate: 1.1 },
        { rateLimit: 0 },
        { rateLimit: NaN },
        { flushTimeout: -1 },
        { sinkTimeout: 0 }
      ]
      for (const policy of nonsense) {
        assert.throws(
          () => Reporter.layer(Effect.succeed(collect().sink), policy),
          RangeError,
          `Reporter: ${Object.keys(policy)[0]} must be`
        )
      }
    }))

  it.effect("C20 the same program runs with every layer", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const reporter = yield* Reporter.Reporter
        yield* reporter.report(failure("boom"))
        yield* reporter.flush
        return "done"
      })
      const layers: ReadonlyArray<Layer.Layer<Reporter.Reporter>> = [
        Reporter.layerNoop,
        Reporter.layerMemory,
        Reporter.layerLog,
        Reporter.layerConsole,
        Reporter.fromErrorReporter()
      ]
      for (const layer of layers) assert.strictEqual(yield* Effect.provide(program, layer), "done")
    }).pipe(Effect.provide(logs().layer), Effect.provideService(Console.Console, silent)))
})

describe("Reporter layers", () => {
  it.effect("layerMemory shows what has been reported, at once", () =>
    Effect.gen(function*() {
      const reporter = yield* Reporter.Reporter
      const memory = yield* Reporter.Memory
      yield* reporter.report(failure("a"))
      yield* reporter.report({ ...failure("b"), headers: Headers.fromInput({ cookie: "t0p" }) })
      const reports = yield* memory.reports
      assert.deepStrictEqual(reports.map((report) => report.error), ["a", "b"])
      assert.strictEqual(reports[1].headers["cookie"], "<redacted>")
      yield* memory.clear
      assert.deepStrictEqual(yield* memory.reports, [])
    }).pipe(Effect.provide(Reporter.layerMemory)))

  it.effect("layerConsole writes one line and the cause to stderr", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      yield* Effect.gen(function*() {
        const reporter = yield* Reporter.Reporter
        yield* reporter.report(failure(new Error("boom"), { requestId: "7f3a", duration: 12.3, path: "/o\u001b[2J" }))
      }).pipe(
        Effect.provide(Reporter.layerConsole),
        Effect.provideService(
          Console.Console,
          Object.assign(Object.create(silent), { error: (line: string) => void lines.push(line) })
        )
      )
      const [first, second] = lines[0].split("\n")
      assert.strictEqual(
        first,
        "1970-01-01T00:00:00.000Z Error 500 GET /orders/:id /o?[2J Error: Failed in handler after 12 ms, request 7f3a"
      )
      assert.include(second, "Error: boom")
    }))

  it.effect("layerLog logs at the report's severity, with annotations", () =>
    Effect.gen(function*() {
      const log = logs()
      yield* Effect.gen(function*() {
        const reporter = yield* Reporter.Reporter
        yield* reporter.report(failure(new Error("boom"), { notes: { sku: "a-1" } }))
        yield* reporter.report(failure("no", { status: 404 }))
      }).pipe(Effect.provide(Reporter.layerLog), Effect.provide(log.layer))
      assert.deepStrictEqual(log.entries.map((entry) => entry.level), ["Error", "Warn"])
      const annotations = log.entries[0].annotations
      assert.strictEqual(annotations["http.route"], "/orders/:id")
      assert.strictEqual(annotations["http.response.status_code"], 500)
      assert.strictEqual(annotations["error.type"], "Error")
      assert.strictEqual(annotations["note.sku"], "a-1")
      assert.notProperty(annotations, "request.id")
    }))

  it.effect("layerTee reports to all, also when one of them is broken, and provides what they provide", () =>
    Effect.gen(function*() {
      const broken = Layer.succeed(Reporter.Reporter, {
        report: () => Effect.die("broken"),
        flush: Effect.die("broken")
      })
      const { batches, sink } = collect()
      const layer = Reporter.layerTee(broken, Reporter.layerMemory, Reporter.layer(Effect.succeed(sink)))
      yield* Effect.gen(function*() {
        const reporter = yield* Reporter.Reporter
        yield* reporter.report(failure("boom"))
        yield* reporter.flush
        const memory = yield* Reporter.Memory
        assert.strictEqual((yield* memory.reports).length, 1)
        assert.strictEqual(batches.length, 1)
      }).pipe(Effect.provide(layer))
    }))
})

describe("Reporter and Effect's ErrorReporter", () => {
  class Ignored extends Data.TaggedError("Ignored")<{}> {
    override readonly [ErrorReporter.ignore] = true
  }

  const bridged = Layer.provideMerge(Reporter.layerErrorReporter, Reporter.layerMemory)
  const errors = Effect.flatMap(
    Reporter.Memory,
    (memory) => Effect.map(memory.reports, (reports) => reports.map((report) => report.error))
  )

  it.effect("what Effect reports arrives here, a singleton each time it occurs", () =>
    Effect.gen(function*() {
      const singleton = new Error("singleton")
      for (let i = 0; i < 2; i++) yield* Effect.ignore(Effect.withErrorReporting(Effect.fail(singleton)))
      yield* ErrorReporter.report(Cause.die("defect"))
      yield* ErrorReporter.report(Cause.fail(new Ignored()))
      yield* ErrorReporter.report(Cause.interrupt())
      assert.deepStrictEqual(yield* errors, [singleton, singleton, "defect"])
    }).pipe(Effect.provide(bridged)))

  it.effect("a reporter that dies leaves the fiber that reports alone", () =>
    Effect.gen(function*() {
      yield* ErrorReporter.report(Cause.fail("boom"))
    }).pipe(
      Effect.provide(Reporter.layerErrorReporter),
      Effect.provideService(Reporter.Reporter, {
        report: () => {
          throw new Error("broken")
        },
        flush: Effect.void
      })
    ))

  it.effect("our reports reach registered reporters; one that throws keeps nothing from the others", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const throws = ErrorReporter.make(() => {
        throw new Error("broken")
      })
      const keeps = ErrorReporter.make(({ error, fiber }) => {
        seen.push([error.message, fiber.getRef(References.CurrentLogAnnotations)["http.route"]])
      })
      yield* Effect.gen(function*() {
        const reporter = yield* Reporter.Reporter
        yield* reporter.report(failure(new Error("boom")))
        yield* reporter.flush
      }).pipe(
        Effect.provide(Reporter.fromErrorReporter()),
        Effect.provide(ErrorReporter.layer([throws, keeps]))
      )
      assert.deepStrictEqual(seen, [["boom", "/orders/:id"]])
    }))

  it.effect("bridged both ways, a report does not go round in circles", () =>
    Effect.gen(function*() {
      const { batches, sink } = collect()
      const ours = yield* reporting(sink)
      yield* Effect.gen(function*() {
        yield* ErrorReporter.report(Cause.fail("boom"))
        yield* ours.flush
        assert.strictEqual(batches.flat().length, 1)
        yield* Effect.gen(function*() {
          const both = Reporter.tee([ours, yield* Reporter.Reporter])
          yield* both.report(failure("again"))
          yield* both.flush
        }).pipe(Effect.provide(Reporter.fromErrorReporter()))
        assert.strictEqual(batches.flat().length, 2)
      }).pipe(
        Effect.provide(Reporter.layerErrorReporter),
        Effect.provideService(Reporter.Reporter, ours)
      )
    }))

  it.effect("a sink that reports its own failures to Effect does not feed itself", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const registered = ErrorReporter.make(({ error }) => seen.push(error.message))
      yield* Effect.gen(function*() {
        const reporter = yield* reporting(() => Effect.withErrorReporting(Effect.fail("sink")))
        yield* reporter.report(failure("boom"))
        yield* reporter.flush
      }).pipe(Effect.provide(ErrorReporter.layer([registered])), Effect.provide(logs().layer))
      assert.deepStrictEqual(seen, [])
    }).pipe(ownMetrics))
})

describe("Reporter.layerHttp", () => {
  interface Posted {
    readonly headers: Readonly<Record<string, unknown>>
    readonly body: { readonly reports: ReadonlyArray<Report.Json> }
  }

  /** A webhook that answers with each status in turn, then with 204. */
  const webhook = (answers: Array<readonly [status: number, headers?: Record<string, string>]>) =>
    Effect.gen(function*() {
      const posted = yield* Queue.unbounded<Posted>()
      const server = createServer((request, response) => {
        const chunks: Array<Buffer> = []
        request.on("data", (chunk: Buffer) => chunks.push(chunk))
        request.on("end", () => {
          const [status, headers] = answers.shift() ?? [204]
          response.writeHead(status, headers).end()
          Queue.offerUnsafe(posted, { headers: request.headers, body: JSON.parse(Buffer.concat(chunks).toString()) })
        })
      })
      const port = yield* listen(server)
      return { posted, url: `http://127.0.0.1:${port}/hook` }
    })

  const layerHttp = (options: Reporter.HttpOptions, policy?: Reporter.Policy) =>
    Layer.provide(Reporter.layerHttp(options, policy), FetchHttpClient.layer)

  it.live("posts a batch as JSON", () =>
    Effect.gen(function*() {
      const { posted, url } = yield* webhook([])
      const circular: Record<string, unknown> = { big: 1n }
      circular["self"] = circular
      yield* Effect.gen(function*() {
        const reporter = yield* Reporter.Reporter
        yield* reporter.report(failure(new Error("boom"), { requestId: "7f3a", notes: { circular } }))
        yield* reporter.report(failure("again", { headers: Headers.fromInput({ authorization: "t0p" }) }))
        yield* reporter.flush
      }).pipe(Effect.provide(layerHttp({ url, headers: { "x-key": "k" } })))
      const { body, headers } = yield* Queue.take(posted)
      assert.strictEqual(headers["content-type"], "application/json")
      assert.strictEqual(headers["x-key"], "k")
      const [first, second] = body.reports
      assert.strictEqual(first.errors[0].message, "boom")
      assert.strictEqual(first.severity, "Error")
      assert.strictEqual(first.requestId, "7f3a")
      assert.strictEqual(first.count, 1)
      assert.notProperty(first, "cause")
      assert.strictEqual(second.headers["authorization"], "<redacted>")
    }))

  it.live("tries again after a 503", () =>
    Effect.gen(function*() {
      const { posted, url } = yield* webhook([[503]])
      yield* Effect.gen(function*() {
        const reporter = yield* Reporter.Reporter
        yield* reporter.report(failure("boom"))
        yield* reporter.flush
      }).pipe(Effect.provide(layerHttp({ url })))
      assert.strictEqual(yield* Queue.size(posted), 2)
    }))

  it.effect("waits for as long as Retry-After says", () =>
    Effect.gen(function*() {
      const requests = yield* Queue.unbounded<string>()
      let calls = 0
      const client = HttpClient.make((request) =>
        Effect.sync(() => {
          Queue.offerUnsafe(requests, request.url)
          const response = calls++ === 0
            ? new Response(null, { status: 429, headers: { "retry-after": "30" } })
            : new Response(null, { status: 204 })
          return HttpClientResponse.fromWeb(request, response)
        })
      )
      yield* Effect.gen(function*() {
        const reporter = yield* Reporter.Reporter
        yield* reporter.report(failure("boom"))
        assert.strictEqual(yield* Queue.take(requests), "http://hook.test/")
        yield* TestClock.adjust("29 seconds")
        assert.strictEqual(yield* Queue.size(requests), 0)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Queue.size(requests), 1)
      }).pipe(
        Effect.provide(Reporter.layerHttp({ url: "http://hook.test/" })),
        Effect.provideService(HttpClient.HttpClient, client)
      )
    }))

  it.live("loses a batch that is refused, says so once and goes on", () =>
    Effect.gen(function*() {
      const log = logs()
      const { posted, url } = yield* webhook([[400]])
      yield* Effect.gen(function*() {
        const reporter = yield* Reporter.Reporter
        yield* reporter.report(failure("a"))
        yield* reporter.flush
        yield* reporter.report(failure("b"))
        yield* reporter.flush
      }).pipe(Effect.provide(layerHttp({ url, encode: (batch) => ({ n: batch.length }) })), Effect.provide(log.layer))
      assert.deepStrictEqual<unknown>((yield* Queue.take(posted)).body, { n: 1 })
      yield* Queue.take(posted)
      assert.strictEqual(log.entries.length, 1)
      assert.strictEqual(yield* dropped("sink"), 1)
    }).pipe(ownMetrics))
})

const listen = (server: ReturnType<typeof createServer>) =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as AddressInfo).port)))
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )

const silent: Console.Console = { ...globalThis.console, error: () => {}, log: () => {} }
