import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: [
      "packages/*/test/**/*.test.ts",
      "examples/*/*.test.ts",
      "examples/*/test/*.test.ts",
      "scripts/**/*.test.ts"
    ],
    testTimeout: 15_000,
    hookTimeout: 15_000
  }
})
