/**
 * Fuzzes the proxy with responses and requests that are mostly right.
 *
 * `node packages/proxy/fuzz/run.ts [--minutes 1] [--seed N] [--cases N] [--first N]`: runs for the time, or for the number of
 * cases. A finding is printed with its seed and case, and written to the temporary directory as a file that can be put into
 * `test/corpus`; `--seed S --first N --cases 1` runs it alone. Exits with 1 when there is any.
 */
import { LeakCounter } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { parseArgs } from "node:util"
import type { Case, Outcome } from "./cases.ts"
import { check } from "./check.ts"
import { request, response } from "./grammar.ts"
import { forCase } from "./random.ts"
import * as Rig from "./rig.ts"

interface Settings {
  readonly seed: number
  readonly first: number
  readonly cases: number
  readonly millis: number
  /** Where findings are written. */
  readonly directory: string
}

/** Each with rigs of its own, so that what one case does to a connection is seen by that case. */
const workers = 24

const number = (text: string | undefined, otherwise: number): number => {
  const value = text === undefined ? otherwise : Number(text)
  if (Number.isFinite(value) && value >= 0) return value
  throw new RangeError(`not a number: ${text}`)
}

const settings = (): Settings => {
  const text = { type: "string" } as const
  const { values } = parseArgs({ options: { minutes: text, seed: text, cases: text, first: text } })
  const millis = values.minutes === undefined && values.cases !== undefined
    ? Infinity
    : number(values.minutes, 1) * 60_000
  return {
    seed: number(values.seed, Date.now() % 1_000_000_007),
    first: number(values.first, 0),
    cases: values.cases === undefined ? Infinity : number(values.cases, 1),
    millis,
    directory: path.join(os.tmpdir(), "sluice-fuzz")
  }
}

/** A case by its number: of the two kinds in turn. */
const generate = (seed: number, index: number): Case => {
  const random = forCase(seed, index)
  return index % 2 === 0 ? response(random) : request(random)
}

/** Half of the shortest clock of a rig, in milliseconds: a process that stands still for longer finds its own clocks run out. */
const stall = 500

/** When the process stood still last, on a machine that had other things to do. */
class Stalls {
  last = -Infinity
  private seen = performance.now()

  constructor() {
    setInterval(() => {
      const now = performance.now()
      if (now - this.seen > stall) this.last = now
      this.seen = now
    }, stall / 10).unref()
  }

  /** Whether it did since that moment, or is just coming out of it. */
  since(moment: number): boolean {
    return this.last >= moment || performance.now() - this.seen > stall
  }
}

/** What is counted over a run. */
class Tally {
  cases = 0
  /** Cases that were run again, because what they found may have been the machine's doing. */
  again = 0
  readonly findings: Array<string> = []
  readonly seen = new Map<string, number>()
  readonly running = new Map<number, Case>()
  private readonly options: Settings

  constructor(options: Settings) {
    this.options = options
  }

  report(index: number, test: Case, finding: string): void {
    const file = path.join(this.options.directory, `${this.options.seed}-${index}.json`)
    fs.mkdirSync(this.options.directory, { recursive: true })
    fs.writeFileSync(file, `${JSON.stringify({ ...test, description: finding }, undefined, 2)}\n`)
    this.findings.push(finding)
    console.error(`FINDING seed ${this.options.seed} case ${index}: ${finding}\n  ${file}`)
  }

  /** An error that nobody caught is one of the cases that were running. */
  readonly crash = (error: unknown): void => {
    const text = error instanceof Error ? error.stack ?? error.message : String(error)
    for (const [index, test] of this.running) this.report(index, test, `uncaught (one of those running): ${text}`)
    if (this.running.size > 0) return
    this.findings.push(text)
    console.error(text)
    process.exitCode = 1
  }
}

const count = (counts: Map<string, number>, key: string): void => {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

const stalls = new Stalls()

const checkAwake = async (rig: Rig.Rig, test: Case, tally: Tally): Promise<Outcome> => {
  const started = performance.now()
  const outcome = await check(rig, test)
  if (outcome.findings.length === 0 || !stalls.since(started)) return outcome
  tally.again += 1
  return checkAwake(rig, test, tally)
}

const runCase = async (rigs: ReadonlyArray<Rig.Rig>, index: number, test: Case, tally: Tally): Promise<void> => {
  tally.running.set(index, test)
  for (const rig of rigs) {
    const { findings, seen } = await checkAwake(rig, test, tally)
    for (const finding of findings) tally.report(index, test, `${test.kind}, ${rig.path}: ${finding}`)
    for (const status of seen) count(tally.seen, `${test.kind} ${status}`)
  }
  tally.running.delete(index)
  tally.cases += 1
}

const fuzz = (options: Settings, tally: Tally): Effect.Effect<void, unknown> => {
  const until = performance.now() + options.millis
  const last = options.first + options.cases
  let next = options.first
  const work = async (rigs: ReadonlyArray<Rig.Rig>): Promise<void> => {
    while (next < last && performance.now() < until) {
      const index = next++
      await runCase(rigs, index, generate(options.seed, index), tally)
    }
  }
  const worker = Effect.scoped(Effect.flatMap(Rig.both, (rigs) => Effect.promise(() => work(rigs))))
  const count = Math.min(workers, options.cases)
  return Effect.all(Array.from({ length: count }, () => worker), { concurrency: "unbounded", discard: true })
}

const describe = (counts: ReadonlyMap<string, number>): string =>
  [...counts].toSorted(([a], [b]) => a < b ? -1 : 1).map(([name, times]) => `${name}: ${times}`).join(", ")

const main = async (): Promise<void> => {
  const options = settings()
  const tally = new Tally(options)
  process.on("uncaughtException", tally.crash)
  process.on("unhandledRejection", tally.crash)
  console.log(`seed ${options.seed}`)
  // What the process opens once and keeps is no leak of the cases.
  await Effect.runPromise(fuzz({ ...options, first: 0, cases: 2 }, new Tally(options)))
  const started = performance.now()
  const run = LeakCounter.expectNoLeak(fuzz(options, tally), { within: "10 seconds" })
  await Effect.runPromise(run).catch((error: unknown) => tally.findings.push(String(error)) && console.error(error))
  const seconds = (performance.now() - started) / 1000
  console.log(`clients saw: ${describe(tally.seen)}`)
  console.log(
    `${seconds.toFixed(0)} s, ${(tally.cases / seconds).toFixed(0)} cases/s, ${
      Math.round(process.memoryUsage().rss / 2 ** 20)
    } MiB`
  )
  if (tally.again > 0) console.log(`${tally.again} run again: the process had stood still`)
  console.log(`${tally.cases} cases, ${tally.findings.length} findings`)
  process.exitCode = tally.findings.length === 0 ? 0 : 1
}

await main()
