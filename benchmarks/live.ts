/** Load from connections that stay open: a process of its own opens them all, and only then is counted. */
import { type ChildProcess, fork } from "node:child_process"
import { join } from "node:path"
import { counted } from "./accounting.ts"
import { loadCore } from "./cores.ts"
import { endWithThis, type Program } from "./programs.ts"
import type { Load, Taken } from "./workload.ts"

/** What is done with the connections. */
export type Kind = "events" | "messages" | "idle"

/** What the process of clients tells at its end. */
export type Told = Omit<Taken, "cpu" | "rss">

/** Runs the clients, of which the first message says that they are ready. */
export const clients = async (kind: Kind, connections: number, { port }: Program): Promise<ChildProcess> => {
  const [execPath, ...execArgv] = [...loadCore, process.execPath, "--disable-warning=ExperimentalWarning"]
  const child = fork(join(import.meta.dirname, "liveClients.ts"), [kind, String(connections), String(port)], {
    execPath,
    execArgv
  })
  endWithThis(child)
  await message(child)
  return child
}

/** The next message of a child. */
export const message = (child: ChildProcess): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`the clients have ended with ${code}`))
    child.once("exit", onExit).once("message", (value) => {
      child.off("exit", onExit)
      resolve(value)
    })
  })

/** Opens the connections, counts what goes through them for some seconds, and closes them. */
export const live = (kind: "events" | "messages", connections: number): Load => async (program, seconds) => {
  const child = await clients(kind, connections, program)
  try {
    return await counted(program.pid, () => {
      child.send({ seconds })
      // Sound: that is what it answers.
      return message(child) as Promise<Told>
    })
  } finally {
    child.kill("SIGKILL")
  }
}
