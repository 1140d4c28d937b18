/** What the scripts share: where things are, and how a tool is run. */
import { spawn } from "node:child_process"
import { globSync } from "node:fs"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("..", import.meta.url))

/** Files that match, relative to `cwd`, sorted; installed packages and build output never match. */
export const files = (pattern: string | ReadonlyArray<string>, cwd = root): Array<string> =>
  globSync(pattern, { cwd, exclude: (name) => ["node_modules", "dist"].includes(basename(name)) }).toSorted()

/** The folders of the published packages. */
export const packages = (cwd = root): Array<string> =>
  files("packages/*/package.json", cwd).map((path) => join(path, ".."))

export interface Outcome {
  readonly ok: boolean
  readonly output: string
}

/** Runs a program to its end; an installed tool is found by its name. */
export const run = (command: string, args: ReadonlyArray<string>, cwd = root): Promise<Outcome> =>
  new Promise((resolve) => {
    const path = `${join(root, "node_modules/.bin")}:${process.env["PATH"]}`
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, PATH: path, NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    child.stdout.on("data", (chunk) => output += chunk)
    child.stderr.on("data", (chunk) => output += chunk)
    child.on("error", (error) => resolve({ ok: false, output: String(error) }))
    child.on("close", (code) => resolve({ ok: code === 0, output }))
  })

/** An outcome from a list of complaints: fine when there are none. */
export const outcome = (complaints: ReadonlyArray<string>, summary: string): Outcome => ({
  ok: complaints.length === 0,
  output: [...complaints, summary].join("\n")
})

/** Prints an outcome and sets the exit code: the end of every script. */
export const finish = ({ ok, output }: Outcome): void => {
  if (output !== "") console.log(output.trimEnd())
  process.exitCode = ok ? 0 : 1
}
