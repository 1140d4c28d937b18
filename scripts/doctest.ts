/**
 * Type-checks and runs the examples of the documentation: every `ts` fence in a JSDoc comment of a package and in the
 * Markdown pages. A fence that says `ts no-run` is only type-checked; a comment `// => value` asserts what an
 * expression evaluates to or what it prints.
 *
 * `node scripts/doctest.ts [path]...` looks only at files whose path starts like one of the arguments.
 */
import { fork } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"
import { asserting, fromMarkdown, fromSource } from "./doctest/extract.ts"
import type { Example } from "./doctest/extract.ts"
import type { Job, Report } from "./doctest/runner.ts"
import { files, finish, outcome, root, run } from "./workspace.ts"
import type { Outcome } from "./workspace.ts"

const examplesOf = (file: string): Array<Example> => {
  const text = readFileSync(join(root, file), "utf8")
  return file.endsWith(".md") ? fromMarkdown(file, text) : fromSource(file, text)
}

const config = {
  extends: "../../tsconfig.base.json",
  compilerOptions: { noEmit: true, noUnusedLocals: false, moduleDetection: "force" },
  include: ["*.ts"]
}
const globals = "declare const __expect: (offset: number, expected: string, values: ReadonlyArray<unknown>) => void\n"

/** The complaints of the compiler, moved from the generated files to where the examples stand. */
const typeErrors = async (folder: string, examples: ReadonlyArray<Example>): Promise<Array<string>> => {
  const { ok, output } = await run("tsc", ["--pretty", "false", "-p", folder])
  const prefix = relative(root, folder)
  const moved = output.replaceAll(
    /^(.+)\/(\d+)\.ts\((\d+),\d+\): /gm,
    (whole, path: string, index: string, line: string) => {
      const example = path === prefix ? examples[Number(index)] : undefined
      return example ? `${example.file}:${example.line + Number(line) - 1}: ` : whole
    }
  )
  return ok ? [] : moved.trimEnd().split(/\n(?! )/)
}

/** Milliseconds without a report after which the process of the examples is taken for blocked. */
const stuck = 20_000

/** Runs the jobs in one process, in their order. */
const execute = (folder: string, jobs: ReadonlyArray<Job>): Promise<ReadonlyArray<Report>> =>
  new Promise((resolve) => {
    const manifest = join(folder, "manifest.json")
    writeFileSync(manifest, JSON.stringify(jobs))
    const child = fork(join(import.meta.dirname, "doctest/runner.ts"), [manifest], { stdio: "ignore" })
    const ended: Array<Report> = []
    const kill = (): boolean => child.kill("SIGKILL")
    let watchdog = setTimeout(kill, stuck)
    child.on("message", (report: Report) => {
      ended.push(report)
      clearTimeout(watchdog)
      watchdog = setTimeout(kill, stuck)
    })
    child.on("exit", () => {
      clearTimeout(watchdog)
      const missing = jobs.map((_, job) => job).slice(ended.length)
      const why = (job: number): string =>
        job === ended.length ? "ended or blocked the process of the examples" : "not run"
      resolve([...ended, ...missing.map((job) => ({ job, failures: [{ offset: 0, text: why(job) }] }))])
    })
  })

export const doctest = async (prefixes: ReadonlyArray<string> = [""]): Promise<Outcome> => {
  const examples = files(["*.md", "packages/*/README.md", "docs/**/*.md", "packages/*/src/**/*.ts"])
    .filter((file) => prefixes.some((prefix) => file.startsWith(prefix)))
    .flatMap(examplesOf)
  if (examples.length === 0) return outcome([], "no examples")
  mkdirSync(join(root, ".doctest"), { recursive: true })
  const folder = mkdtempSync(join(root, ".doctest/run-"))
  try {
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config))
    writeFileSync(join(folder, "globals.d.ts"), globals)
    const complaints: Array<string> = []
    const jobs = examples.map((example, index): Job & Example => {
      const { assertions, code, dangling } = example.runs
        ? asserting(example.code)
        : { ...example, assertions: 0, dangling: [] }
      const path = join(folder, `${index}.ts`)
      writeFileSync(path, code)
      for (const offset of dangling) {
        complaints.push(
          `${example.file}:${example.line + offset}: this comment asserts nothing: no expression before it`
        )
      }
      return { ...example, path, assertions }
    })
    complaints.push(...await typeErrors(folder, examples))
    const runnable = jobs.filter((job) => job.runs)
    for (const { failures, job } of await execute(folder, runnable)) {
      const { file, line } = runnable[job]
      complaints.push(...failures.map(({ offset, text }) => `${file}:${line + offset}: ${text}`))
    }
    return outcome(
      complaints,
      `${examples.length} examples, ${runnable.length} of them run, ${complaints.length} failures`
    )
  } finally {
    rmSync(folder, { force: true, recursive: true })
  }
}

if (import.meta.main) finish(await doctest(process.argv.length > 2 ? process.argv.slice(2) : undefined))
