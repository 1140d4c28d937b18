/** Builds every package to its `dist`, from nothing. */
import { rmSync } from "node:fs"
import { join } from "node:path"
import { finish, packages, root, run } from "./workspace.ts"
import type { Outcome } from "./workspace.ts"

export const build = (): Promise<Outcome> => {
  for (const folder of packages()) rmSync(join(root, folder, "dist"), { force: true, recursive: true })
  return run("tsc", ["-b", "--force", "tsconfig.build.json"])
}

if (import.meta.main) finish(await build())
