/**
 * Checks who imports whom.
 *
 * - `core` imports no other package of ours; `middleware` and `proxy` import only `core`.
 * - Nothing imports an `internal` module of another package, or reaches into another folder by a relative path.
 *   Only `benchmarks/micro` does, which measures single steps that no package gives away.
 * - The source of a package imports modules, never a barrel, and only what its package.json declares.
 * - No import cycles between the source files of a package; imports of types alone do not count.
 */
import { readFileSync } from "node:fs"
import { join, posix } from "node:path"
import { parseSync } from "oxc-parser"
import { files, finish, outcome, root } from "./workspace.ts"
import type { Outcome } from "./workspace.ts"

const scope = "@sluice/"
const allowed: Readonly<Record<string, ReadonlyArray<string>>> = { core: [], middleware: ["core"], proxy: ["core"] }

interface Import {
  readonly line: number
  readonly specifier: string
  readonly typeOnly: boolean
}

/** What a source text imports or re-exports. */
export const importsOf = (file: string, text: string): Array<Import> => {
  const { module } = parseSync(file, text)
  const at = (start: number, specifier: string, typeOnly: boolean): Import => ({
    line: text.slice(0, start).split("\n").length,
    specifier,
    typeOnly
  })
  const onlyTypes = (entries: ReadonlyArray<{ readonly isType: boolean }>): boolean =>
    entries.length > 0 && entries.every((entry) => entry.isType)
  return [
    ...module.staticImports.map((found) => at(found.start, found.moduleRequest.value, onlyTypes(found.entries))),
    ...module.staticExports.flatMap(({ entries, start }) => {
      const request = entries[0]?.moduleRequest
      return request ? [at(start, request.value, onlyTypes(entries))] : []
    }),
    ...module.dynamicImports.map(({ moduleRequest, start }) =>
      at(start, text.slice(moduleRequest.start + 1, moduleRequest.end - 1), false)
    )
  ]
}

/** The cycles of a graph, each as the path that closes it. */
export const cycles = (graph: ReadonlyMap<string, ReadonlyArray<string>>): Array<ReadonlyArray<string>> => {
  const found: Array<ReadonlyArray<string>> = []
  const done = new Set<string>()
  const visit = (node: string, path: ReadonlyArray<string>): void => {
    if (path.includes(node)) {
      found.push([...path.slice(path.indexOf(node)), node])
      return
    }
    if (done.has(node)) return
    for (const next of graph.get(node) ?? []) visit(next, [...path, node])
    done.add(node)
  }
  for (const node of graph.keys()) visit(node, [])
  return found
}

const complaint = (file: string, specifier: string, declared: ReadonlySet<string>): string | undefined => {
  const [area = "", folder = "", part = ""] = file.split("/")
  const home = area === "benchmarks" ? area : `${area}/${folder}`
  const isSource = area === "packages" && part === "src"
  if (specifier.startsWith(".")) {
    const target = posix.join(posix.dirname(file), specifier)
    if (!target.startsWith(`${home}/`) && !file.startsWith("benchmarks/micro/")) {
      return "reaches into another package by a relative path"
    }
    return isSource && target.endsWith("/index.ts") ? "imports a barrel: name the module instead" : undefined
  }
  if (specifier.startsWith("node:")) return undefined
  if (specifier.startsWith(scope)) {
    const [other = "", ...path] = specifier.slice(scope.length).split("/")
    if (path.includes("internal")) return "imports an internal module"
    if (area !== "packages" || (other === folder && !isSource)) return undefined
    if (!(allowed[folder] ?? []).includes(other)) return `${folder} must not import ${other}`
    if (isSource && path.length === 0) return "imports a barrel: name the module instead"
  }
  const dependency = specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/")
  return isSource && !declared.has(dependency) ? `${dependency} is not a dependency in package.json` : undefined
}

/** Every broken rule in the workspace, one line each. */
export const violations = (cwd = root): Array<string> => {
  const found: Array<string> = []
  const graph = new Map<string, Array<string>>()
  for (const file of files(["packages/*/{src,test,typetest}/**/*.ts", "{examples,benchmarks}/**/*.ts"], cwd)) {
    const declared = new Set<string>()
    if (file.startsWith("packages/")) {
      const manifest = JSON.parse(readFileSync(join(cwd, file.split("/", 2).join("/"), "package.json"), "utf8"))
      for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) declared.add(name)
    }
    const targets: Array<string> = []
    for (const { line, specifier, typeOnly } of importsOf(file, readFileSync(join(cwd, file), "utf8"))) {
      const why = complaint(file, specifier, declared)
      if (why) found.push(`${file}:${line} "${specifier}": ${why}`)
      if (specifier.startsWith(".") && !typeOnly) targets.push(posix.join(posix.dirname(file), specifier))
    }
    if (file.includes("/src/")) graph.set(file, targets)
  }
  return [...found, ...cycles(graph).map((path) => `import cycle: ${path.join(" -> ")}`)]
}

export const checkBoundaries = (): Outcome => {
  const found = violations()
  return outcome(found, `${found.length} broken boundaries`)
}

if (import.meta.main) finish(checkBoundaries())
