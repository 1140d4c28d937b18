import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { fileURLToPath } from "node:url"
import { cases } from "../conformance/cases/all.ts"
import { type Result, runCases } from "../conformance/Runner.ts"

const example = fileURLToPath(new URL("../../../examples/reverse-proxy/main.ts", import.meta.url))
const command = `"${process.execPath}" "${example}" --to {UP} --port 0`

/**
 * Not so yet: after a refused upgrade Node can't read a further request from the connection, so it closes (and says so). A
 * number that passes must leave this list.
 */
const pending = new Set([205].map((number) => `B${number}`))

describe("the conformance kit, against examples/reverse-proxy", () => {
  let results: ReadonlyArray<Result> = []

  beforeAll(async () => {
    results = await Effect.runPromise(runCases({ command, cases }))
  }, 60_000)

  for (const [i, { number, title }] of cases.entries()) {
    const test = pending.has(number) ? it.fails : it
    test(`${number} ${title}`, () => {
      assert.strictEqual(`${results[i].verdict} ${results[i].observation}`.trimEnd(), "pass")
    })
  }
})
