/** Results as a table and as numbers. */
import type { Result, Verdict } from "./Runner.ts"

/** How many cases ended in each way. */
export type Counts = { readonly [V in Verdict]: number }

/** Counts the verdicts. */
export const count = (results: ReadonlyArray<Result>): Counts => {
  const counts = { pass: 0, FAIL: 0, HANG: 0, CRASH: 0 }
  for (const { verdict } of results) counts[verdict]++
  return counts
}

/** One line for each case. */
export const table = (results: ReadonlyArray<Result>): string => {
  const width = Math.max(...results.map(({ title }) => title.length), 0)
  return results.map(({ number, observation, title, verdict }) =>
    `${number.padEnd(5)} ${verdict.padEnd(5)} ${title.padEnd(width)} ${observation}`.trimEnd()
  ).join("\n")
}

/** The counts in one line. */
export const summary = (results: ReadonlyArray<Result>): string => {
  const { CRASH, FAIL, HANG, pass } = count(results)
  return `${results.length} cases: ${pass} pass, ${FAIL} FAIL, ${HANG} HANG, ${CRASH} CRASH`
}

/** The results that neither pass nor are allowed not to. */
export const unexpected = (results: ReadonlyArray<Result>, allowed: ReadonlySet<string>): ReadonlyArray<Result> =>
  results.filter(({ number, verdict }) => verdict !== "pass" && !allowed.has(number))
