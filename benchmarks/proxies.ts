/** The proxies that are compared: the example `reverse-proxy` with its default settings, and its peers. */
import { join } from "node:path"
import { certificate } from "./certificate.ts"
import { testedCore } from "./cores.ts"
import * as Nginx from "./nginx.ts"
import { start } from "./programs.ts"
import type { Start } from "./workload.ts"

type Subjects = ReadonlyMap<string, Start>

const example: Start = ({ flags, root, to }) =>
  start([...flags, join(root, "examples/reverse-proxy/main.ts"), "--to", to, "--port", "0"], testedCore)

/** The layers of the example. */
const own = (more: () => Promise<ReadonlyArray<string>>): Start => async ({ flags, root, to }) =>
  start([...flags, join(root, "benchmarks/ownProxy.ts"), "--to", to, ...await more()], testedCore)

const peer = (name: string, more: () => Promise<ReadonlyArray<string>>): Start => async ({ to }) =>
  start([join(import.meta.dirname, "peers.ts"), name, "--to", to, ...await more()], testedCore)

const nginx = (options: () => Promise<Nginx.Options>): ReadonlyArray<readonly [string, Start]> =>
  Nginx.isInstalled ? [["nginx", async ({ to }) => Nginx.proxy(to, await options())]] : []

const plain = (): Promise<ReadonlyArray<string>> => Promise.resolve([])
const secure = async (): Promise<ReadonlyArray<string>> => ["--certificate", await certificate()]

const all = ["undici", "http-proxy-3", "@fastify/http-proxy", "fast-proxy", "httpxy"]

const peers = (names: ReadonlyArray<string>, more = plain) => names.map((name) => [name, peer(name, more)] as const)

/** What forwards requests. */
export const proxies: Subjects = new Map([
  ["sluice", example],
  ...peers(all),
  ...nginx(async () => ({ connections: 4096 }))
])

/** What lets a connection switch protocols. */
export const switchingProxies: Subjects = new Map(
  [...proxies].filter(([name]) => name !== "undici" && name !== "fast-proxy")
)

/** What speaks TLS with clients, with the same certificate. */
export const secureProxies: Subjects = new Map([
  ["sluice", own(secure)],
  ...peers(all, secure),
  ...nginx(async () => ({ connections: 4096, certificate: await certificate() }))
])

/** What keeps connections open though nobody uses them, and takes many. */
export const keepingProxies: Subjects = new Map([
  ["sluice", own(plain)],
  ...peers(all),
  ...nginx(async () => ({ connections: 16_384 }))
])
