/**
 * What a request costs, beside others: `pnpm bench [WORKLOAD]...` prints one table.
 *
 * Each workload starts all of its subjects anew; then, round by round, each gets the load for some seconds. Counted is the
 * CPU time of its process (from /proc, so on Linux alone) over the requests that were answered, or the events or messages
 * that came through; shown are medians over the rounds, and the medians of the ratios within a round. Where there is
 * `taskset`, subjects run on one core, and the upstream and the load on another. The load is `wrk`'s where it is installed,
 * else autocannon's; nginx takes part where it is.
 *
 * `--rounds 5 --seconds 2 --warmup 20000` (requests, or ten seconds); `--peers undici,nginx` chooses; `--beside NAME=FOLDER`
 * adds another checkout's program, to see what a change is worth; `--flag FLAG` is given to Node for ours; `--json FILE`
 * writes the numbers down.
 */
import * as Fs from "node:fs"
import { cpus } from "node:os"
import { dirname } from "node:path"
import { parseArgs } from "node:util"
import { pins } from "./cores.ts"
import { type Entrant, measure, median, medians, type Result, type Round } from "./rounds.ts"
import type { Workload } from "./workload.ts"
import { workloads } from "./workloads.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    warmup: { type: "string", default: "20000" },
    peers: { type: "string" },
    beside: { type: "string", multiple: true, default: [] },
    flag: { type: "string", multiple: true, default: [] },
    json: { type: "string" }
  }
})
const settings = {
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  warmup: Number(values.warmup)
}
const chosen = positionals.length === 0 ? Object.keys(workloads) : positionals
const unknown = chosen.filter((name) => workloads[name] === undefined)
if (unknown.length > 0) {
  console.error(`error: no workload is called ${unknown.join(", ")} (there are: ${Object.keys(workloads).join(", ")})`)
  process.exit(2)
}
const wanted = values.peers?.split(",")

/** Ours, ours of other checkouts, and the peers that are wanted. */
const entrantsOf = ({ subjects }: Workload): ReadonlyArray<Entrant> => {
  const [[ours, start], ...peers] = subjects
  const at = (name: string, root: string): Entrant => ({ name, start, site: { root, flags: values.flag } })
  const root = dirname(import.meta.dirname)
  return [
    at(ours, root),
    ...values.beside.map((pair) => {
      const [name, folder = ""] = pair.split("=", 2)
      return at(name, folder)
    }),
    ...peers.filter(([name]) => wanted?.includes(name) ?? true).map(([name, start]) => ({
      name,
      start,
      site: { root, flags: [] }
    }))
  ]
}

const columns = [
  "CPU us/request",
  "ours / it",
  "requests/s",
  "ours / it",
  "p50 ms",
  "p99 ms",
  "RSS MiB",
  "KiB each"
]

const shown = (value: number, digits: number): string => Number.isNaN(value) ? "" : value.toFixed(digits)

const row = (workload: string, { name, rounds }: Result, ours: ReadonlyArray<Round>): string => {
  const ratio = (of: (round: Round) => number) => median(rounds.map((round, i) => of(ours[i]) / of(round)))
  const { cpu, each, p50, p99, rate, rss } = medians(rounds)
  const numbers = [
    shown(cpu, 1),
    shown(ratio((round) => round.cpu), 2),
    shown(rate, 0),
    shown(ratio((round) => round.rate), 2),
    shown(p50, 2),
    shown(p99, 2),
    shown(rss / 1024, 0),
    shown(each, 1)
  ]
  return `| ${workload} | ${name} | ${numbers.join(" | ")} |`
}

const cpuName = cpus()[0]?.model ?? "unknown"
console.log(
  `Node ${process.version}, ${cpus().length} x ${cpuName}${
    pins ? ", pinned" : ""
  }, ${settings.rounds} rounds of ${settings.seconds} s\n`
)
console.log(`| workload | subject | ${columns.join(" | ")} |`)
console.log(`|---|---|${"---:|".repeat(columns.length)}`)
const results: Record<string, ReadonlyArray<Result & { readonly median: Round }>> = {}
for (const name of chosen) {
  const measured = await measure(workloads[name], entrantsOf(workloads[name]), settings)
  results[name] = measured.map((result) => ({ ...result, median: medians(result.rounds) }))
  for (const result of measured) console.log(row(name, result, measured[0].rounds))
}
if (values.json !== undefined) {
  Fs.writeFileSync(
    values.json,
    `${JSON.stringify({ node: process.version, cpu: cpuName, ...settings, results }, null, 2)}\n`
  )
}
