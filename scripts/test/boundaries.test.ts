import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { cycles, importsOf, violations } from "../boundaries.ts"

describe("boundaries", () => {
  let root = ""
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "boundaries-"))
  })
  afterEach(() => rmSync(root, { recursive: true }))

  const workspace = (sources: Readonly<Record<string, string>>): Array<string> => {
    const manifests = ["core", "middleware", "proxy"].map((name) => {
      const dependencies = name === "core" ? {} : { "@sluice/core": "workspace:^" }
      const manifest = { name: `@sluice/${name}`, dependencies, peerDependencies: { effect: "^4.1.0" } }
      return [`packages/${name}/package.json`, JSON.stringify(manifest)] as const
    })
    for (const [path, text] of [...manifests, ...Object.entries(sources)]) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), text)
    }
    return violations(root)
  }

  it("accepts what the layers allow", () => {
    assert.deepStrictEqual(
      workspace({
        "packages/core/src/A.ts":
          `import { Effect } from "effect"\nimport * as fs from "node:fs"\nimport { b } from "./internal/b.ts"`,
        "packages/core/src/internal/b.ts": `import type { A } from "../A.ts"\nexport const b = 1`,
        "packages/core/test/A.test.ts": `import { A } from "@sluice/core"\nimport { it } from "vitest"`,
        "packages/proxy/src/B.ts": `import * as A from "@sluice/core/A"`,
        "examples/hello/main.ts": `import { A } from "@sluice/core"\nimport { B } from "@sluice/proxy"`
      }),
      []
    )
  })

  it("names the file, the line and the rule", () => {
    assert.deepStrictEqual(
      workspace({
        "packages/core/src/A.ts": `// one\nimport { B } from "@sluice/proxy/B"`,
        "packages/core/src/C.ts": `export * from "./index.ts"\nimport "left-pad"`,
        "packages/middleware/test/M.test.ts": `import { B } from "@sluice/proxy"`,
        "packages/proxy/src/B.ts": `import { A } from "@sluice/core"\nimport "../../core/src/A.ts"`,
        "examples/hello/main.ts": `const a = await import("@sluice/core/internal/a")`
      }),
      [
        "examples/hello/main.ts:1 \"@sluice/core/internal/a\": imports an internal module",
        "packages/core/src/A.ts:2 \"@sluice/proxy/B\": core must not import proxy",
        "packages/core/src/C.ts:2 \"left-pad\": left-pad is not a dependency in package.json",
        "packages/core/src/C.ts:1 \"./index.ts\": imports a barrel: name the module instead",
        "packages/middleware/test/M.test.ts:1 \"@sluice/proxy\": middleware must not import proxy",
        "packages/proxy/src/B.ts:1 \"@sluice/core\": imports a barrel: name the module instead",
        "packages/proxy/src/B.ts:2 \"../../core/src/A.ts\": reaches into another package by a relative path"
      ]
    )
  })

  it("finds cycles of values, not of types", () => {
    assert.deepStrictEqual(
      workspace({
        "packages/core/src/A.ts": `import { b } from "./B.ts"\nexport const a = b`,
        "packages/core/src/B.ts": `export { c as b } from "./C.ts"`,
        "packages/core/src/C.ts": `import { a } from "./A.ts"\nexport const c = () => a`,
        "packages/core/src/D.ts": `import type { A } from "./A.ts"\nimport { type E } from "./E.ts"`,
        "packages/core/src/E.ts": `import * as D from "./D.ts"`
      }),
      ["import cycle: packages/core/src/A.ts -> packages/core/src/B.ts -> packages/core/src/C.ts -> packages/core/src/A.ts"]
    )
  })

  it("finds a cycle that is entered from outside, once", () => {
    const graph = new Map([["a", ["b", "c"]], ["b", ["c"]], ["c", ["b"]]])
    assert.deepStrictEqual(cycles(graph), [["b", "c", "b"]])
  })

  it("does not take comments and strings for imports", () => {
    assert.deepStrictEqual(importsOf("a.ts", "/** import \"x\" */ const a = \"import 'y'\" // import \"z\""), [])
  })
})
