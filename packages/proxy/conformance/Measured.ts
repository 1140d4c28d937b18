/** What the proxies were measured at: kept in `measured.json`, shown in `docs/conformance.md`. */
import type { Case } from "./Case.ts"
import { groupOf, groups } from "./groups.ts"
import * as Report from "./Report.ts"
import type { Result } from "./Runner.ts"

/** One proxy's run. */
export interface Measurement {
  readonly name: string
  readonly version: string
  readonly counts: Report.Counts
  /** The cases that do not pass. */
  readonly rest: ReadonlyArray<Result>
}

/** Runs of the same cases. */
export interface Measured {
  readonly date: string
  readonly node: string
  /** Whose nginx and others these are, such as `Debian GNU/Linux 12 (bookworm)`. */
  readonly system: string
  /** How many cases each group has. */
  readonly groups: Readonly<Record<string, number>>
  readonly proxies: ReadonlyArray<Measurement>
}

/** Counts the results of one proxy. */
export const measure = (name: string, version: string, results: ReadonlyArray<Result>): Measurement => ({
  name,
  version,
  counts: Report.count(results),
  rest: results.filter(({ verdict }) => verdict !== "pass")
})

/** How many of the cases are in each group. */
export const sizes = (cases: ReadonlyArray<Pick<Case, "number">>): Readonly<Record<string, number>> => {
  const sizes: Record<string, number> = {}
  for (const { number } of cases) sizes[groupOf(number)] = (sizes[groupOf(number)] ?? 0) + 1
  return sizes
}

const row = (cells: ReadonlyArray<string | number>): string => `| ${cells.join(" | ")} |`

const table = (
  head: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string | number>>
): ReadonlyArray<string> => [
  row(head),
  row(head.map(() => "---")),
  ...rows.map(row)
]

const verdicts = ["pass", "FAIL", "HANG", "CRASH"] as const

/** How each proxy did. */
const totals = ({ proxies }: Measured): ReadonlyArray<string> =>
  table(
    ["proxy", ...verdicts],
    proxies.map(({ counts, name, version }) => [`${name} ${version}`, ...verdicts.map((verdict) => counts[verdict])])
  )

/** How many cases of each group each proxy passes. */
const byGroup = ({ groups: all, proxies }: Measured): ReadonlyArray<string> => {
  const missed = proxies.map(({ rest }) => sizes(rest))
  return table(
    ["group", "cases", ...proxies.map(({ name }) => name)],
    groups.filter(({ name }) => all[name] !== undefined).map(({ name, title }) => [
      `${name} ${title}`,
      all[name],
      ...missed.map((of) => all[name] - (of[name] ?? 0))
    ])
  )
}

/** The numbers that a proxy has a case of that does not pass. */
const failed = ({ name, rest }: Measurement): string => {
  const numbers = [...new Set(rest.map(({ number }) => number))]
  return `- ${name}: ${numbers.toSorted((a, b) => Number(a.slice(1)) - Number(b.slice(1))).join(", ") || "none"}`
}

/** The measurement as lines of Markdown. */
export const markdown = (measured: Measured): ReadonlyArray<string> => [
  ...totals(measured),
  "",
  "Cases that pass, by group:",
  "",
  ...byGroup(measured),
  "",
  "Numbers with a case that does not pass:",
  "",
  ...measured.proxies.map(failed)
]
