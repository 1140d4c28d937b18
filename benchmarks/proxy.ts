/**
 * What a proxied request costs, beside other proxies: `pnpm bench [WORKLOAD]...` prints one table a workload.
 *
 * The process under test is the example `reverse-proxy` with its default settings. Each workload starts every proxy anew;
 * then, round by round, each gets the load for some seconds. Counted is the CPU time of its process (from /proc, so on
 * Linux alone) over the requests that were answered; shown are medians over the rounds. Where there is `taskset`, proxies
 * run on one core, and the upstream and the load on another. The load is `wrk`'s, which must be installed; nginx takes part
 * where it is.
 *
 * `--rounds 5 --seconds 2 --warmup 20000` (requests, or ten seconds); `--peers undici,nginx` chooses; `--beside NAME=FOLDER` adds another checkout's example, to see
 * what a change is worth; `--flag FLAG` is given to Node for ours; `--json FILE` writes the numbers down.
 */
import { spawn, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as Nginx from "./nginx.ts"
import { type Program, reverseProxy, start } from "./programs.ts"

interface Workload {
  readonly connections: number
  readonly path: string
  /** In bytes. */
  readonly upload?: number
}

const workloads: Readonly<Record<string, Workload>> = {
  small: { connections: 64, path: "/16" },
  "64k": { connections: 32, path: "/65536" },
  "1m": { connections: 16, path: "/1048576" },
  upload: { connections: 32, path: "/2", upload: 65_536 }
}

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
const rounds = Number(values.rounds)
const seconds = Number(values.seconds)
const warmup = Number(values.warmup)
const chosen = positionals.length === 0 ? Object.keys(workloads) : positionals
const unknown = chosen.filter((name) => workloads[name] === undefined)
if (unknown.length > 0) {
  console.error(`error: no workload is called ${unknown.join(", ")} (there are: ${Object.keys(workloads).join(", ")})`)
  process.exit(2)
}
const has = (program: string): boolean => spawnSync("which", [program]).status === 0
if (!has("wrk")) {
  console.error("error: wrk is not installed; it makes the load")
  process.exit(2)
}

// -- Processes ---------------------------------------------------------------------------------------------------------

const pins = has("taskset") && cpus().length > 1
const onCore = (core: number): ReadonlyArray<string> => pins ? ["taskset", "-c", String(core)] : []
const loadCore = onCore(0)
const testedCore = onCore(1)
const quiet = "--disable-warning=ExperimentalWarning"

type Start = (to: string) => Promise<Program>

const example = (main: string): Start => (to) =>
  start([quiet, ...values.flag, main, "--to", to, "--port", "0"], testedCore)

const peer = (name: string): Start => (to) =>
  start([quiet, join(import.meta.dirname, "peers.ts"), name, "--to", to], testedCore)

const ours = "sluice"
const allPeers: ReadonlyArray<readonly [string, Start]> = [
  ...["undici", "http-proxy-3", "@fastify/http-proxy", "fast-proxy", "httpxy"].map((name) =>
    [name, peer(name)] as const
  ),
  ...Nginx.isInstalled() ? [["nginx", (to: string) => Nginx.proxy(testedCore, to)] as const] : []
]
const wanted = values.peers?.split(",")
const subjects: ReadonlyArray<readonly [string, Start]> = [
  [ours, example(reverseProxy)],
  ...values.beside.map((pair) => {
    const [name, folder = ""] = pair.split("=", 2)
    return [name, example(join(folder, "examples/reverse-proxy/main.ts"))] as const
  }),
  ...allPeers.filter(([name]) => wanted?.includes(name) ?? true)
]

/** Microseconds of CPU time, of all threads. */
const cpuTime = (pid: number): number => {
  const stat = Fs.readFileSync(`/proc/${pid}/stat`, "utf8")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  // In hundredths of a second, whatever the kernel's own clock.
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

/** In MiB. */
const residentMemory = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(Fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024

// -- Load --------------------------------------------------------------------------------------------------------------

/** What wrk is told to send, and to print at its end. */
const script = (bytes: number): string =>
  `${bytes === 0 ? "" : `wrk.method = "POST"; wrk.body = string.rep("x", ${bytes})`}
done = function(summary, latency)
  local e = summary.errors
  print(string.format("RESULT %d %d %d %d %d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
`

const scripts = Fs.mkdtempSync(join(tmpdir(), "bench-wrk-"))
process.on("exit", () => Fs.rmSync(scripts, { recursive: true, force: true }))

const scriptFile = (bytes: number): string => {
  const file = join(scripts, `${bytes}.lua`)
  Fs.writeFileSync(file, script(bytes))
  return file
}

interface Load {
  readonly requests: number
  readonly rate: number
  readonly p50: number
  readonly p99: number
  readonly errors: number
}

const load = async (port: number, { connections, path, upload = 0 }: Workload, seconds: number): Promise<Load> => {
  const [program, ...args] = [
    ...loadCore,
    "wrk",
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    "--timeout",
    "30s",
    "-s",
    scriptFile(upload),
    `http://127.0.0.1:${port}${path}`
  ]
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] })
  let out = ""
  for await (const piece of child.stdout) out += String(piece)
  const result = /^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$/m.exec(out)
  if (result === null) throw new Error(`wrk said:\n${out}`)
  const [requests, micros, p50, p99, errors] = result.slice(1).map(Number)
  return { requests, rate: requests / (micros / 1e6), p50: p50 / 1000, p99: p99 / 1000, errors }
}

