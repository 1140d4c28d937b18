/** The program under test: started from a command line, watched, and started again after it died. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"

/** The command never said where it listens. */
export class NotListening extends Data.TaggedError("NotListening")<{ readonly command: string; readonly why: string }> {
  override get message(): string {
    return `${this.command}: ${this.why}`
  }
}

/** One run of the program. */
export interface Running {
  readonly port: number
  /** Succeeds with a description when the process ends. */
  readonly exited: Effect.Effect<string>
  /** The same, now; `undefined` while it runs. */
  readonly death: () => string | undefined
}

/** A program that can be started more than once. */
export interface Subject {
  /** The program that runs, or a new one when none does. */
  readonly running: Effect.Effect<Running, NotListening>
}

/** How long a command has until it listens. */
const patience = 10_000

/** Prepares the command; what it starts is killed when the scope closes. */
export const make = (command: string): Effect.Effect<Subject, never, Scope.Scope> => {
  let child: ChildProcess | undefined
  let current: Running | undefined
  const start = Effect.suspend(() => {
    child = spawn(command, { shell: true, detached: true, stdio: ["ignore", "pipe", "pipe"] })
    return listening(command, child)
  })
  const running = Effect.suspend(() =>
    current !== undefined && current.death() === undefined ?
      Effect.succeed(current) :
      Effect.tap(start, (next) =>
        Effect.sync(() => {
          current = next
        }))
  )
  return Effect.acquireRelease(Effect.succeed({ running }), () => Effect.sync(() => kill(child)))
}

/** The shell and what it started are one process group. */
const kill = (child: ChildProcess | undefined): void => {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    process.kill(-child.pid, "SIGKILL")
  } catch {
    // It has ended in the meantime.
  }
}

const listening = (command: string, child: ChildProcess): Effect.Effect<Running, NotListening> =>
  Effect.callback((resume) => {
    let output = ""
    let death: string | undefined
    const fail = (why: string): void => resume(Effect.fail(new NotListening({ command, why })))
    const timer = setTimeout(() => {
      kill(child)
      fail(`no "listening on http://127.0.0.1:PORT" within ${patience / 1000} s`)
    }, patience)
    const onOutput = (chunk: Buffer): void => {
      output = (output + chunk.toString("utf8")).slice(-10_000)
      const port = /listening on http:\/\/\S*?:(\d+)/.exec(output)?.[1]
      if (port === undefined) return
      clearTimeout(timer)
      resume(Effect.succeed({ port: Number(port), exited: exited(child, () => death), death: () => death }))
    }
    child.stdout?.on("data", onOutput)
    child.stderr?.on("data", (chunk: Buffer) => {
      output = (output + chunk.toString("utf8")).slice(-10_000)
    })
    child.once("exit", (code, signal) => {
      clearTimeout(timer)
      death = `the process ended (${signal ?? code}): ${firstError(output)}`
      fail(death)
    })
  })

const exited = (child: ChildProcess, death: () => string | undefined): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const done = (): void => resume(Effect.sync(() => death() ?? "the process ended"))
    if (death() !== undefined) return done()
    child.once("exit", done)
    return Effect.sync(() => child.off("exit", done))
  })

const firstError = (output: string): string => /.*Error.*/.exec(output)?.[0].trim().slice(0, 160) ?? "no message"
