import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { RawClient, RawServer } from "@sluice/core/testing"
import { Deferred, Effect, Queue, RegExp as Patterns, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { readFileSync } from "node:fs"
import { join } from "node:path"

/** Older versions of Node warn about running TypeScript. */
const quietly = "--disable-warning=ExperimentalWarning"

const run = (port: string) =>
  ChildProcess.make(process.execPath, [quietly, "main.ts"], {
    cwd: import.meta.dirname,
    env: { PORT: port },
    extendEnv: true
  })

/** Runs the gateway on a free port until it has printed what there is to try. */
const start = Effect.gen(function*() {
  const program = yield* run("0")
  const lines = yield* program.stdout.pipe(
    Stream.decodeText,
    Stream.splitLines,
    Stream.toQueue({ capacity: "unbounded" })
  )
  const printed: Array<string> = []
  while (!printed.at(-1)?.endsWith("Ctrl-C")) printed.push(yield* Queue.take(lines))
  const [, url = ""] = /^listening on (\S+); try$/.exec(printed[0]) ?? []
  return {
    program,
    url,
    port: Number(new URL(url).port),
    commands: printed.filter((line) => line.startsWith("  curl ")).map((line) => line.trim()),
    log: lines
  }
})

/** What the README says of each command. */
const documented = [
  ...readFileSync(join(import.meta.dirname, "README.md"), "utf8").matchAll(/^```console\n\$ (.*)\n([^]*?)\n```$/gm)
].map(([, command, shown]) => ({ command, shown: shown.split("\n") }))

/** Does what curl does, and returns what it shows. */
const curl = Effect.fnUntraced(function*(command: string) {
  const [, ...words] = [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain)
  const url = new URL(words.pop() ?? "")
  const fields = [`Host: ${url.host}`]
  let method = "GET"
  let body = ""
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === "-X") method = words.shift() ?? ""
    else if (word === "-H") fields.push(words.shift() ?? "")
    else if (word === "-d") {
      method = "POST"
      body = words.shift() ?? ""
      fields.push(`Content-Length: ${body.length}`)
    }
  }
  const client = yield* RawClient.connect(Number(url.port))
  yield* client.send(`${method} ${url.pathname} HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n${body}`)
  const response = yield* client.response()
  // What follows a switch of protocols has no end of its own.
  const text = response.status === 101 ? yield* client.read("coffee: 3") : response.text
  const head = Array.from({ length: response.fields.length / 2 }, (_, i) => response.fields.slice(2 * i, 2 * i + 2))
  return [response.startLine, ...head.map((field) => field.join(": ")), ...text.trimEnd().split("\n")]
}, Effect.scoped)

/** Whether the lines are among those shown, in this order; `…` stands for anything. */
const assertShown = (command: string, shown: ReadonlyArray<string>, lines: ReadonlyArray<string>) => {
  let from = 0
  for (const line of lines) {
    const pattern = new RegExp(`^${line.split("…").map(Patterns.escape).join("[^]*")}$`)
    const at = shown.findIndex((other, i) => i >= from && pattern.test(other))
    assert.notStrictEqual(at, -1, `${command}\nshows no line ${line}\nin\n${shown.join("\n")}`)
    from = at + 1
  }
}

/** A WebSocket client, and what it hears. */
const webSocket = Effect.fnUntraced(function*(url: string) {
  const socket = yield* Effect.acquireRelease(
    Effect.sync(() => new WebSocket(url)),
    (socket) => Effect.sync(() => socket.close())
  )
  const messages = yield* Queue.unbounded<unknown>()
  const closed = yield* Deferred.make<number>()
  socket.addEventListener("message", ({ data }) => Queue.offerUnsafe(messages, data))
  socket.addEventListener("close", ({ code }) => Deferred.doneUnsafe(closed, Effect.succeed(code)))
  return { socket, next: Queue.take(messages), closed: Deferred.await(closed) }
})

layer(NodeServices.layer, { excludeTestServices: true })("gateway", (it) => {
  it.effect("prints commands that show what the README says, also with an upstream stopped", () =>
    Effect.gen(function*() {
      const { commands, log, port, program } = yield* start
      const here = (text: string) => text.replaceAll("127.0.0.1:3000", `127.0.0.1:${port}`)
      assert.deepStrictEqual(commands, documented.map(({ command }) => here(command)))
      for (const { command, shown } of documented) {
        assertShown(command, yield* curl(here(command)), shown)
      }

      process.kill(program.pid, "SIGINT")
      assert.strictEqual(yield* program.exitCode, 0)
      const logged = (yield* Queue.collect(log)).join("\n")
      for (
        const entry of [
          /INFO .* GET \/quote\/tea 200 Completed/,
          /INFO .* GET \/quote\/gold 404 Completed/,
          /ERROR .* GET \/quote\/cocoa 500 Failed/,
          /ERROR .* GET \/slow 503 TimedOut/,
          /\/slow was stopped: DeadlineExceeded/,
          /INFO .* GET \/orders\/events 200 Completed/,
          /INFO .* GET \/stock\/live 101/,
          /INFO .* DELETE \/quote\/tea 405 Completed/,
          /ERROR .* GET \/stock\/tea 502 Failed/
        ]
      ) assert.match(logged, entry)

      const reported = yield* Stream.mkString(Stream.decodeText(program.stderr))
      assert.deepStrictEqual(reported.match(/(?<= (?:Error|Warn) )\d{3} \S+ \S+/g), [
        "500 GET /quote/:sku",
        "503 GET /slow",
        "502 GET /stock/*"
      ])
      assert.include(reported, "line 7 of prices.csv has two commas")
    }))

  it.effect("relays a WebSocket both ways, and says goodbye on it when it is told to stop", () =>
    Effect.gen(function*() {
      const { program, url } = yield* start
      const { closed, next, socket } = yield* webSocket(`${url.replace("http", "ws")}/stock/live`)
      assert.strictEqual(yield* next, "tea: 12")
      assert.strictEqual(yield* next, "coffee: 3")
      socket.send("coffee")
      assert.strictEqual(yield* next, "coffee: 3")
      socket.send("gold")
      assert.strictEqual(yield* next, "gold: 0")

      process.kill(program.pid, "SIGINT")
      assert.strictEqual(yield* closed, 1001)
      assert.strictEqual(yield* program.exitCode, 0)
    }))

  it.effect("says in one line why it does not start", () =>
    Effect.gen(function*() {
      const { port } = yield* RawServer.make(() => Effect.void)
      for (
        const [value, why] of [
          [String(port), `error: cannot listen on 127.0.0.1:${port}: something is listening there already\n`],
          ["http", /^error: .*\["PORT"\]\)\n$/]
        ] as const
      ) {
        const program = yield* run(value)
        const said = yield* Stream.mkString(Stream.decodeText(program.stderr))
        if (typeof why === "string") assert.strictEqual(said, why)
        else assert.match(said, why)
        assert.strictEqual(yield* program.exitCode, 1)
      }
    }))
})
