/** The command: `node peers.ts` runs the kit against other proxies, those that are there. */
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { cases } from "./cases/all.ts"
import * as Report from "./Report.ts"
import { runCases } from "./Runner.ts"

/** A proxy that can be run, and its version. */
interface Peer {
  readonly name: string
  readonly version: string
  readonly command: string
}

const { values } = parseArgs({
  options: { json: { type: "boolean", default: false }, modules: { type: "string" }, nginx: { type: "string" } }
})
const modules = values.modules ?? fileURLToPath(new URL(".", import.meta.url)).replace(/\/$/, "")

const adapter = (name: string): string => fileURLToPath(new URL(`./peers/${name}.mjs`, import.meta.url))

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

const node = (name: string, argument: string): string =>
  ["exec", quote(process.execPath), quote(adapter(name)), "{UP}", quote(argument)].join(" ")

/** A package, when it can be resolved. */
const fromPackage = (name: string, program: string): ReadonlyArray<Peer> => {
  const require = createRequire(`${modules}/`)
  try {
    require.resolve(name)
    const { version } = require(`${name}/package.json`) as { readonly version: string }
    return [{ name, version, command: node(program, modules) }]
  } catch {
    return []
  }
}

const fromNginx = (nginx: string): ReadonlyArray<Peer> => {
  const { status, stderr } = spawnSync(nginx, ["-v"], { encoding: "utf8" })
  const version = /nginx\/(\S+)/.exec(stderr ?? "")?.[1]
  return status !== 0 || version === undefined ? [] : [{ name: "nginx", version, command: node("nginx", nginx) }]
}

const peers = [
  ...fromPackage("http-proxy-3", "http-proxy-3"),
  ...fromPackage("@fastify/http-proxy", "fastify-http-proxy"),
  ...fromNginx(values.nginx ?? "nginx")
]

const measured: Array<unknown> = []
for (const { command, name, version } of peers) {
  const results = await Effect.runPromise(runCases({ command, cases }))
  measured.push({ name, version, counts: Report.count(results), results })
  const rest = results.filter(({ verdict }) => verdict !== "pass")
  if (!values.json) console.log(`${name} ${version}\n${Report.table(rest)}\n\n${Report.summary(results)}\n`)
}
if (values.json) console.log(JSON.stringify(measured, null, 2))
if (peers.length === 0) console.error("none of the peers is installed")
