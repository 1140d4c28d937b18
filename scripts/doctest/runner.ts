/**
 * Runs the examples of a manifest one after another, in a child process of `scripts/doctest.ts`.
 *
 * An example has passed when its module has been evaluated and every assertion in it was reached and held.
 */
import { readFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { pathToFileURL } from "node:url"
import { formatWithOptions, inspect } from "node:util"

export interface Job {
  readonly path: string
  readonly assertions: number
}

export interface Failure {
  /** Lines from the first one of the example. */
  readonly offset: number
  readonly text: string
}

/** Sent when an example has ended. */
export interface Report {
  readonly job: number
  readonly failures: ReadonlyArray<Failure>
}

const limit = 10_000
const options = { breakLength: Infinity, depth: 8 } as const
/** White space and kinds of quotes do not count. */
const normal = (text: string): string =>
  text.replaceAll(/['`]/g, "\"").replaceAll(/\s+/g, " ").replaceAll(/ ?([[\](){},:]) ?/g, "$1").trim()

let failures: Array<Failure> = []
let reached = new Set<number>()
/** What `console` was given since the last assertion, or since the example began. */
let output: Array<string> = []

const fail = (text: string, offset = 0): void => void failures.push({ offset, text })

/** An error as text, without the frames of Node itself. */
const describe = (error: unknown): string => inspect(error).replaceAll(/^ +at .*node:internal.*\n/gm, "")

const expect = (offset: number, expected: string, values: ReadonlyArray<unknown>): void => {
  reached.add(offset)
  const value = formatWithOptions(options, ...values)
  const shown = [value, output.join("\n"), ...(values.length === 1 ? [inspect(values[0], options)] : [])]
  output = []
  if (!shown.some((text) => normal(text) === normal(expected))) fail(`expected ${expected}, got ${value}`, offset)
}

const evaluate = async (job: Job): Promise<void> => {
  await import(pathToFileURL(job.path).href)
  do await sleep(1)
  while (reached.size < job.assertions)
}

const runAll = async (jobs: ReadonlyArray<Job>): Promise<void> => {
  for (const [index, job] of jobs.entries()) {
    failures = []
    reached = new Set()
    output = []
    const timeout = new AbortController()
    await Promise.race([
      evaluate(job).catch((error: unknown) => fail(describe(error))),
      sleep(limit, undefined, { signal: timeout.signal }).then(
        () => fail(`not done after ${limit / 1000} s: ${reached.size} of ${job.assertions} assertions reached`),
        () => undefined
      )
    ])
    timeout.abort()
    const report: Report = { job: index, failures }
    process.send?.(report)
  }
}

for (const method of ["debug", "error", "info", "log", "table", "trace", "warn"] as const) {
  console[method] = (...values: ReadonlyArray<unknown>) => void output.push(formatWithOptions(options, ...values))
}
process.on("unhandledRejection", (error) => fail(`unhandled rejection: ${describe(error)}`))
process.on("uncaughtException", (error) => fail(`uncaught exception: ${describe(error)}`))
Object.assign(globalThis, { __expect: expect })

const [manifest = ""] = process.argv.slice(2)
await runAll(JSON.parse(readFileSync(manifest, "utf8")))
process.once("disconnect", () => process.exit())
process.disconnect?.()
