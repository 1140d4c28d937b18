/**
 * Looks at the packages as users will get them: builds and packs each, then runs publint and arethetypeswrong on the
 * archives, and loads every public module of them in a folder that has nothing else of the workspace.
 */
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { build } from "./build.ts"
import { files, finish, packages, root, run } from "./workspace.ts"
import type { Outcome } from "./workspace.ts"

export interface Packed {
  readonly name: string
  readonly archive: string
  /** The entry points, as `@sluice/core/Problem`. */
  readonly modules: ReadonlyArray<string>
}

/** Several outcomes as one, with the output of those that failed. */
const all = (outcomes: ReadonlyArray<Outcome>): Outcome => {
  const failed = outcomes.filter(({ ok }) => !ok)
  return { ok: failed.length === 0, output: failed.map(({ output }) => output).join("\n") }
}

/** Packs every package into `folder`, with the exports of `publishConfig`. */
export const pack = async (
  folder: string
): Promise<{ readonly outcome: Outcome; readonly packed: ReadonlyArray<Packed> }> => {
  const outcomes: Array<Outcome> = []
  const packed: Array<Packed> = []
  for (const path of packages()) {
    const name = `@sluice/${basename(path)}`
    const archive = join(folder, `${basename(path)}.tgz`)
    outcomes.push(await run("npx", ["-y", "pnpm@12", "pack", "--out", archive], join(root, path)))
    const modules = files("**/*.ts", join(root, path, "src"))
      .filter((file) => !file.split("/").includes("internal"))
      .map((file) => join(name, file.replace(/(^index)?\.ts$/, "").replace(/\/index$/, "")))
    packed.push({ name, archive, modules })
  }
  return { outcome: all(outcomes), packed }
}

export const publint = async (packed: ReadonlyArray<Packed>): Promise<Outcome> =>
  all(await Promise.all(packed.map(({ archive }) => run("publint", ["run", archive, "--strict"]))))

export const attw = async (packed: ReadonlyArray<Packed>): Promise<Outcome> =>
  all(
    await Promise.all(packed.map(({ archive, modules, name }) => {
      const entrypoints = modules.map((module) => `.${module.slice(name.length)}`)
      return run("attw", [archive, "--profile", "esm-only", "--no-definitely-typed", "--entrypoints", ...entrypoints])
    }))
  )

const manifest = (path: string) => JSON.parse(readFileSync(join(root, path, "package.json"), "utf8"))

const optionalPeers = (path: string): ReadonlyArray<string> => Object.keys(manifest(path).peerDependenciesMeta ?? {})

/** Those of others: ours are unpacked. */
const dependencies = (path: string): ReadonlyArray<string> =>
  Object.keys(manifest(path).dependencies ?? {}).filter((name) => !name.startsWith("@sluice/"))

const link = (installed: string, dependency: string, from: string): void => {
  mkdirSync(join(installed, dependency, ".."), { recursive: true })
  symlinkSync(realpathSync(join(from, "node_modules", dependency)), join(installed, dependency))
}

/** Imports modules in a process of their own. */
const importAll = (folder: string, modules: ReadonlyArray<string>): Promise<Outcome> => {
  writeFileSync(join(folder, "load.mjs"), modules.map((module) => `await import("${module}")\n`).join(""))
  return run("node", ["load.mjs"], folder)
}

/**
 * Imports every module of the unpacked archives, next to what they depend on alone: first all but the sinks, without the
 * optional peers, then the sinks.
 */
export const load = async (folder: string, packed: ReadonlyArray<Packed>): Promise<Outcome> => {
  const installed = join(folder, "node_modules")
  for (const peer of ["effect", "@effect/platform-node"]) link(installed, peer, root)
  for (const path of packages()) {
    for (const dependency of dependencies(path)) link(installed, dependency, join(root, path))
  }
  for (const { archive, name } of packed) {
    mkdirSync(join(installed, name), { recursive: true })
    const unpacked = await run("tar", ["-xzf", archive, "--strip-components=1", "-C", join(installed, name)])
    if (!unpacked.ok) return unpacked
  }
  const modules = packed.flatMap(({ modules }) => modules)
  const isSink = (module: string): boolean => module.includes("/sinks/")
  const plain = await importAll(folder, modules.filter((module) => !isSink(module)))
  if (!plain.ok) return plain
  for (const path of packages()) {
    for (const peer of optionalPeers(path)) link(installed, peer, join(root, path))
  }
  return importAll(folder, modules.filter(isSink))
}

/** Runs `use` with a folder that is gone afterwards. */
export const inTemporaryFolder = async <A>(use: (folder: string) => Promise<A>): Promise<A> => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-"))
  return use(folder).finally(() => rmSync(folder, { force: true, recursive: true }))
}

const checkPackages = async (folder: string): Promise<Outcome> => {
  const built = await build()
  if (!built.ok) return built
  const { outcome: packing, packed } = await pack(folder)
  if (!packing.ok) return packing
  return all([await publint(packed), await attw(packed), await load(folder, packed)])
}

if (import.meta.main) finish(await inTemporaryFolder(checkPackages))
