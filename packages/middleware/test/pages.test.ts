import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")

const modules = (folder: string): ReadonlyArray<string> =>
  readdirSync(new URL(folder, import.meta.url))
    .filter((file) => file.endsWith(".ts") && file !== "index.ts")
    .map((file) => file.slice(0, -3))

/** What a page shows as code, up to the first dot: `Timeout.requestBody` shows `Timeout`. */
const shown = (page: string): ReadonlySet<string> =>
  new Set(Array.from(page.matchAll(/`(?:sinks\/)?(\w+)[^`\n]*`/g), ([, name]) => name))

describe("the pages about middleware", () => {
  for (const page of ["../README.md", "../../../docs/middleware.md"]) {
    it(`${page} has every module`, () => {
      const names = shown(read(page))
      const missing = [...modules("../src"), ...modules("../src/sinks")].filter((name) => !names.has(name))
      assert.deepStrictEqual(missing, [])
    })

    it(`${page} names no file that does not exist`, () => {
      const links = Array.from(
        read(page).matchAll(/\]\(((?:\.\.\/packages\/middleware\/)?src\/[\w/]+\.ts)\)/g),
        ([, path]) => path
      )
      assert.isAbove(links.length, 20)
      for (const link of links) read(new URL(link, new URL(page, import.meta.url)).href)
    })
  }
})
