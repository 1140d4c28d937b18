/**
 * Everything but the tests: one line a step with its time, the output of the steps that fail, and the counts at the end.
 */
import { checkBarrels } from "./barrels.ts"
import { checkBoundaries } from "./boundaries.ts"
import { build } from "./build.ts"
import { checkCases } from "./cases.ts"
import { doctest } from "./doctest.ts"
import { attw, inTemporaryFolder, load, pack, publint } from "./packages.ts"
import type { Packed } from "./packages.ts"
import { typetest } from "./typetest.ts"
import { run } from "./workspace.ts"
import type { Outcome } from "./workspace.ts"

const failed = await inTemporaryFolder(async (folder) => {
  let packed: ReadonlyArray<Packed> = []
  const steps: Readonly<Record<string, () => Outcome | Promise<Outcome>>> = {
    format: () => run("dprint", ["check"]),
    lint: () => run("oxlint", []),
    types: () => run("tsc", ["--noEmit"]),
    refusals: () => typetest(),
    barrels: () => checkBarrels(),
    boundaries: () => checkBoundaries(),
    cases: () => checkCases(),
    build: () => build(),
    pack: async () => {
      const result = await pack(folder)
      packed = result.packed
      return result.outcome
    },
    publint: () => publint(packed),
    attw: () => attw(packed),
    load: () => load(folder, packed),
    doctest: () => doctest(),
    allocations: () => run("node", ["--disable-warning=ExperimentalWarning", "benchmarks/allocations.ts"])
  }
  const failures: Array<string> = []
  for (const [name, step] of Object.entries(steps)) {
    const start = performance.now()
    const { ok, output } = await step()
    console.log(`${ok ? "pass" : "FAIL"}  ${name.padEnd(12)}${((performance.now() - start) / 1000).toFixed(1)} s`)
    if (ok) continue
    failures.push(name)
    console.log(output.trimEnd().replaceAll(/^/gm, "      "))
  }
  console.log(`\n${Object.keys(steps).length - failures.length} passed, ${failures.length} failed`)
  return failures.length
})

process.exitCode = failed === 0 ? 0 : 1
