/** Requests through proxies to an upstream that does as little as it can. */
import { join } from "node:path"
import { loadCore } from "../cores.ts"
import { http } from "../http.ts"
import { idle } from "../idle.ts"
import { live } from "../live.ts"
import { start } from "../programs.ts"
import { keepingProxies, proxies, secureProxies, switchingProxies } from "../proxies.ts"
import type { Requests } from "../requests.ts"
import type { Workload } from "../workload.ts"

const origin = () => start([join(import.meta.dirname, "../origin.ts")], loadCore)
const liveOrigin = () => start([join(import.meta.dirname, "../liveOrigin.ts")], loadCore)

const proxied = (requests: Requests): Workload => ({
  subjects: requests.tls === true ? secureProxies : proxies,
  load: http(requests),
  upstream: origin
})

export const proxying: Readonly<Record<string, Workload>> = {
  small: proxied({ connections: 64, path: "/16" }),
  "64k": proxied({ connections: 32, path: "/65536" }),
  "1m": proxied({ connections: 16, path: "/1048576" }),
  upload: proxied({ connections: 32, path: "/2", body: "x".repeat(65_536) }),
  events: { subjects: proxies, load: live("events", 1000), upstream: liveOrigin },
  websockets: { subjects: switchingProxies, load: live("messages", 1000), upstream: liveOrigin },
  tls: proxied({ connections: 64, path: "/16", tls: true }),
  "tls-64k": proxied({ connections: 32, path: "/65536", tls: true }),
  idle: { subjects: keepingProxies, load: idle(10_000), upstream: origin, fresh: true }
}
