/** The proxies that are compared: the example `reverse-proxy` with its default settings, and its peers. */
import { join } from "node:path"
import { testedCore } from "./cores.ts"
import * as Nginx from "./nginx.ts"
import { start } from "./programs.ts"
import type { Start } from "./workload.ts"

const example: Start = ({ flags, root, to }) =>
  start([...flags, join(root, "examples/reverse-proxy/main.ts"), "--to", to, "--port", "0"], testedCore)

const peer = (name: string): Start => ({ to }) =>
  start([join(import.meta.dirname, "peers.ts"), name, "--to", to], testedCore)

/** What forwards requests. */
export const proxies: ReadonlyMap<string, Start> = new Map([
  ["sluice", example],
  ...["undici", "http-proxy-3", "@fastify/http-proxy", "fast-proxy", "httpxy"].map((name) =>
    [name, peer(name)] as const
  ),
  ...Nginx.isInstalled ? [["nginx", ({ to }) => Nginx.proxy(to)] as const satisfies [string, Start]] : []
])
