import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { counted } from "./accounting.ts"
import { loadCore } from "./cores.ts"
import { isInstalled as has, output } from "./programs.ts"
import { type Requests, urlOf } from "./requests.ts"
import type { Load } from "./workload.ts"

export const isInstalled = has("wrk")

/** What wrk is told to send, and to print at its end. JSON's strings are Lua's for the ASCII that is used here. */
const script = ({ body, fields = {} }: Requests): string =>
  `${body === undefined ? "" : `wrk.method = "POST"; wrk.body = ${JSON.stringify(body)}`}
${Object.entries(fields).map(([name, value]) => `wrk.headers["${name}"] = ${JSON.stringify(value)}`).join("\n")}
done = function(summary, latency)
  local e = summary.errors
  print(string.format("RESULT %d %d %d %d %d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
`

let folder: string | undefined
let scripts = 0

/** All of a run are in one folder, which goes with this process. */
const scriptFile = (requests: Requests): string => {
  if (folder === undefined) {
    const made = Fs.mkdtempSync(join(tmpdir(), "bench-wrk-"))
    process.once("exit", () => Fs.rmSync(made, { recursive: true, force: true }))
    folder = made
  }
  const file = join(folder, `${scripts++}.lua`)
  Fs.writeFileSync(file, script(requests))
  return file
}

/** Load from wrk. */
export const load = (requests: Requests): Load => {
  let file: string | undefined
  return ({ pid, port }, seconds) =>
    counted(pid, async () => {
      const out = await output([
        ...loadCore,
        "wrk",
        "-t1",
        `-c${requests.connections}`,
        `-d${seconds}s`,
        "--timeout",
        "30s",
        "-s",
        file ??= scriptFile(requests),
        urlOf(requests, port)
      ])
      const result = /^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$/m.exec(out)
      if (result === null) throw new Error(`wrk said:\n${out}`)
      const [count, micros, p50, p99, errors] = result.slice(1).map(Number)
      return { count, rate: count / (micros / 1e6), p50: p50 / 1000, p99: p99 / 1000, errors }
    })
}
