/** The program as a user starts it, and everything that its README shows. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { RawClient } from "@sluice/core/testing"
import { Effect, RegExp as Patterns, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { command, start } from "../program.ts"

const folder = join(import.meta.dirname, "..")
const hasCurl = spawnSync("curl", ["--version"]).error === undefined

/** What the README says of each command. */
const documented = [
  ...readFileSync(join(folder, "README.md"), "utf8").matchAll(/^```console\n\$ (.*)\n([^]*?)\n```$/gm)
].map(([, command, shown]) => ({ command, shown: shown.split("\n") }))

/** Whether the lines are among those shown, in this order; `…` stands for anything. */
const assertShown = (command: string, shown: ReadonlyArray<string>, lines: ReadonlyArray<string>) => {
  let from = 0
  for (const line of lines) {
    const pattern = new RegExp(`^${line.split("…").map(Patterns.escape).join(".*")}$`)
    const at = shown.findIndex((other, i) => i >= from && pattern.test(other))
    assert.notStrictEqual(at, -1, `${command}\nshows no line ${line}\nin\n${shown.join("\n")}`)
    from = at + 1
  }
}

const stop = ({ program }: { readonly program: { readonly pid: number } }) =>
  Effect.sync(() => process.kill(program.pid, "SIGTERM"))

layer(NodeServices.layer, { excludeTestServices: true })("main.ts", (it) => {
  it.effect.skipIf(!hasCurl)(
    "the commands that it prints show what the README says (needs curl)",
    () =>
      Effect.gen(function*() {
        const service = yield* start([])
        const here = (text: string) => text.replaceAll("http://127.0.0.1:3000", service.url)
        assert.deepStrictEqual(service.commands, documented.map(({ command }) => here(command)))
        for (const { command, shown } of documented) {
          const curl = ChildProcess.make("sh", ["-c", here(command).replace("curl ", "curl --silent ")], {
            env: service.tokens,
            extendEnv: true
          })
          const child = yield* curl
          const text = yield* Stream.mkString(Stream.decodeText(child.stdout))
          assertShown(command, text.split(/\r?\n/), shown)
        }

        yield* stop(service)
        assert.strictEqual(yield* service.program.exitCode, 0)
        assert.strictEqual(yield* Stream.mkString(Stream.decodeText(service.program.stderr)), "")
      })
  )

  it.effect("ends its event streams and itself when it is told to, and finds its orders again", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "service-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
      )
      const database = ["--database", join(folder, "orders.sqlite")]
      const first = yield* start(database)
      const authorization = `Bearer ${first.tokens.ANN}`
      const placed = yield* Effect.promise(() =>
        fetch(`${first.url}/orders`, {
          method: "POST",
          headers: { authorization, "content-type": "application/json" },
          body: JSON.stringify({ sku: "tea", quantity: 1 })
        })
      )
      assert.strictEqual(placed.status, 201)
      const stream = yield* RawClient.connect(Number(new URL(first.url).port))
      yield* stream.send(
        `GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: ${authorization}\r\nLast-Event-ID: 0\r\n\r\n`
      )
      yield* stream.read("\"placed\"}\n\n")
      yield* stop(first)
      assert.match((yield* stream.ended).unread, /0\r\n\r\n$/)
      assert.strictEqual(yield* first.program.exitCode, 0)

      const second = yield* start(database)
      const found = yield* Effect.promise(() =>
        fetch(`${second.url}/orders/1`, { headers: { authorization: `Bearer ${second.tokens.BEN}` } })
      )
      assert.strictEqual(found.status, 200)
    }))

  it.effect("says in one line why it does not start", () =>
    Effect.gen(function*() {
      for (
        const [options, why] of [
          [["--port", "http"], /^error: --port http: not a number from 0 to 65535 \(usage: .*\)\n$/],
          [["--origin", "app.example.com"], /^error: --origin app.example.com: not an origin such as .*\n$/],
          [["--ports", "1"], /^error: Unknown option '--ports'.*\n$/]
        ] as const
      ) {
        const program = yield* command(options)
        assert.match(yield* Stream.mkString(Stream.decodeText(program.stderr)), why)
        assert.strictEqual(yield* program.exitCode, 2)
      }
    }))
})
