/** What a process has used, as Linux counts it. */
import * as Fs from "node:fs"
import type { Taken } from "./workload.ts"

/** Microseconds of CPU time, of all threads. */
export const cpuTime = (pid: number): number => {
  const stat = Fs.readFileSync(`/proc/${pid}/stat`, "utf8")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  // In hundredths of a second, whatever the kernel's own clock.
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

/** In KiB. */
export const residentMemory = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(Fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1])

/** Adds what the process has used while the load ran. */
export const counted = async (pid: number, run: () => Promise<Omit<Taken, "cpu" | "rss">>): Promise<Taken> => {
  const before = cpuTime(pid)
  const taken = await run()
  return { ...taken, cpu: cpuTime(pid) - before, rss: residentMemory(pid) }
}
