import { fileURLToPath } from "node:url"
import { counted } from "./accounting.ts"
import { loadCore } from "./cores.ts"
import { output } from "./programs.ts"
import { type Requests, urlOf } from "./requests.ts"
import type { Load } from "./workload.ts"

interface Report {
  readonly requests: { readonly total: number; readonly average: number }
  readonly latency: { readonly p50: number; readonly p99: number }
  readonly errors: number
  readonly non2xx: number
}

/** Load from autocannon, which costs more than wrk: a fast subject waits for it. Its times are whole milliseconds. */
export const load = (requests: Requests): Load => ({ pid, port }, seconds) =>
  counted(pid, async () => {
    const { body, connections, fields = {} } = requests
    const out = await output([
      ...loadCore,
      process.execPath,
      fileURLToPath(import.meta.resolve("autocannon")),
      "--json",
      "--connections",
      String(connections),
      "--duration",
      String(seconds),
      ...body === undefined ? [] : ["--method", "POST", "--body", body],
      ...Object.entries(fields).flatMap(([name, value]) => ["--headers", `${name}=${value}`]),
      urlOf(requests, port)
    ])
    // Sound: that is what it prints when it is asked for JSON.
    const { errors, latency, non2xx, requests: { average, total } } = JSON.parse(out) as Report
    return { count: total, rate: average, p50: latency.p50, p99: latency.p99, errors: errors + non2xx }
  })
