/**
 * Which of the numbered conformance cases the tests cover: a case's number stands in the name of its test.
 *
 * `node scripts/cases.ts` writes `docs/conformance.md`; with `--check` it fails when the page is stale, or when a case that
 * this version claims has neither a test nor a reason. The cases of a conformance kit count too: a test of the package runs
 * them.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { groupOf, groups } from "../packages/proxy/conformance/groups.ts"
import { markdown, type Measured } from "../packages/proxy/conformance/Measured.ts"
import { pending } from "../packages/proxy/conformance/pending.ts"
import { files, finish, root } from "./workspace.ts"
import type { Outcome } from "./workspace.ts"

const page = "docs/conformance.md"
const kit = "packages/proxy/conformance"

/** What this version claims: B is the proxy's catalogue, C the middleware's. */
const claimed: ReadonlyArray<readonly [series: string, from: number, to: number]> = [
  ["B", 1, 238],
  ["B", 246, 250],
  ["B", 257, 265],
  ["C", 1, 106]
]

/** Cases that no test of the suite has, and why. */
const reasons: Readonly<Record<string, string>> = {
  B151: "of HTTP/2, which is not spoken yet",
  B159: "of HTTP/2, which is not spoken yet",
  B197: "of HTTP/2, which is not spoken yet",
  B226: "there is no interval: every chunk is written when it comes (decision 0010)",
  B231: "a command of its own: `pnpm bigbodies`",
  C69: "compile-fail tests: `packages/core/typetest/refusals`",
  C105: "compile-fail tests: `packages/core/typetest/refusals`, `packages/middleware/typetest/refusals`",
  C106: "a command of its own: `pnpm leaks`"
}

/** Case numbers at the start of a text: `C7`, `B92, B93`, `B92-B97`. */
export const numbersIn = (name: string): ReadonlyArray<string> =>
  [...name.matchAll(/\b([BC])(\d+)(?:-\1?(\d+))?/g)].flatMap(([, series, from, to]) => {
    const first = Number(from)
    const last = to === undefined ? first : Number(to)
    return Array.from({ length: Math.max(0, last - first) + 1 }, (_, i) => `${series}${first + i}`)
  })

/** Names of tests, also of those that are made from a table: strings that begin with a number, or are given to a test. */
const names =
  /\b(?:it|test|describe|each|prop|effect|live|both|scoped)\w*\s*\(\s*(["'`])((?:(?!\1).)*)\1|(["'`])([BC]\d+(?:(?!\3).)*)\3/g

/** Where tests are, and the cases of a kit, which a test runs. */
const places = ["{packages,examples}/*/**/*.test.ts", "packages/*/conformance/cases/*.ts"]

/** The tests of each case. */
export const covered = (cwd = root): ReadonlyMap<string, ReadonlySet<string>> => {
  const out = new Map<string, Set<string>>()
  for (const path of files(places, cwd)) {
    for (const [, , called, , listed] of readFileSync(join(cwd, path), "utf8").matchAll(names)) {
      for (const number of numbersIn(called ?? listed)) out.set(number, (out.get(number) ?? new Set()).add(path))
    }
  }
  return out
}

const byNumber = (a: string, b: string): number =>
  a[0] === b[0] ? Number(a.slice(1)) - Number(b.slice(1)) : a < b ? -1 : 1

/** What the kit knows to be not so yet. */
const notYet = (number: string): string =>
  [
    ...new Set(
      Object.entries(pending).flatMap(([name, why]) => name.startsWith(`${number} `) ? [`not yet: ${why}`] : [])
    )
  ].join("; ")

const row = (number: string, tests: ReadonlySet<string> = new Set()): string => {
  const paths = [...tests].toSorted().map((path) => `\`${path}\``).join(", ")
  return `| ${number} | ${[paths, reasons[number] ?? "", notYet(number)].filter((part) => part !== "").join("; ")} |`
}

const table = (title: string, rows: ReadonlyArray<string>): ReadonlyArray<string> =>
  rows.length === 0 ? [] : ["", `### ${title}`, "", "| case | tested in |", "| --- | --- |", ...rows]

const measurement = (): ReadonlyArray<string> => {
  // Sound: the kit's own command writes this file.
  const measured = JSON.parse(readFileSync(join(root, kit, "measured.json"), "utf8")) as Measured
  const total = Object.values(measured.groups).reduce((sum, count) => sum + count, 0)
  return [
    "## Measured",
    "",
    `[The conformance kit](../${kit}) runs the numbered cases that hold for any proxy, of the outside only, against ours and others. ${total} cases, each proxy with its default settings but for what [\`peers/\`](../${kit}/peers) says, on Node ${measured.node} and ${measured.system}, ${measured.date}; measured with`,
    "",
    "```sh",
    `node ${kit}/peers.ts --write`,
    "```",
    "",
    ...markdown(measured),
    "",
    "Ours was built by the catalogue that the cases come from, the others were not; [the kit](../packages/proxy/conformance#cases) says where it asks for more than the standards. nginx, HAProxy and Caddy are those of the system, which may not be the newest.",
    "",
    `What each case saw is in [\`measured.json\`](../${kit}/measured.json).`
  ]
}

const render = (cases: ReadonlyMap<string, ReadonlySet<string>>): string => {
  const all = [...new Set([...cases.keys(), ...Object.keys(reasons)])].toSorted(byNumber)
  const rows = (of: (number: string) => boolean) => all.filter(of).map((number) => row(number, cases.get(number)))
  return [
    "# Conformance",
    "",
    "The numbered cases of the two catalogues that the project is tested against, and where each test is: B for the proxy, C for middleware. The number stands in the test's name, or is that of a case of the conformance kit, which the tests run against ours. This page is generated by `pnpm cases`.",
    "",
    ...measurement(),
    "",
    "## Where each case is tested",
    ...groups.flatMap(({ name, title }) =>
      table(`${name}: ${title}`, rows((number) => number[0] === "B" && groupOf(number) === name))
    ),
    ...table("C: middleware", rows((number) => number[0] === "C")),
    ""
  ].join("\n")
}

export const checkCases = (): Outcome => {
  const cases = covered()
  const missing = claimed.flatMap(([series, from, to]) =>
    Array.from({ length: to - from + 1 }, (_, i) => `${series}${from + i}`)
  ).filter((number) => !cases.has(number) && reasons[number] === undefined)
  const stale = readFileSync(join(root, page), "utf8") !== render(cases)
  const output = [
    missing.length === 0 ? "" : `no test and no reason: ${missing.join(" ")}`,
    stale ? `${page} is stale: run pnpm cases` : ""
  ].filter((line) => line !== "").join("\n")
  return { ok: output === "", output }
}

if (import.meta.main) {
  if (process.argv.includes("--check")) finish(checkCases())
  else writeFileSync(join(root, page), render(covered()))
}
