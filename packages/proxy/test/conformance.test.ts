import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { fileURLToPath } from "node:url"
import { cases } from "../conformance/cases/all.ts"
import { pending } from "../conformance/pending.ts"
import { type Result, runCases } from "../conformance/Runner.ts"

const example = fileURLToPath(new URL("../../../examples/reverse-proxy/main.ts", import.meta.url))
const command = `"${process.execPath}" "${example}" --to {UP} --port 0`

describe("the conformance kit, against examples/reverse-proxy", () => {
  let results: ReadonlyArray<Result> = []

  beforeAll(async () => {
    results = await Effect.runPromise(runCases({ command, cases }))
  }, 60_000)

  it("has each of the cases that are pending", () => {
    const names = new Set(cases.map(({ number, title }) => `${number} ${title}`))
    assert.deepStrictEqual(Object.keys(pending).filter((name) => !names.has(name)), [])
  })

  for (const [i, { number, title }] of cases.entries()) {
    const name = `${number} ${title}`
    const test = pending[name] === undefined ? it : it.fails
    test(name, () => {
      assert.strictEqual(`${results[i].verdict} ${results[i].observation}`.trimEnd(), "pass")
    })
  }
})
