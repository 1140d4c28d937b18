/** Rounds in which all subjects of a workload take turns, and what is in the middle of them. */
import type { Program } from "./programs.ts"
import type { Site, Start, Taken, Workload } from "./workload.ts"

/** Of one subject in one round. */
export interface Round {
  /** Microseconds a request. */
  readonly cpu: number
  readonly rate: number
  readonly p50: number
  readonly p99: number
  /** In KiB. */
  readonly rss: number
  readonly each: number
}

export const median = (numbers: ReadonlyArray<number>): number => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

export const medians = (rounds: ReadonlyArray<Round>): Round => {
  const of = (name: keyof Round): number => median(rounds.map((round) => round[name]))
  return { cpu: of("cpu"), rate: of("rate"), p50: of("p50"), p99: of("p99"), rss: of("rss"), each: of("each") }
}

export interface Settings {
  readonly rounds: number
  readonly seconds: number
  /** Requests to each subject before the first round, or ten seconds of them. */
  readonly warmup: number
}

export interface Entrant {
  readonly name: string
  readonly start: Start
  readonly site: Omit<Site, "to">
}

export interface Result {
  readonly name: string
  readonly rounds: ReadonlyArray<Round>
}

/** Nobody is always the first, or always behind the same other one. */
const rotated = <A>(all: ReadonlyArray<A>, round: number): ReadonlyArray<A> => {
  const at = round % all.length
  const turned = [...all.slice(at), ...all.slice(0, at)]
  return round % 2 === 0 ? turned : turned.toReversed()
}

const stop = (program: Program | undefined): void => void program?.process.kill("SIGKILL")

const roundOf = (name: string, { count, cpu, each = NaN, errors, p50, p99, rate, rss }: Taken): Round => {
  if (errors > 0) console.error(`${name}: ${errors} failed`)
  return { cpu: cpu / count, rate, p50, p99, rss, each }
}

/** Starts all subjects, warms them up, and measures them in turns. */
export const measure = async (
  { fresh = false, load, upstream }: Workload,
  entrants: ReadonlyArray<Entrant>,
  { rounds, seconds, warmup }: Settings
): Promise<ReadonlyArray<Result>> => {
  const origin = await upstream?.()
  const to = origin === undefined ? "" : `http://127.0.0.1:${origin.port}`
  const all = entrants.map(({ name, site, start }) => ({
    name,
    start: () => start({ ...site, to }),
    program: undefined as Program | undefined,
    rounds: new Array<Round>()
  }))
  try {
    if (!fresh) {
      for (const entrant of all) entrant.program = await entrant.start()
      for (const { program } of all) if (program !== undefined) await warmUp(program, load, warmup)
    }
    for (let round = 0; round < rounds; round++) {
      for (const entrant of rotated(all, round)) {
        const program = entrant.program ??= await entrant.start()
        entrant.rounds.push(roundOf(entrant.name, await load(program, seconds)))
        if (!fresh) continue
        stop(program)
        entrant.program = undefined
      }
    }
  } finally {
    for (const { program } of all) stop(program)
    stop(origin)
  }
  return all.map(({ name, rounds }) => ({ name, rounds }))
}

/** Not by the clock alone: on a busy machine little would be compiled by then. */
const warmUp = async (program: Program, load: Workload["load"], requests: number): Promise<void> => {
  const until = performance.now() + 10_000
  for (let left = requests; left > 0 && performance.now() < until;) left -= (await load(program, 2)).count
}
