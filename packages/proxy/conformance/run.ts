/** The command: `node run.ts --cmd "node examples/reverse-proxy/main.ts --to {UP} --port 0"`. */
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import { cases } from "./cases/all.ts"
import * as Report from "./Report.ts"
import { runCases } from "./Runner.ts"

const usage = "usage: node run.ts --cmd \"COMMAND with {UP}\" [--json] [--allow B1,B2] [--only B1,B2]"

const readArguments = () => {
  const { values } = parseArgs({
    options: {
      cmd: { type: "string" },
      json: { type: "boolean", default: false },
      allow: { type: "string", default: "" },
      only: { type: "string", default: "" }
    }
  })
  const list = (text: string): ReadonlySet<string> => new Set(text.split(",").filter((one) => one !== ""))
  return { command: values.cmd, json: values.json, allow: list(values.allow), only: list(values.only) }
}

const main = async (): Promise<number> => {
  const { allow, command, json, only } = readArguments()
  if (command === undefined) throw new Error("--cmd is missing")
  const chosen = only.size === 0 ? cases : cases.filter(({ number }) => only.has(number))
  const stop = new AbortController()
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort())
  const results = await Effect.runPromise(runCases({ command, cases: chosen }), { signal: stop.signal })
  const text = `${Report.table(results)}\n\n${Report.summary(results)}`
  console.log(json ? JSON.stringify({ counts: Report.count(results), results }, null, 2) : text)
  return Report.unexpected(results, allow).length === 0 ? 0 : 1
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(`error: ${error instanceof Error ? error.message : String(error)} (${usage})`)
  process.exitCode = 2
}
