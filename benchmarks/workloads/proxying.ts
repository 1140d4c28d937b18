/** Requests through proxies to an upstream that does as little as it can. */
import { join } from "node:path"
import { loadCore } from "../cores.ts"
import { http } from "../http.ts"
import { start } from "../programs.ts"
import { proxies } from "../proxies.ts"
import type { Requests } from "../requests.ts"
import type { Workload } from "../workload.ts"

const upstream = () => start([join(import.meta.dirname, "../origin.ts")], loadCore)

const proxied = (requests: Requests): Workload => ({ subjects: proxies, load: http(requests), upstream })

export const proxying: Readonly<Record<string, Workload>> = {
  small: proxied({ connections: 64, path: "/16" }),
  "64k": proxied({ connections: 32, path: "/65536" }),
  "1m": proxied({ connections: 16, path: "/1048576" }),
  upload: proxied({ connections: 32, path: "/2", body: "x".repeat(65_536) })
}
