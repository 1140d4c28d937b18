import { assert, describe, it } from "vitest"
import { asserting, fromMarkdown, fromSource } from "../doctest/extract.ts"

describe("doctest", () => {
  it("finds the ts fences of a Markdown page and where they stand", () => {
    const page = [
      "# Title",
      "```ts",
      "const a = 1",
      "```",
      "```sh",
      "ls",
      "```",
      "- item",
      "  ```ts no-run",
      "  a()",
      "  ```"
    ]
    assert.deepStrictEqual(fromMarkdown("a.md", page.join("\n")), [
      { file: "a.md", line: 3, code: "const a = 1", runs: true },
      { file: "a.md", line: 10, code: "a()", runs: false }
    ])
  })

  it("leaves a fence inside a longer fence alone", () => {
    assert.deepStrictEqual(fromMarkdown("a.md", "````md\n```ts\na()\n```\n````"), [])
  })

  it("finds the fences of JSDoc comments only", () => {
    const source = [
      "const text = \"```ts\"",
      "// ```ts",
      "/**",
      " * Adds.",
      " *",
      " * ```ts",
      " * add({",
      " *   a: 1",
      " * }) // => 2",
      " * ```",
      " */",
      "export const add = 1"
    ]
    assert.deepStrictEqual(fromSource("a.ts", source.join("\n")), [
      { file: "a.ts", line: 7, code: "add({\n  a: 1\n}) // => 2", runs: true }
    ])
  })

  it("turns comments into assertions, line for line", () => {
    const code = [
      "add(1, 2) // => 3",
      "console.log(",
      "  \"a\",",
      "  b",
      ")",
      "// => a 1",
      "await wait(() => {",
      "  f() // => 1",
      "}) // => 2"
    ]
    assert.deepStrictEqual(asserting(code.join("\n")), {
      code: [
        "__expect(0, \"3\", [(add(1, 2))]); // => 3",
        "__expect(5, \"a 1\", [",
        "  \"a\",",
        "  b",
        "]);",
        "// => a 1",
        "__expect(8, \"2\", [(await wait(() => {",
        "  __expect(7, \"1\", [(f())]); // => 1",
        "}))]); // => 2"
      ].join("\n"),
      assertions: 4,
      dangling: []
    })
  })

  it("reports a comment that asserts nothing", () => {
    assert.deepStrictEqual(asserting("f()\nconst a = 1 // => 1\n\n// => 2").dangling, [1, 3])
  })
})
