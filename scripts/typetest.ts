/**
 * Checks what the compiler refuses, and how: in the `typetest/refusals` folder of a package every line that ends with
 * `// error: <text>` must be an error whose full message contains the text, and no other line may be one.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { files, finish, outcome, root, run } from "./workspace.ts"
import type { Outcome } from "./workspace.ts"

interface Diagnostic {
  readonly place: string
  readonly message: string
}

/** The diagnostics in the compiler's output; an indented line continues the message above it. */
export const diagnostics = (output: string): Array<Diagnostic> =>
  output.trimEnd().split(/\n(?! )/).filter((text) => text !== "").map((text) => {
    const [, file, line, message] = /^(.+?)\((\d+),\d+\): (.*)$/s.exec(text) ?? []
    return file === undefined ? { place: "tsc", message: text } : { place: `${file}:${line}`, message: message ?? "" }
  })

/** The places of a text where an error is wanted, and what it has to say. */
export const refusals = (file: string, text: string): Array<Diagnostic> =>
  text.split("\n").flatMap((line, index) => {
    const [, message] = /\/\/ error: (.+)$/.exec(line) ?? []
    return message === undefined ? [] : [{ place: `${file}:${index + 1}`, message: message.trim() }]
  })

/** What is wrong: errors that are missing or say something else, and errors nobody wanted. */
export const compare = (wanted: ReadonlyArray<Diagnostic>, found: ReadonlyArray<Diagnostic>): Array<string> => [
  ...wanted.flatMap(({ message, place }) => {
    const here = found.filter((one) => one.place === place).map((one) => one.message)
    if (here.length === 0) return [`${place}: compiles, but has to be refused: ${message}`]
    return here.some((text) => text.includes(message)) ? [] : [`${place}: wanted "${message}", got ${here.join("\n")}`]
  }),
  ...found.filter(({ place }) => !wanted.some((one) => one.place === place)).map(({ message, place }) =>
    `${place}: ${message}`
  )
]

export const typetest = async (): Promise<Outcome> => {
  const sources = files("packages/*/typetest/refusals/**/*.ts")
  if (sources.length === 0) return outcome([], "no refusals")
  const wanted = sources.flatMap((file) => refusals(file, readFileSync(join(root, file), "utf8")))
  const { output } = await run("tsc", ["--pretty", "false", "-p", "tsconfig.refusals.json"])
  const wrong = compare(wanted, diagnostics(output))
  return outcome(wrong, `${wanted.length} refusals, ${wrong.length} wrong`)
}

if (import.meta.main) finish(await typetest())
