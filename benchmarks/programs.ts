/** Programs that listen, in processes of their own. */
import { type ChildProcess, spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

export interface Program {
  readonly process: ChildProcess
  readonly pid: number
  readonly port: number
}

/** Runs a program of Node until it says where it listens; `through` is a command that runs it, such as `taskset`. */
export const start = async (args: ReadonlyArray<string>, through: ReadonlyArray<string> = []): Promise<Program> => {
  const [program, ...rest] = [...through, process.execPath, ...args]
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", "inherit"] })
  for await (const line of createInterface(child.stdout)) {
    const port = /^listening on http:\/\/127\.0\.0\.1:(\d+)$/.exec(line)?.[1]
    if (port !== undefined && child.pid !== undefined) return { process: child, pid: child.pid, port: Number(port) }
  }
  throw new Error(`did not start: node ${args.join(" ")}`)
}

/** The program of the example. */
export const reverseProxy = fileURLToPath(new URL("../examples/reverse-proxy/main.ts", import.meta.url))
