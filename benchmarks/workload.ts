/** What a workload is: one object of the table in `workloads.ts`. */
import type { Program } from "./programs.ts"

/** What one load came to. */
export interface Taken {
  /** Requests, events or messages. */
  readonly count: number
  /** A second. */
  readonly rate: number
  /** In milliseconds; `NaN` where nothing waits for anything. */
  readonly p50: number
  readonly p99: number
  /** Of those that were sent, how many failed. */
  readonly errors: number
  /** Of the subject, in microseconds; {@link counted} adds it. */
  readonly cpu: number
  /** Of the subject, in KiB. */
  readonly rss: number
  /** What an idle connection takes, in KiB, where that is what is measured. */
  readonly each?: number
}

/** Where a subject is started. */
export interface Site {
  /** The upstream, if the workload has one. */
  readonly to: string
  /** The checkout that it is taken from: another one's for `--beside`. */
  readonly root: string
  /** For Node, from `--flag`: for ours alone. */
  readonly flags: ReadonlyArray<string>
}

/** Starts a subject on the tested core. */
export type Start = (site: Site) => Promise<Program>

/** Puts load on a subject for so many seconds. */
export type Load = (program: Program, seconds: number) => Promise<Taken>

export interface Workload {
  /** Ours first: the others are set beside it. */
  readonly subjects: ReadonlyMap<string, Start>
  readonly load: Load
  /** Is started once and gets the load of all subjects. */
  readonly upstream?: () => Promise<Program>
  /** Whether each round has a process of its own, not warmed up, for what a process keeps would spoil the next one. */
  readonly fresh?: boolean
}
