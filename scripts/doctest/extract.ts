/** Finds the examples of a file and turns their `// =>` comments into assertions. */
import { parseSync } from "oxc-parser"
import type { Comment, Node } from "oxc-parser"

export interface Example {
  readonly file: string
  /** The line of the file that holds the first line of `code`. */
  readonly line: number
  readonly code: string
  /** Whether it is executed, not only type-checked: false for a fence that says `ts no-run`. */
  readonly runs: boolean
}

/** The `ts` fences of a Markdown text whose first line is line `firstLine` of the file. */
export const fromMarkdown = (file: string, text: string, firstLine = 1): Array<Example> => {
  const found: Array<Example> = []
  let open:
    | { readonly fence: string; readonly indent: number; readonly info: string; readonly line: number }
    | undefined
  let code: Array<string> = []
  text.split("\n").forEach((source, index) => {
    const [, indent = "", fence = "", info = ""] = /^(\s*)(`{3,})(.*)$/.exec(source) ?? []
    if (!open && fence) {
      open = { fence, indent: indent.length, info: info.trim(), line: firstLine + index + 1 }
      code = []
    } else if (open && fence === open.fence && info === "") {
      const [language, ...marks] = open.info.split(/\s+/)
      if (language === "ts") {
        found.push({ file, line: open.line, code: code.join("\n"), runs: !marks.includes("no-run") })
      }
      open = undefined
    } else if (open) {
      code.push(source.slice(Math.min(open.indent, source.length - source.trimStart().length)))
    }
  })
  return found
}

/** The `ts` fences in the JSDoc comments of a TypeScript text. */
export const fromSource = (file: string, text: string): Array<Example> =>
  parseSync(file, text).comments.filter(({ type, value }) => type === "Block" && value.startsWith("*")).flatMap(
    ({ start, value }) =>
      fromMarkdown(file, value.replace(/^[ \t]*\* ?/gm, ""), text.slice(0, start).split("\n").length)
  )

/** Every expression statement in a syntax tree, however deep. */
const statements = (node: unknown): Array<Node & { readonly type: "ExpressionStatement" }> => {
  if (typeof node !== "object" || node === null) return []
  const inside = Object.values(node).flatMap(statements)
  return "type" in node && node.type === "ExpressionStatement"
    ? [node as Node & { readonly type: "ExpressionStatement" }, ...inside]
    : inside
}

export interface Asserting {
  /** The code, line for line, with `__expect(offset, expected, values)` in the place of asserted statements. */
  readonly code: string
  readonly assertions: number
  /** `// =>` comments that follow no expression statement: their offset in lines. */
  readonly dangling: ReadonlyArray<number>
}

/**
 * Replaces each statement that a `// => value` comment follows, on its line or alone on the next one: the value of the
 * expression, or what `console.log` would print, has to read like the comment.
 */
export const asserting = (code: string): Asserting => {
  const { comments, program } = parseSync("example.ts", code)
  const candidates = statements(program.body)
  const follows = (comment: Comment) => (statement: Node): boolean =>
    statement.end <= comment.start && /^[ \t]*\n?[ \t]*$/.test(code.slice(statement.end, comment.start))
  const edits: Array<{ readonly start: number; readonly end: number; readonly text: string }> = []
  const dangling: Array<number> = []
  let assertions = 0
  for (const comment of comments) {
    if (comment.type !== "Line" || !comment.value.trimStart().startsWith("=>")) continue
    const offset = code.slice(0, comment.start).split("\n").length - 1
    const statement = candidates.find(follows(comment))
    if (!statement) {
      dangling.push(offset)
      continue
    }
    assertions++
    const { end, expression, start } = statement
    const expected = JSON.stringify(comment.value.trim().slice(2).trim())
    const opening = `__expect(${offset}, ${expected}, [`
    const prints = expression.type === "CallExpression" &&
      code.slice(expression.callee.start, expression.callee.end) === "console.log"
    if (prints) {
      const first = code.indexOf("(", expression.callee.end) + 1
      edits.push({ start, end: first, text: opening }, { start: expression.end - 1, end, text: "]);" })
    } else {
      edits.push({ start, end: expression.start, text: `${opening}(` }, { start: expression.end, end, text: ")]);" })
    }
  }
  const edited = edits.toSorted((a, b) => b.start - a.start).reduce(
    (text, { end, start, text: replacement }) => text.slice(0, start) + replacement + text.slice(end),
    code
  )
  return { code: edited, assertions, dangling }
}
