/**
 * Sends very many requests and looks for what they leave behind: sockets, servers, timers, fibers, listeners, memory.
 *
 * `pnpm leaks` runs all of it, in one process, and ends by itself; `--requests` and `--aborts` make it shorter. The exit
 * code is 1 when something leaks.
 */
import { NodeRuntime } from "@effect/platform-node"
import type { Server } from "@sluice/core"
import { LeakCounter } from "@sluice/core/testing"
import { Console, Effect, type Scope } from "effect"
import { parseArgs } from "node:util"
import * as Load from "./load.ts"
import * as Subjects from "./subjects.ts"

const { values } = parseArgs({
  options: { requests: { type: "string", default: "100000" }, aborts: { type: "string", default: "20000" } }
})
const requests = Number(values.requests)
const aborts = Number(values.aborts)

/** How much the heap may grow in the second half of a run, after collections. In bytes. */
const heapBound = 1024 * 1024
/** How long what is closing may take to be gone. In milliseconds. */
const patience = 10_000
const connections = 50
/** How every response ends that is not given up. */
const tail = "hello\n"

if (typeof globalThis.gc !== "function") {
  console.error("error: run it with node --expose-gc")
  process.exit(2)
}

// Node opens these when they are first used, which would look like something left behind.
void [process.stdout, process.stderr]

const nextTurn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))

/** Waits until nothing changes any more and there is no more than before, but not for ever, and counts. */
const count = Effect.fnUntraced(function*(watched: LeakCounter.Watched, before?: LeakCounter.Snapshot) {
  const resources = Object.entries(before?.counts ?? { any: Infinity }).filter(([name]) => !name.endsWith("listeners"))
  const most = resources.reduce((sum, [, count]) => sum + count, 0)
  const deadline = performance.now() + patience
  for (let last = -1, turns = 0; turns < 100 && performance.now() < deadline; turns++) {
    const now = process.getActiveResourcesInfo().length + (watched.fibers?.active() ?? 0)
    if (now !== last || now > most) turns = 0
    last = now
    yield* nextTurn
  }
  // What a collection lets go of closes in the next turn, and is collected by another one.
  for (let i = 0; i < 2; i++) yield* Effect.andThen(LeakCounter.snapshot(), nextTurn)
  return yield* LeakCounter.snapshot(watched)
})

interface Run {
  readonly name: string
  readonly requests: number
  readonly subject: Effect.Effect<Server.Server["Service"], unknown, Scope.Scope>
  readonly send: (port: number, requests: number) => Promise<unknown>
}

/** Sends the requests in ten parts, counts before, between and after them, and says what is wrong. */
const examine = Effect.fnUntraced(function*({ name, requests, send, subject }: Run) {
  const fibers = LeakCounter.countFibers()
  const before = yield* count({ fibers })
  const heaps: Array<number> = []
  let micros = 0

  const [idle, after] = yield* Effect.gen(function*() {
    const { port } = yield* subject
    // One connection is kept for the whole run, so that listeners may gather on it.
    const watching = Subjects.nextConnection()
    const kept = yield* Effect.acquireRelease(
      Effect.promise(() => Load.connect(port, tail)),
      (client) => Effect.sync(() => client.close())
    )
    yield* Effect.promise(() => kept.send(1))
    const { server, socket } = yield* Effect.promise(() => watching)
    const watched = { fibers, emitters: { process, server, "kept socket": socket } }

    const part = (requests: number) =>
      Effect.promise(() => send(port, requests).then(() => kept.send(Math.ceil(requests / connections))))
    yield* part(requests / 10)
    const idle = yield* count(watched)
    let last = idle
    for (let i = 0; i < 10; i++) {
      const start = process.cpuUsage()
      yield* part(requests / 10)
      const { system, user } = process.cpuUsage(start)
      micros += system + user
      last = yield* count(watched, idle)
      heaps.push(last.heap ?? Infinity)
    }
    return [idle, last] as const
  }).pipe(fibers.count, Effect.scoped)
  const closed = yield* count({ fibers }, before)

  const left = [LeakCounter.diff(idle, after), LeakCounter.diff(before, closed)].flatMap((difference) =>
    Object.entries(difference).filter(([, change]) => change > 0)
  )
  const growth = heaps[9] - heaps[4]
  const problems = left.map(([what, count]) => `${count} ${what} left behind`)
  if (growth > heapBound) problems.push(`the heap grew by ${mebi(growth)} MiB in its second half`)

  const each = micros / requests
  yield* Console.log(`\n${name}: ${requests} requests, ${each.toFixed(1)} us CPU each, client included`)
  console.table(tabulate({ before, idle, after, closed }))
  yield* Console.log(`  heap after each tenth: ${heaps.map(mebi).join(" ")} MiB`)
  yield* Console.log(
    problems.length === 0
      ? `  ok: nothing left behind; the heap grew by ${mebi(growth)} MiB in the second half (bound: ${mebi(heapBound)})`
      : `  LEAK: ${problems.join("; ")}`
  )
  return { ok: problems.length === 0, micros: each }
})

const mebi = (bytes: number): string => (bytes / 1024 / 1024).toFixed(2)

const tabulate = (columns: Readonly<Record<string, LeakCounter.Snapshot>>) => {
  const names = new Set(Object.values(columns).flatMap(({ counts }) => Object.keys(counts)))
  return Object.fromEntries(
    [...names].toSorted().map((name) => [
      name,
      Object.fromEntries(Object.entries(columns).map(([column, { counts }]) => [column, counts[name] ?? "-"]))
    ])
  )
}

const hello = (port: number, requests: number) => Load.keepAlive({ port, connections, requests, tail })

const abandoned: Record<Load.Moment, number> = { "before the head": 0, "in the body": 0, "in the upload": 0 }
let seed = 0
const abort = async (port: number, requests: number) => {
  const counts = await Load.abortive({ port, connections, requests, seed: seed++ })
  for (const moment of Load.moments) abandoned[moment] += counts[moment]
}

NodeRuntime.runMain(Effect.gen(function*() {
  const bare = yield* examine({ name: "hello, no middleware", requests, subject: Subjects.hello, send: hello })

  const names = Subjects.ten.labels
  const answered = Load.answered()
  const full = yield* examine({
    name: `hello, ${names.length} middleware (${names.join(" > ")})`,
    requests,
    subject: Subjects.helloThroughTen,
    send: hello
  })
  yield* Console.log(`  the stack costs ${(full.micros - bare.micros).toFixed(1)} us a request`)
  const expected = Load.answered() - answered
  const logs = Subjects.logged() === expected
  yield* Console.log(
    `  ${Subjects.logged()} entries in the access log for ${expected} responses: ${logs ? "ok" : "WRONG"}`
  )

  const proxy = yield* examine({
    name: "reverse-proxy, clients that leave",
    requests: aborts,
    subject: Subjects.reverseProxy,
    send: abort
  })
  yield* Console.log(`  they left: ${Load.moments.map((moment) => `${moment} ${abandoned[moment]}`).join(", ")}`)

  const ok = bare.ok && full.ok && logs && proxy.ok
  yield* Console.log(ok ? "\nok" : "\nLEAK")
  process.exitCode = ok ? 0 : 1
}))
