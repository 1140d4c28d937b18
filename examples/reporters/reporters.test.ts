import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Report, Reporter } from "@sluice/core"
import { App, RawServer } from "@sluice/core/testing"
import { Console, Effect, Stream } from "effect"
import { FetchHttpClient } from "effect/http"
import { ChildProcess } from "effect/process"
import { paths, Routes } from "./routes.ts"

/** Asks the service for everything it has. */
const ask = Effect.scoped(Effect.gen(function*() {
  const app = yield* App.make(Routes)
  for (const [i, path] of paths.entries()) {
    yield* app.text(path)
    yield* app.exchange(i)
  }
}))

/** What reporters have to be told of it: every 5xx, no 4xx, and the same under both orders of middleware. */
const expected = [
  "503 /outside/failing DatabaseDown",
  "500 /outside/dying TypeError",
  "502 /outside/explaining Error",
  "503 /inside/failing DatabaseDown",
  "500 /inside/dying TypeError",
  "502 /inside/explaining Error"
]

it.live("memory: every 5xx with its cause, no 4xx, whatever the order", () =>
  Effect.gen(function*() {
    yield* ask
    const memory = yield* Reporter.Memory
    const reports = yield* memory.reports
    assert.deepStrictEqual(
      reports.map(({ error, route, status }) => `${status} ${route} ${Report.name(error)}`),
      expected
    )
    const [failing, dying, explaining] = reports
    assert.deepInclude(failing.error, { cause: new Error("10.0.0.7 refused") })
    assert.isTrue(dying.unhandled)
    assert.deepStrictEqual(explaining.notes, { carrier: "snail" })
  }).pipe(Effect.provide(Reporter.layerMemory)))

it.live("console: the same, as lines and causes", () =>
  Effect.gen(function*() {
    const texts: Array<string> = []
    const console: Console.Console = { ...globalThis.console, error: (text: string) => void texts.push(text) }
    yield* Effect.provide(ask, Reporter.layerConsole).pipe(Effect.provideService(Console.Console, console))
    assert.deepStrictEqual(
      texts.map((text) => text.replace(/^\S+ Error (\d+) GET (\S+) (\w+): [^]*$/, "$1 $2 $3")),
      expected
    )
    assert.include(texts[0], "[cause]: Error: 10.0.0.7 refused")
    assert.include(texts[2], "Error: the carrier hung up")
  }))

it.live("webhook: the same, posted", () =>
  Effect.gen(function*() {
    const posted: Array<Report.Json> = []
    const collector = yield* RawServer.make(({ nextRequest, send }) =>
      Effect.forever(Effect.gen(function*() {
        const { text } = yield* nextRequest
        posted.push(...JSON.parse(text).reports)
        yield* send("HTTP/1.1 204 No Content\r\n\r\n")
      }))
    )
    yield* ask.pipe(
      // Leaving this, the reporter delivers what it has.
      Effect.provide(Reporter.layerHttp({ url: collector.url })),
      Effect.provide(FetchHttpClient.layer)
    )
    assert.deepStrictEqual(posted.map(({ errors, route, status }) => `${status} ${route} ${errors[0].name}`), expected)
    assert.strictEqual(posted[1].errors[0].message, "order.lines is not iterable")
    assert.deepStrictEqual(posted[2].notes, { carrier: "snail" })
  }))

for (
  const [reporter, shown] of [
    ["console", /GET \/inside\/explaining 502\n$/],
    ["webhook", /posted: 502 \/inside\/explaining Error: the carrier hung up\n$/],
    ["memory", /kept: 502 \/inside\/explaining Error\n$/]
  ] as const
) {
  it.live(`main.ts --reporter ${reporter} runs, and ends`, () =>
    Effect.gen(function*() {
      const program = yield* ChildProcess.make(process.execPath, ["main.ts", "--reporter", reporter], {
        cwd: import.meta.dirname
      })
      assert.match(yield* Stream.mkString(Stream.decodeText(program.stdout)), shown)
      assert.strictEqual(yield* program.exitCode, 0)
    }).pipe(Effect.provide(NodeServices.layer)))
}
