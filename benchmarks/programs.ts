/** Programs that a benchmark runs in processes of their own. None of them outlives it. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { constants } from "node:os"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

export interface Program {
  readonly process: ChildProcess
  readonly pid: number
  readonly port: number
}

/** Whether a program is installed. */
export const isInstalled = (program: string): boolean => spawnSync("which", [program]).status === 0

const running = new Set<ChildProcess>()

/** Kills a child when this process ends by itself or by a signal that can be caught. */
export const endWithThis = (child: ChildProcess): void => {
  watch()
  running.add(child)
  child.once("exit", () => running.delete(child))
}

let watching = false
const watch = (): void => {
  if (watching) return
  watching = true
  process.once("exit", () => {
    for (const child of running) child.kill("SIGKILL")
  })
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => process.exit(128 + constants.signals[signal]))
  }
}

/** Ends a program of Node even when this process is killed. */
const preload = new URL("preload.ts", import.meta.url).href

/** Runs a program of Node until it says where it listens; `through` is a command that runs it, such as `taskset`. */
export const start = async (args: ReadonlyArray<string>, through: ReadonlyArray<string> = []): Promise<Program> => {
  const [program, ...rest] = [
    ...through,
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    "--import",
    preload,
    ...args
  ]
  const child = spawn(program, rest, { stdio: ["pipe", "pipe", "inherit"] })
  endWithThis(child)
  for await (const line of createInterface(child.stdout)) {
    const port = /^listening on https?:\/\/127\.0\.0\.1:(\d+)$/.exec(line)?.[1]
    if (port !== undefined && child.pid !== undefined) return { process: child, pid: child.pid, port: Number(port) }
  }
  throw new Error(`did not start: node ${args.join(" ")}`)
}

/** Runs a command to its end, and returns what it printed. */
export const output = async ([program, ...args]: ReadonlyArray<string>): Promise<string> => {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] })
  endWithThis(child)
  let out = ""
  for await (const piece of child.stdout) out += String(piece)
  return out
}

/** The program of the example. */
export const reverseProxy = fileURLToPath(new URL("../examples/reverse-proxy/main.ts", import.meta.url))
