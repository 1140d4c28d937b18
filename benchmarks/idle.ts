/** Load of connections that have made one request each and are kept: what counts is the memory that they take. */
import { setTimeout } from "node:timers/promises"
import { counted, residentMemory } from "./accounting.ts"
import { http } from "./http.ts"
import { clients, message, type Told } from "./live.ts"
import type { Program } from "./programs.ts"
import type { Load } from "./workload.ts"

const warmUp = http({ connections: 64, path: "/2" })

/** Resident memory in KiB, when the garbage is collected and nothing changes any more. */
const settled = async ({ pid, process: child }: Program): Promise<number> => {
  child.stdin?.write("collect\n")
  let before = 0
  for (let tries = 0; tries < 20; tries++) {
    await setTimeout(250)
    const now = residentMemory(pid)
    if (Math.abs(now - before) < now / 1000) return now
    before = now
  }
  return before
}

/** So many connections, opened once the subject has answered requests for some seconds. */
export const idle = (connections: number): Load => async (program, seconds) => {
  await warmUp(program, seconds)
  const before = await settled(program)
  const child = await clients("idle", connections, program)
  try {
    // Sound: that is what it answers.
    const taken = await counted(program.pid, () => message(child) as Promise<Told>)
    const rss = await settled(program)
    return { ...taken, rss, each: (rss - before) / connections }
  } finally {
    child.kill("SIGKILL")
  }
}
