/** This service as a program of its own, for what uses it from outside: the tests of it and the browser command. */
import { Effect, Queue, Stream } from "effect"
import { ChildProcess } from "effect/process"

/** Older versions of Node warn about running TypeScript, and about SQLite. */
const quietly = "--disable-warning=ExperimentalWarning"

export const command = (options: ReadonlyArray<string>, stderr: "pipe" | "inherit" = "pipe") =>
  ChildProcess.make(process.execPath, [quietly, "main.ts", ...options], { cwd: import.meta.dirname, stderr })

/** Starts it on a free port, until it has printed what there is to try. */
export const start = Effect.fnUntraced(function*(options: ReadonlyArray<string>, stderr?: "pipe" | "inherit") {
  const program = yield* command(["--port", "0", ...options], stderr)
  const lines = yield* program.stdout.pipe(
    Stream.decodeText,
    Stream.splitLines,
    Stream.toQueue({ capacity: "unbounded" })
  )
  const printed: Array<string> = []
  while (!printed.at(-1)?.endsWith("Ctrl-C")) printed.push(yield* Queue.take(lines))
  const find = (pattern: RegExp): string => printed.map((line) => pattern.exec(line)?.[1]).find(Boolean) ?? ""
  return {
    program,
    url: find(/^listening on ([^;]+);/),
    tokens: { ANN: find(/^ {2}ANN=(\S+)$/), BEN: find(/^ {2}BEN=(\S+)$/) },
    commands: printed.filter((line) => line.startsWith("  curl ")).map((line) => line.trim()),
    /** What it logs from here on. */
    log: lines
  }
})
