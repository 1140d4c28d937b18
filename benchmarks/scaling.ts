/**
 * How the cost of a request grows with the number of routes, middleware and upstream targets: `pnpm bench:scaling [CURVE]...`
 * prints a table each.
 *
 * Each point of a curve is a process of its own, and all points of a curve get the load in turns, as `bench.ts` does it with
 * subjects; shown are medians over the rounds. For routes it also starts each process some times without load, and shows how
 * long that took, from the start of Node to the server that listens, and the memory then.
 *
 * `--rounds 5 --seconds 1 --warmup 20000`; `--starts 3`; `--json FILE` writes the numbers down.
 */
import * as Fs from "node:fs"
import { cpus } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { cpuTime, residentMemory } from "./accounting.ts"
import { loadCore, pins, testedCore } from "./cores.ts"
import { http } from "./http.ts"
import { start } from "./programs.ts"
import { measure, median, medians, type Round } from "./rounds.ts"
import type { Start, Workload } from "./workload.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "1" },
    warmup: { type: "string", default: "20000" },
    starts: { type: "string", default: "3" },
    json: { type: "string" }
  }
})
const settings = {
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  warmup: Number(values.warmup)
}

const subject = (curve: string, count: number): Start => ({ to }) =>
  start([join(import.meta.dirname, "scalingSubject.ts"), curve, String(count), "--to", to], testedCore)

type Upstream = NonNullable<Workload["upstream"]>

/** Each point of the curve, under load for one path. */
const curve = async (
  name: string,
  counts: ReadonlyArray<number>,
  pathOf: (count: number) => string,
  upstream?: Upstream
): Promise<ReadonlyArray<Round>> => {
  const byPort = new Map<number, ReturnType<typeof http>>()
  const workload: Workload = {
    subjects: new Map(),
    // The path differs from point to point.
    load: (program, seconds) => {
      const load = byPort.get(program.port)
      if (load === undefined) throw new Error("load for a program that was not started")
      return load(program, seconds)
    },
    ...upstream === undefined ? undefined : { upstream }
  }
  const entrants = counts.map((count) => ({
    name: String(count),
    site: { root: "", flags: [] },
    start: async (site: Parameters<Start>[0]) => {
      const program = await subject(name, count)(site)
      byPort.set(program.port, http({ connections: 64, path: pathOf(count) }))
      return program
    }
  }))
  return (await measure(workload, entrants, settings)).map(({ rounds }) => medians(rounds))
}

interface StartUp {
  /** In milliseconds. */
  readonly millis: number
  readonly cpu: number
  /** In MiB. */
  readonly rss: number
}

const startUp = async (count: number): Promise<StartUp> => {
  const takes: Array<StartUp> = []
  for (let i = 0; i < Number(values.starts); i++) {
    const from = performance.now()
    const program = await subject("routes", count)({ to: "", root: "", flags: [] })
    takes.push({
      millis: performance.now() - from,
      cpu: cpuTime(program.pid) / 1000,
      rss: residentMemory(program.pid) / 1024
    })
    program.process.kill("SIGKILL")
  }
  const of = (name: keyof StartUp) => median(takes.map((take) => take[name]))
  return { millis: of("millis"), cpu: of("cpu"), rss: of("rss") }
}

const table = (columns: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): void => {
  console.log(`| ${columns.join(" | ")} |\n|${"---:|".repeat(columns.length)}`)
  for (const row of rows) console.log(`| ${row.join(" | ")} |`)
  console.log("")
}

const us = ({ cpu }: Round): string => cpu.toFixed(1)
const mib = ({ rss }: Round): string => (rss / 1024).toFixed(0)

const even = (count: number): number => count & ~1

const curves: Readonly<Record<string, () => Promise<unknown>>> = {
  routes: async () => {
    const counts = [10, 100, 1000, 10_000]
    const middle = await curve("routes", counts, (count) => `/api/things${even(count / 2)}`)
    const last = await curve("routes", counts, (count) => `/api/things${count - 2}`)
    const parameter = await curve("routes", counts, (count) => `/api/things${count - 1}/42`)
    const starts: Array<StartUp> = []
    for (const count of counts) starts.push(await startUp(count))
    table(
      [
        "routes",
        "a middle one, us",
        "the last one, us",
        "one with a parameter, us",
        "start, ms",
        "start, ms of CPU",
        "RSS, MiB"
      ],
      counts.map((count, i) => [
        String(count),
        us(middle[i]),
        us(last[i]),
        us(parameter[i]),
        ...[starts[i].millis, starts[i].cpu, starts[i].rss].map((value) => value.toFixed(0))
      ])
    )
    return { counts, middle, last, parameter, starts }
  },
  middleware: async () => {
    const counts = [0, 1, 2, 5, 10, 15, 20]
    const points = await curve("middleware", counts, () => "/")
    table(
      ["middleware", "CPU us/request", "more than none, us each"],
      counts.map((count, i) => [
        String(count),
        us(points[i]),
        count === 0 ? "" : ((points[i].cpu - points[0].cpu) / count).toFixed(2)
      ])
    )
    return { counts, points }
  },
  targets: async () => {
    const counts = [1, 2, 10, 100, 1000]
    const upstream = () => start([join(import.meta.dirname, "origin.ts"), "0.0.0.0"], loadCore)
    const points = await curve("targets", counts, () => "/16", upstream)
    table(
      ["targets", "CPU us/request", "requests/s", "p99, ms", "RSS, MiB"],
      counts.map((count, i) => [
        String(count),
        us(points[i]),
        points[i].rate.toFixed(0),
        points[i].p99.toFixed(2),
        mib(points[i])
      ])
    )
    return { counts, points }
  }
}

const chosen = positionals.length === 0 ? Object.keys(curves) : positionals
const unknown = chosen.filter((name) => curves[name] === undefined)
if (unknown.length > 0) {
  console.error(`error: no curve is called ${unknown.join(", ")} (there are: ${Object.keys(curves).join(", ")})`)
  process.exit(2)
}
const cpuName = cpus()[0]?.model ?? "unknown"
console.log(
  `Node ${process.version}, ${cpus().length} x ${cpuName}${
    pins ? ", pinned" : ""
  }, ${settings.rounds} rounds of ${settings.seconds} s\n`
)
const results: Record<string, unknown> = {}
for (const name of chosen) results[name] = await curves[name]()
if (values.json !== undefined) {
  Fs.writeFileSync(
    values.json,
    `${JSON.stringify({ node: process.version, cpu: cpuName, ...settings, results }, null, 2)}\n`
  )
}
