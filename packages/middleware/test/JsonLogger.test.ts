import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as TestConsole from "effect/testing/TestConsole"
import * as JsonLogger from "../src/JsonLogger.ts"

/** What both write of the same entries. */
const linesOf = (program: Effect.Effect<unknown>) =>
  Effect.gen(function*() {
    const pairs: Array<readonly [ours: string, theirs: string]> = []
    const both = Logger.make((options) => pairs.push([JsonLogger.format.log(options), Logger.formatJson.log(options)]))
    yield* Effect.provide(program, Logger.layer([both]))
    return pairs
  })

const circular: Record<string, unknown> = { a: 1 }
circular["self"] = circular

const entries: ReadonlyArray<readonly [string, Effect.Effect<unknown>]> = [
  ["a text", Effect.logInfo("GET / 200")],
  ["texts that must be escaped", Effect.logWarning("a \"quoted\"\\ line\n\u0000\u2028 \ud800 ü 𝄞")],
  ["no text", Effect.logInfo("")],
  ["several messages", Effect.logInfo("one", "two", 3)],
  ["no message", Effect.logInfo()],
  ["a message that is no text", Effect.logError({ a: [1, { b: 2n }] })],
  ["an array", Effect.logError(["one"])],
  ["a function", Effect.logError(() => 1)],
  ["a cause", Effect.logFatal("boom", Cause.fail("why"))],
  ["spans", Effect.withLogSpan(Effect.logDebug("slow"), "step")],
  [
    "plain annotations",
    Effect.annotateLogs(Effect.logInfo("x"), {
      "http.route": "/orders/:id",
      "a \"key\"": "a \"value\"",
      status: 200,
      1: "one",
      zero: -0,
      big: 1e300,
      nothing: Number.NaN,
      many: Infinity,
      yes: true
    })
  ],
  ["an annotation called __proto__", Effect.annotateLogs(Effect.logInfo("x"), "__proto__", "polluted")],
  ["undefined and null", Effect.annotateLogs(Effect.logInfo("x"), { a: undefined, b: null })],
  ["symbols, functions and bigints", Effect.annotateLogs(Effect.logInfo("x"), { a: Symbol("s"), b: () => 1, c: 1n })],
  ["objects", Effect.annotateLogs(Effect.logInfo("x"), { a: { b: [1] }, when: new Date(0), error: new Error("e") })],
  ["what holds itself", Effect.annotateLogs(Effect.logInfo("x"), { circular })],
  ["secrets", Effect.annotateLogs(Effect.logInfo("x"), { token: Redacted.make("secret") })]
]

describe("JsonLogger", () => {
  it.effect.each(entries)("writes what Effect's logger writes: %s", ([, program]) =>
    Effect.gen(function*() {
      const pairs = yield* Effect.provideService(linesOf(program), References.MinimumLogLevel, "Trace")
      assert.lengthOf(pairs, 1)
      const [ours, theirs] = pairs[0]
      assert.strictEqual(ours, theirs)
    }))

  it.effect("shows no secret", () =>
    Effect.gen(function*() {
      const secret = Effect.annotateLogs(Effect.logInfo("x"), { token: Redacted.make("hidden") })
      const [[ours]] = yield* linesOf(secret)
      assert.notInclude(ours, "hidden")
    }))

  it.effect("its layer writes to the console", () =>
    Effect.gen(function*() {
      yield* Effect.provide(Effect.logInfo("ready"), JsonLogger.layer)
      const lines = yield* TestConsole.logLines
      assert.deepStrictEqual(lines.map((line) => JSON.parse(String(line)).message), ["ready"])
    }))
})
