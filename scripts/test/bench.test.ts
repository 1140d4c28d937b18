import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "vitest"

const program = fileURLToPath(new URL("../../benchmarks/bench.ts", import.meta.url))

const bench = (...args: ReadonlyArray<string>) => {
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", program, ...args],
    { encoding: "utf8" }
  )
  return { status, stderr, rows: stdout.split("\n").filter((line) => line.startsWith("|")).slice(2) }
}

describe("pnpm bench", () => {
  // CPU time and memory are read from /proc.
  it.skipIf(process.platform !== "linux")("prints a row for ours in each workload, and nothing failed", () => {
    const { rows, status, stderr } = bench("small", "websockets", "--peers=", "--rounds=1", "--seconds=1", "--warmup=0")
    assert.strictEqual(stderr, "")
    assert.strictEqual(status, 0)
    assert.lengthOf(rows, 2)
    for (const [i, name] of ["small", "websockets"].entries()) {
      assert.match(rows[i], new RegExp(String.raw`^\| ${name} \| sluice (\| \d+(\.\d+)? ){7}\|  \|$`))
    }
  }, 60_000)

  it("refuses a workload that there is not", () => {
    const { status, stderr } = bench("tiny")
    assert.strictEqual(status, 2)
    assert.match(stderr, /^error: no workload is called tiny \(there are: small, /)
  })
})
