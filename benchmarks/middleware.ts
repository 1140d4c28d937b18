/**
 * What each middleware costs: CPU time a request, beside the same server without it.
 *
 * `pnpm bench:middleware` measures all of `stacks.ts`; names as arguments (`AccessLog RequestId`) choose some. Every stack
 * is a process of its own; this one sends the requests, over kept connections, in rounds: some to the
 * empty stack, some to the other, in turn, so that whatever else the machine does meets both. Counted is the CPU time of
 * the server's process, collections of garbage and compilation included; the cost is the median of the differences
 * within a round. `--beside FOLDER` measures another checkout of this repository in the same rounds, to see what a change
 * is worth. `--json FILE` writes the numbers down.
 */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as Load from "./load.ts"
import { empty, paths, requestFields, stacks, tails } from "./stacks.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "60" },
    requests: { type: "string", default: "320" },
    warmup: { type: "string", default: "15000" },
    beside: { type: "string" },
    json: { type: "string" }
  }
})
const unknown = positionals.filter((name) => !stacks.has(name))
if (unknown.length > 0) {
  console.error(`error: no stack is called ${unknown.join(", ")} (there are: ${[...stacks.keys()].join("; ")})`)
  process.exit(2)
}
const [rounds, requests, warmup] = [values.rounds, values.requests, values.warmup].map(Number)
const names = (positionals.length > 0 ? positionals : [...stacks.keys()]).filter((name) => name !== empty)

const connections = 16
/** How a response ends. */
const tail = "hello\n"

interface Running {
  /** Sends requests and returns the microseconds of CPU time that each took. */
  readonly cost: (requests: number) => Promise<number>
  readonly stop: () => void
}

const start = async (name: string, folder: string, fields: string | undefined): Promise<Running> => {
  const child = fork(join(folder, "stackServer.ts"), [name], {
    execArgv: ["--disable-warning=ExperimentalWarning"]
  })
  // Sound: that is what the process sends first.
  const [{ port }] = (await once(child, "message")) as [{ readonly port: number }]
  const connect = () => Load.connect(port, tails[name] ?? tail, fields, paths[name])
  const clients = await Promise.all(Array.from({ length: connections }, connect))
  // Alone: of several that are first with one idempotency key, all but one are refused.
  await clients[0].send(1)
  const cost = async (requests: number) => {
    const each = Math.ceil(requests / connections)
    const before = await used(child)
    const rest = stayAwake()
    await Promise.all(clients.map((client) => client.send(each)))
    rest()
    return ((await used(child)) - before) / (each * connections)
  }
  return {
    cost,
    stop: () => {
      for (const client of clients) client.close()
      child.disconnect()
    }
  }
}

/**
 * Keeps this process from sleeping. To wake it would be the server's work (some 9 µs in its `writev`), and only that of a
 * server which takes longer for a request than this process does: a middleware would seem to cost that as well.
 */
const stayAwake = (): () => void => {
  let awake = true
  const turn = (): void => {
    if (awake) setImmediate(turn)
  }
  turn()
  return () => {
    awake = false
  }
}

const used = async (child: ChildProcess): Promise<number> => {
  child.send("used")
  // Sound: that is what it answers.
  const [{ system, user }] = (await once(child, "message")) as [NodeJS.CpuUsage]
  return system + user
}

/** The value that a share of the others is below. */
const quantile = (sorted: ReadonlyArray<number>, share: number): number => {
  const at = (sorted.length - 1) * share
  const low = sorted[Math.floor(at)]
  return low + (sorted[Math.ceil(at)] - low) * (at % 1)
}

/** The middle, and between what the middle half lies. */
const summary = (numbers: ReadonlyArray<number>) => {
  const sorted = numbers.toSorted((a, b) => a - b)
  return { median: quantile(sorted, 0.5), from: quantile(sorted, 0.25), to: quantile(sorted, 0.75) }
}

const shown = (value: number): string => value.toFixed(1)

/** Both are new, so that neither has had more requests to be compiled by than the other. */
const startPair = async (name: string, folder: string) => {
  const baseline = await start(empty, folder, requestFields[name])
  const subject = await start(name, folder, requestFields[name])
  const totals: Array<number> = []
  const costs: Array<number> = []
  await baseline.cost(warmup)
  await subject.cost(warmup)
  return { baseline, subject, totals, costs }
}

const measure = async (name: string) => {
  const pairs = []
  for (const folder of folders) pairs.push(await startPair(name, folder))
  for (let round = 0; round < rounds; round++) {
    for (const { baseline, costs, subject, totals } of pairs) {
      // Whoever is first in a round is second in the next.
      const [first, second] = round % 2 === 0 ? [baseline, subject] : [subject, baseline]
      const one = await first.cost(requests)
      const other = await second.cost(requests)
      const [without, withIt] = first === baseline ? [one, other] : [other, one]
      totals.push(withIt)
      costs.push(withIt - without)
    }
  }
  for (const { baseline, subject } of pairs) {
    baseline.stop()
    subject.stop()
  }
  return { name, measured: pairs.map(({ costs, totals }) => ({ total: summary(totals), cost: summary(costs) })) }
}

const folders = [import.meta.dirname]
if (values.beside !== undefined) folders.push(join(values.beside, "benchmarks"))

console.log(`µs of CPU a request; medians of ${rounds} rounds of ${requests} requests (middle half of the rounds)`)
console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model}\n`)
const columns = ["a request", `more than ${empty}`]
const headings = values.beside === undefined ? columns : [...columns, ...columns.map((text) => `beside: ${text}`)]
console.log(`| stack | ${headings.join(" | ")} |`)
console.log(`|---|${"---:|".repeat(headings.length)}`)
const results = []
for (const name of names) {
  const result = await measure(name)
  results.push(result)
  const cells = result.measured.flatMap(({ cost, total }) => [
    shown(total.median),
    `${shown(cost.median)} (${shown(cost.from)} to ${shown(cost.to)})`
  ])
  console.log(`| ${name} | ${cells.join(" | ")} |`)
}
if (values.json !== undefined) {
  const run = { node: process.version, cpu: cpus()[0]?.model, rounds, requests, connections }
  writeFileSync(values.json, `${JSON.stringify({ ...run, unit: "µs of CPU a request", results }, undefined, 2)}\n`)
}
