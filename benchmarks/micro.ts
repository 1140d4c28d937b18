/**
 * What single steps cost, in this process: `pnpm bench:micro [PART]...` prints nanoseconds and bytes allocated a call.
 *
 * Each step is measured by mitata, and once more after all others were, so that the engine has seen more than one shape of
 * what it is given; shown is the second time, the median of its samples. `--json FILE` writes the numbers down.
 */
import { do_not_optimize, measure } from "mitata"
import * as Fs from "node:fs"
import { cpus } from "node:os"
import { parseArgs } from "node:util"

/** A step that is measured. What it returns is used, so that it can't be left out. */
export interface Case {
  readonly name: string
  readonly run: () => unknown
}

const parts: Readonly<Record<string, () => Promise<ReadonlyArray<Case>>>> = {
  parsing: async () => (await import("./micro/parsing.ts")).parsing,
  fields: async () => (await import("./micro/fields.ts")).fields,
  balancing: async () => (await import("./micro/balancing.ts")).balancing
}

const { positionals, values } = parseArgs({ allowPositionals: true, options: { json: { type: "string" } } })
const chosen = positionals.length === 0 ? Object.keys(parts) : positionals
const unknown = chosen.filter((name) => parts[name] === undefined)
if (unknown.length > 0) {
  console.error(`error: no part is called ${unknown.join(", ")} (there are: ${Object.keys(parts).join(", ")})`)
  process.exit(2)
}

/** In nanoseconds. */
const settings = { min_cpu_time: 50e6, heap: () => process.memoryUsage().heapUsed }

const time = ({ run }: Case) => measure(() => do_not_optimize(run()), settings)

const cases = (await Promise.all(chosen.map((name) => parts[name]()))).flat()
const cpuName = cpus()[0]?.model ?? "unknown"
console.log(`Node ${process.version}, ${cpus().length} x ${cpuName}\n`)
console.log("| step | ns | bytes |\n|---|---:|---:|")
for (const one of cases) await measure(() => do_not_optimize(one.run()), { min_cpu_time: 10e6 })
const results = []
for (const one of cases) {
  const { heap, p25, p50, p75 } = await time(one)
  results.push({ name: one.name, p25, p50, p75, bytes: heap?.avg })
  console.log(`| ${one.name} | ${p50.toFixed(0)} | ${heap === undefined ? "" : heap.avg.toFixed(0)} |`)
}
if (values.json !== undefined) {
  Fs.writeFileSync(
    values.json,
    `${JSON.stringify({ node: process.version, cpu: cpuName, unit: "ns", results }, null, 2)}\n`
  )
}
