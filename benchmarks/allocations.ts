/**
 * What a request allocates, and how much of that outlives the collections of young objects: two numbers that don't depend
 * on how busy the machine is, and that CPU time follows.
 *
 * `pnpm allocations` sends requests to the subjects in this process, whose client is counted with them, and says what V8's
 * collector saw. Exits with 1 when a number is above its bound.
 */
import type { Server } from "@sluice/core"
import { Effect, type Scope } from "effect"
import { GCProfiler, type GCProfilerResult } from "node:v8"
import * as Load from "./load.ts"
import * as Subjects from "./subjects.ts"

interface Bound {
  /** Bytes a request. */
  readonly allocated: number
  /** Bytes a request that are still there after the collections of young objects, though nobody needs them. */
  readonly kept: number
}

interface Subject extends Bound {
  readonly name: string
  readonly listening: Effect.Effect<Server.Server["Service"], unknown, Scope.Scope>
}

/** A tenth above what was measured with Node 26: 6770 and 20,040 bytes, of which 13 to 46 were kept. */
const subjects: ReadonlyArray<Subject> = [
  { name: "hello", listening: Subjects.hello, allocated: 7450, kept: 150 },
  { name: "reverse proxy", listening: Subjects.reverseProxy, allocated: 22_000, kept: 150 }
]

const requests = 16_000
/** What many requests at a time have in common may keep those that are over. */
const connections = 64

type Collection = GCProfilerResult["statistics"][number]

/** What lies between collections, leaving out what a full collection has changed. */
const count = (collections: ReadonlyArray<Collection>, requests: number): Bound => {
  let allocated = 0
  let kept = 0
  for (let i = 1; i < collections.length; i++) {
    const { afterGC, beforeGC, gcType } = collections[i]
    const last = collections[i - 1].afterGC.heapStatistics.usedHeapSize
    allocated += Math.max(0, beforeGC.heapStatistics.usedHeapSize - last)
    if (gcType === "Scavenge") kept += afterGC.heapStatistics.usedHeapSize - last
  }
  return { allocated: allocated / requests, kept: kept / requests }
}

const measure = ({ listening }: Subject): Promise<Bound> =>
  Effect.runPromise(Effect.scoped(Effect.flatMap(listening, ({ port }) =>
    Effect.promise(async () => {
      const clients = await Promise.all(Array.from({ length: connections }, () => Load.connect(port, "hello\n")))
      const send = () => Promise.all(clients.map((client) => client.send(requests / connections)))
      await send()
      const profiler = new GCProfiler()
      profiler.start()
      await send()
      const { statistics } = profiler.stop()
      for (const client of clients) client.close()
      return count(statistics, requests)
    }))))

for (const subject of subjects) {
  const { allocated, kept } = await measure(subject)
  const ok = allocated <= subject.allocated && kept <= subject.kept
  console.log(
    `${ok ? "ok" : "TOO MUCH"}: ${subject.name}: ${
      allocated.toFixed(0)
    } bytes a request (at most ${subject.allocated}), `
      + `${kept.toFixed(0)} of them kept (at most ${subject.kept})`
  )
  if (!ok) process.exitCode = 1
}
process.exit()
