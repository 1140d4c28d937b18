/**
 * Loaded before a program that a benchmark starts, and holds its stdin: ends it when that ends, as it does when the
 * benchmark is gone, and collects its garbage when the benchmark writes there.
 */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

const collect = (): void => {
  setFlagsFromString("--expose-gc")
  // Sound: that is what the flag gives to new contexts.
  const gc = runInNewContext("gc") as NonNullable<typeof globalThis.gc>
  for (let i = 0; i < 2; i++) gc({ type: "major", execution: "sync", flavor: "last-resort" })
}

process.stdin.on("data", collect).on("end", () => process.exit()).on("error", () => process.exit())
