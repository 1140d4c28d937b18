/** Runs cases one after another against one program. */
import { RawClient, type RawConnection, RawServer } from "@sluice/core/testing"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type { Case, Context, Problem, Seen } from "./Case.ts"
import * as Subject from "./Subject.ts"

/** How a case ended. */
export type Verdict = "pass" | "FAIL" | "HANG" | "CRASH"

/** What is known about a case that has run. */
export interface Result {
  readonly number: string
  readonly title: string
  readonly verdict: Verdict
  /** One line; empty for a case that passes. */
  readonly observation: string
}

/** Settings of {@link runCases}. */
export interface Options {
  /** The command line; `{UP}` stands for the URL of the upstream. */
  readonly command: string
  readonly cases: ReadonlyArray<Case>
  /** What a case has, in milliseconds. @default 2000 */
  readonly limit?: number
}

/** Runs the cases in order. A program that dies is started again for the next one. */
export const runCases = ({ cases, command, limit = 2000 }: Options) =>
  Effect.scoped(Effect.gen(function*() {
    let stage = yield* makeStage
    const upstream = yield* RawServer.make((connection, index) => stage.accept(connection, index))
    const subject = yield* Subject.make(command.replaceAll("{UP}", upstream.url))
    const results: Array<Result> = []
    for (const one of cases) {
      const running = yield* subject.running
      stage = yield* makeStage
      results.push(yield* runCase(one, stage, running, limit))
    }
    return results
  }))

const runCase = Effect.fnUntraced(function*(
  { number, run, title }: Case,
  stage: Stage,
  running: Subject.Running,
  limit: number
) {
  const connect = RawClient.connect(running.port)
  const steps = Effect.matchCause(Effect.scoped(run({ ...stage.context, connect })), {
    onFailure: (cause): Ended => ["FAIL", observe(cause)],
    onSuccess: (): Ended => ["pass", ""]
  })
  const death = Effect.map(running.exited, (why): Ended => ["CRASH", why])
  const first = yield* Effect.timeoutOption(Effect.raceFirst(steps, death), limit)
  yield* stage.clear
  const found = Option.getOrElse(first, (): Ended => ["HANG", `nothing came within ${limit} ms`])
  const [verdict, observation] = found[0] === "pass" ? found : yield* deathOf(running, found)
  return { number, title, verdict, observation }
})

type Ended = readonly [Verdict, string]

/** A process that dies goes on for a moment: whether it did tells only after that. */
const deathOf = Effect.fnUntraced(function*(running: Subject.Running, found: Ended) {
  const crashed = Effect.map(running.exited, (why): Ended => ["CRASH", why])
  const soon = yield* Effect.timeoutOption(crashed, 200)
  if (Option.isSome(soon)) return soon.value
  const refused = yield* Effect.isFailure(Effect.scoped(RawClient.connect(running.port)))
  if (!refused) return found
  return Option.getOrElse(yield* Effect.timeoutOption(crashed, 5000), () => found)
})

const observe = (cause: Cause.Cause<Problem>): string => {
  const error = Cause.squash(cause)
  const text = error instanceof Error ? error.message || error.name : String(error)
  return JSON.stringify(text).slice(1, -1).replaceAll("\\\"", "\"").slice(0, 300)
}

/** The upstream's side of one case. */
interface Stage {
  readonly accept: RawServer.Script
  readonly context: Omit<Context, "connect">
  /** Ends the connections of the case, so that none serves the next one. */
  readonly clear: Effect.Effect<void>
}

const makeStage: Effect.Effect<Stage> = Effect.gen(function*() {
  const all: Array<RawConnection.RawConnection> = []
  const connections = yield* Queue.unbounded<RawConnection.RawConnection>()
  const requests = yield* Queue.unbounded<Seen>()
  const following = yield* Deferred.make<void>()
  const follow = (origin: RawConnection.RawConnection) =>
    Effect.flatMap(origin.nextRequest, (seen) => Queue.offer(requests, { origin, seen }))
  return {
    accept: (connection) =>
      Effect.gen(function*() {
        all.push(connection)
        yield* Queue.offer(connections, connection)
        yield* Deferred.await(following)
        yield* Effect.ignore(Effect.forever(follow(connection)))
      }),
    context: {
      origin: Queue.take(connections),
      nextRequest: Effect.andThen(Deferred.succeed(following, undefined), Queue.take(requests)),
      received: Effect.sync(() => all.reduce((sum, { socket }) => sum + socket.bytesRead, 0))
    },
    clear: Effect.suspend(() => Effect.forEach(all, close, { concurrency: "unbounded", discard: true }))
  }
})

/** Ends a connection and waits until the proxy has ended it too, or has had its time. */
const close = ({ socket }: RawConnection.RawConnection): Effect.Effect<void> => {
  const closed = Effect.callback<void>((resume) => {
    if (socket.destroyed) return resume(Effect.void)
    socket.once("close", () => resume(Effect.void))
    socket.end()
  })
  return Effect.ensuring(
    Effect.asVoid(Effect.timeoutOption(closed, 100)),
    Effect.sync(() => {
      socket.destroy()
    })
  )
}
