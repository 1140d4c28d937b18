import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { ChildProcess } from "effect/process"

/** Runs main.ts on a free port. */
const start = Effect.gen(function*() {
  const program = yield* ChildProcess.make(process.execPath, ["main.ts"], {
    cwd: import.meta.dirname,
    env: { PORT: "0" },
    extendEnv: true
  })
  const [line = ""] = yield* program.stdout.pipe(
    Stream.decodeText,
    Stream.splitLines,
    Stream.take(1),
    Stream.runCollect
  )
  return { program, line, url: line.replace("listening on ", "") }
})

layer(NodeServices.layer, { excludeTestServices: true })("hello", (it) => {
  it.effect("says where it listens, says hello, and stops on SIGTERM", () =>
    Effect.gen(function*() {
      const { line, program, url } = yield* start
      assert.match(line, /^listening on http:\/\/127\.0\.0\.1:\d+$/)
      const response = yield* Effect.promise(() => fetch(url))
      assert.strictEqual(response.status, 200)
      assert.strictEqual(yield* Effect.promise(() => response.text()), "hello\n")

      process.kill(program.pid, "SIGTERM")
      assert.strictEqual(yield* program.exitCode, 0)
    }))

  it.effect("answers a path and a method that it does not have", () =>
    Effect.gen(function*() {
      const { url } = yield* start
      const missing = yield* Effect.promise(() => fetch(`${url}/nothing`))
      assert.strictEqual(missing.status, 404)
      assert.strictEqual(missing.headers.get("content-type"), "application/problem+json")
      const wrong = yield* Effect.promise(() => fetch(url, { method: "DELETE" }))
      assert.strictEqual(wrong.status, 405)
      assert.strictEqual(wrong.headers.get("allow"), "GET, HEAD, OPTIONS")
    }))
})
