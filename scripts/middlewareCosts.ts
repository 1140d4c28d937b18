/**
 * Writes what `pnpm bench:middleware --json FILE` has measured into the tables of `docs/middleware.md`: give it the files
 * of a run, or of several that are parts of one. What is in none of them stays.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

interface Result {
  readonly name: string
  readonly measured: ReadonlyArray<
    { readonly cost: { readonly median: number; readonly from: number; readonly to: number } }
  >
}

/** Stacks whose rows are called otherwise, and what the cell says of them. */
const rows: Readonly<Record<string, readonly [row: string, lead: string]>> = {
  "ApiKey and Policy": ["Policy.enforce", "with `ApiKey`: "],
  "ClientIp and IpFilter": ["IpFilter", "with `ClientIp`: "],
  "IdempotencyKey, kept": ["IdempotencyKey", ""],
  "ResponseCache, kept": ["ResponseCache", ""]
}
/** Stacks that a row is not about. */
const others = new Set(["IdempotencyKey", "ResponseCache"])

/** With a real minus sign, and none before a zero. */
const shown = (value: number): string => value.toFixed(1).replace(/^-0\.0$/, "0.0").replace("-", "−")

const cells = new Map<string, string>()
for (const file of process.argv.slice(2)) {
  // Sound: that is what the benchmark writes.
  const { results } = JSON.parse(readFileSync(file, "utf8")) as { readonly results: ReadonlyArray<Result> }
  for (const { measured: [{ cost }], name } of results) {
    if (others.has(name)) continue
    const [row, lead] = rows[name] ?? [name, ""]
    cells.set(row, `${lead}${shown(cost.median)} (${shown(cost.from)} to ${shown(cost.to)})`)
  }
}

const path = join(import.meta.dirname, "../docs/middleware.md")
const lines = readFileSync(path, "utf8").split("\n")
let column = -1
const written = lines.map((line) => {
  const parts = line.split("|")
  const heading = parts.findIndex((part) => part.trim() === "µs")
  if (!line.startsWith("|")) column = -1
  else if (heading !== -1) column = heading
  const cell = column === -1 ? undefined : cells.get(/^\| \[`([\w.]+)`\]/.exec(line)?.[1] ?? "")
  return cell === undefined ? line : parts.with(column, ` ${cell} `).join("|")
})
writeFileSync(path, written.join("\n"))
console.log(`${cells.size} costs; now run dprint fmt`)