// -- Rounds ------------------------------------------------------------------------------------------------------------

interface Round {
  readonly cpu: number
  readonly rate: number
  readonly p50: number
  readonly p99: number
  readonly rss: number
}

const median = (numbers: ReadonlyArray<number>): number => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const medians = (all: ReadonlyArray<Round>): Round => {
  const of = (name: keyof Round): number => median(all.map((round) => round[name]))
  return { cpu: of("cpu"), rate: of("rate"), p50: of("p50"), p99: of("p99"), rss: of("rss") }
}

/** Not by the clock: on a busy machine little would be compiled by then. */
const warmUp = async ({ port }: Program, workload: Workload): Promise<void> => {
  const until = performance.now() + 10_000
  for (let left = warmup; left > 0 && performance.now() < until;) left -= (await load(port, workload, 2)).requests
}

/** Nobody is always the first, or always behind the same other one. */
const rotated = <A>(all: ReadonlyArray<A>, round: number): ReadonlyArray<A> => {
  const at = round % all.length
  const turned = [...all.slice(at), ...all.slice(0, at)]
  return round % 2 === 0 ? turned : turned.toReversed()
}

const measure = async (workload: Workload) => {
  const origin = await start([quiet, join(import.meta.dirname, "origin.ts")], loadCore)
  const running = await Promise.all(subjects.map(async ([name, start]) => ({
    name,
    program: await start(`http://127.0.0.1:${origin.port}`),
    rounds: new Array<Round>()
  })))
  try {
    for (const { program } of running) await warmUp(program, workload)
    for (let round = 0; round < rounds; round++) {
      for (const { name, program, rounds } of rotated(running, round)) {
        const before = cpuTime(program.pid)
        const { errors, p50, p99, rate, requests } = await load(program.port, workload, seconds)
        if (errors > 0) console.error(`${name}: ${errors} requests failed`)
        rounds.push({
          cpu: (cpuTime(program.pid) - before) / requests,
          rate,
          p50,
          p99,
          rss: residentMemory(program.pid)
        })
      }
    }
  } finally {
    for (const { program } of running) program.process.kill("SIGKILL")
    origin.process.kill("SIGKILL")
  }
  return running.map(({ name, rounds }) => ({ name, rounds, median: medians(rounds) }))
}

const results: Record<string, unknown> = {}
const cpuName = cpus()[0]?.model ?? "unknown"
console.log(
  `Node ${process.version}, ${cpus().length} x ${cpuName}${pins ? ", pinned" : ""}, ${rounds} rounds of ${seconds} s\n`
)
console.log("| workload | proxy | CPU us/request | ours / it | requests/s | p50 ms | p99 ms | RSS MiB |")
console.log("|---|---|---:|---:|---:|---:|---:|---:|")
for (const name of chosen) {
  const result = await measure(workloads[name])
  results[name] = result
  const own = result[0].rounds
  for (const { median: { cpu, p50, p99, rate, rss }, name: subject, rounds } of result) {
    const ratio = median(rounds.map((round, i) => own[i].cpu / round.cpu))
    const numbers = [
      cpu.toFixed(1),
      ratio.toFixed(2),
      rate.toFixed(0),
      p50.toFixed(2),
      p99.toFixed(2),
      rss.toFixed(0)
    ]
    console.log(`| ${name} | ${subject} | ${numbers.join(" | ")} |`)
  }
}
if (values.json !== undefined) {
  Fs.writeFileSync(
    values.json,
    `${JSON.stringify({ node: process.version, cpu: cpuName, rounds, seconds, results }, null, 2)}\n`
  )
}
