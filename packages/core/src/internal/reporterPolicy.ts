import * as Duration from "effect/Duration"
import type { Report } from "../Report.ts"

/**
 * What happens between a report and its sink. Every member is checked when the reporter is declared: one that makes no
 * sense is a `RangeError` that names it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy {
  /** How many reports may wait; the ones that come when it is full are dropped. @default 256 reports */
  readonly capacity?: number
  /** How many reports the sink gets at once, at most. @default 32 reports */
  readonly batchSize?: number
  /**
   * How long a report is held back so that later ones with the same fingerprint only raise its `count`. A flush and the
   * end of the scope deliver it early. @default 0: every report is delivered by itself, at once
   */
  readonly dedupeWindow?: Duration.Input
  /** The share of reports that is kept, above 0 and at most 1. @default 1 */
  readonly sampleRate?: number
  /** Reports a second, with as many in one burst; those beyond are dropped. @default Infinity */
  readonly rateLimit?: number
  /**
   * The last word on a report before it is queued: what it returns is sent, `undefined` drops it. It runs after
   * `Report.redact`, on the fiber that reports. When it throws, the report is dropped. @default nothing more is changed
   */
  readonly scrub?: (report: Report) => Report | undefined
  /** How long a flush, and the end of the scope, wait for the sink. @default 2 seconds */
  readonly flushTimeout?: Duration.Input
  /** How long the sink may take for one batch, which is then dropped. @default 10 seconds */
  readonly sinkTimeout?: Duration.Input
}

/** A policy with its defaults filled in and its durations in milliseconds. */
export interface Settings {
  readonly capacity: number
  readonly batchSize: number
  readonly dedupeWindow: number
  readonly sampleRate: number
  readonly rateLimit: number
  readonly scrub: (report: Report) => Report | undefined
  readonly flushTimeout: number
  readonly sinkTimeout: number
}

/** Throws a `RangeError` that names the field when a policy makes no sense. */
export const settings = (policy: Policy): Settings => ({
  capacity: count("capacity", policy.capacity ?? 256),
  batchSize: count("batchSize", policy.batchSize ?? 32),
  dedupeWindow: millis("dedupeWindow", policy.dedupeWindow ?? 0, { zero: true, infinite: false }),
  sampleRate: share("sampleRate", policy.sampleRate ?? 1),
  rateLimit: positive("rateLimit", policy.rateLimit ?? Infinity),
  scrub: policy.scrub ?? ((report) => report),
  flushTimeout: millis("flushTimeout", policy.flushTimeout ?? 2000, { zero: true, infinite: true }),
  sinkTimeout: millis("sinkTimeout", policy.sinkTimeout ?? 10_000, { zero: false, infinite: true })
})

const refuse = (field: string, rule: string, value: unknown): never => {
  throw new RangeError(`Reporter: ${field} must be ${rule}, got ${String(value)}`)
}

const count = (field: string, value: number): number =>
  Number.isSafeInteger(value) && value >= 1 ? value : refuse(field, "a whole number of at least 1", value)

const share = (field: string, value: number): number =>
  value > 0 && value <= 1 ? value : refuse(field, "above 0 and at most 1", value)

const positive = (field: string, value: number): number => value > 0 ? value : refuse(field, "above 0", value)

const millis = (
  field: string,
  input: Duration.Input,
  allow: { readonly zero: boolean; readonly infinite: boolean }
): number => {
  const value = toMillis(input)
  const fits = (allow.zero ? value >= 0 : value > 0) && (allow.infinite || value !== Infinity)
  if (fits) return value
  return refuse(field, `a ${allow.infinite ? "" : "finite "}duration ${allow.zero ? "of 0 or more" : "above 0"}`, input)
}

/** `NaN` for what is no duration; a negative one is kept, which Effect would otherwise round up to zero. */
const toMillis = (input: Duration.Input): number => {
  try {
    return typeof input === "number" ? input : Duration.toMillis(Duration.fromInputUnsafe(input))
  } catch {
    return Number.NaN
  }
}
