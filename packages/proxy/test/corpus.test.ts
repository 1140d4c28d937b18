import { assert, beforeAll, describe, it } from "@effect/vitest"
import { LeakCounter } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import type { Case, Outcome } from "../fuzz/cases.ts"
import { check } from "../fuzz/check.ts"
import * as Rig from "../fuzz/rig.ts"

/** A file of the corpus: a case, and what is expected of it besides what holds for all. */
type Entry = Case & { readonly expect?: Partial<Outcome> }

const directory = new URL("corpus/", import.meta.url)

// Sound: each file is written by the fuzzers or by hand in the same shape; a wrong one fails its case.
const read = (name: string): Entry => JSON.parse(fs.readFileSync(new URL(name, directory), "utf8")) as Entry

const entries = fs.readdirSync(directory).filter((name) => name.endsWith(".json")).toSorted()

const replay = (make: Effect.Effect<Rig.Rig, unknown, Scope.Scope>, entry: Entry) =>
  Effect.scoped(Effect.flatMap(make, (rig) => Effect.promise(() => check(rig, entry))))

// What the process opens once and keeps is no leak of the first case.
beforeAll(() => Effect.runPromise(Effect.asVoid(replay(Rig.make("direct"), read(entries[0])))))

describe("corpus", () => {
  for (const name of entries) {
    const entry = read(name)
    for (const path of ["direct", "value"] as const) {
      it.live(`${name.replace(".json", "")}: ${entry.description} (${path})`, () =>
        Effect.gen(function*() {
          const outcome = yield* LeakCounter.expectNoLeak(replay(Rig.make(path), entry))
          assert.deepStrictEqual(outcome.findings, [])
          for (const [key, value] of Object.entries(entry.expect ?? {})) {
            assert.deepStrictEqual(outcome[key as keyof Outcome], value, key)
          }
        }))
    }
  }
})
