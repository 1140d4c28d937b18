/** The command: `node peers.ts` runs the kit against ours and other proxies, those that are there. */
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { findPackageJSON } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import { parseArgs } from "node:util"
import { cases } from "./cases/all.ts"
import { measure, type Measured, type Measurement, sizes } from "./Measured.ts"
import * as Report from "./Report.ts"
import { runCases } from "./Runner.ts"

/** A proxy that can be run, and its version. */
interface Peer {
  readonly name: string
  readonly version: string
  readonly command: string
}

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    modules: { type: "string" },
    nginx: { type: "string", default: "nginx" },
    haproxy: { type: "string", default: "haproxy" },
    caddy: { type: "string", default: "caddy" }
  }
})

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))

const modules = values.modules ?? path(".").replace(/\/$/, "")

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

const node = (file: string, ...options: ReadonlyArray<string>): string =>
  ["exec", quote(process.execPath), quote(path(file)), ...options].join(" ")

const versionIn = (file: string): string =>
  // Sound: each of these files is a package's, which has a version.
  (JSON.parse(readFileSync(file, "utf8")) as { readonly version: string }).version

const ours: Peer = {
  name: "Sluice",
  version: versionIn(path("../package.json")),
  command: node("../../../examples/reverse-proxy/main.ts", "--to", "{UP}", "--port", "0")
}

const packageFile = (name: string): string | undefined => {
  try {
    return findPackageJSON(name, pathToFileURL(`${modules}/`))
  } catch {
    return undefined
  }
}

/** A package, when it can be resolved. */
const fromPackage = (name: string, adapter: string): ReadonlyArray<Peer> => {
  const file = packageFile(name)
  if (file === undefined) return []
  return [{ name, version: versionIn(file), command: node(`./peers/${adapter}.mjs`, "{UP}", quote(modules)) }]
}

/** A program, when it says its version. */
const fromProgram = (name: string, program: string, option: string, pattern: RegExp): ReadonlyArray<Peer> => {
  const { status, stderr, stdout } = spawnSync(program, [option], { encoding: "utf8" })
  const version = pattern.exec(`${stdout ?? ""}${stderr ?? ""}`)?.[1]
  if (status !== 0 || version === undefined) return []
  return [{ name, version, command: node(`./peers/${name}.mjs`, "{UP}", quote(program)) }]
}

const peers: ReadonlyArray<Peer> = [
  ours,
  ...fromProgram("nginx", values.nginx, "-v", /nginx\/(\S+)/),
  ...fromProgram("haproxy", values.haproxy, "-v", /version (\d[\d.]*)/),
  ...fromProgram("caddy", values.caddy, "version", /v?(\d[\d.]*)/),
  ...fromPackage("http-proxy-3", "http-proxy-3"),
  ...fromPackage("http-proxy-middleware", "http-proxy-middleware"),
  ...fromPackage("@fastify/http-proxy", "fastify-http-proxy")
]

const proxies: Array<Measurement> = []
for (const { command, name, version } of peers) {
  const results = await Effect.runPromise(runCases({ command, cases }))
  const measurement = measure(name, version, results)
  proxies.push(measurement)
  if (!values.json) console.log(`${name} ${version}\n${Report.table(measurement.rest)}\n\n${Report.summary(results)}\n`)
}
const system = (): string => {
  try {
    return /^PRETTY_NAME="(.*)"$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? process.platform
  } catch {
    return process.platform
  }
}

const measured: Measured = {
  date: new Date().toISOString().slice(0, 10),
  node: process.versions.node,
  system: system(),
  groups: sizes(cases),
  proxies
}
const text = JSON.stringify(measured, null, 2)
if (values.json) console.log(text)
if (values.write) writeFileSync(path("./measured.json"), `${text}\n`)
