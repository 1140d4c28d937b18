import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: [
      "packages/*/test/**/*.test.ts",
      "examples/*/*.test.ts",
      "examples/*/test/*.test.ts",
      "scripts/**/*.test.ts"
    ],
    // Vitest leaves a core free, which with two of them is every second one.
    maxWorkers: "100%",
    testTimeout: 15_000,
    hookTimeout: 15_000
  }
})
