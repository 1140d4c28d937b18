import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { App, RawClient, RawServer } from "@sluice/core/testing"
import { Effect, Layer, Queue, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { Archive, Journal, Routes } from "./routes.ts"

/** The proxy in front of an upstream that accepts connections and does nothing. */
const proxy = Effect.gen(function*() {
  const upstream = yield* RawServer.make(() => Effect.void)
  const endings = yield* Queue.unbounded<string>()
  const services = yield* Layer.build(Layer.merge(
    Archive.layer({ targets: [upstream.url] }),
    Layer.succeed(Journal)({ write: (path, ending) => Queue.offer(endings, `${path} ${ending}`) })
  ))
  const app = yield* Effect.provideContext(App.listen(Routes), services)
  return { app, upstream, ending: Queue.take(endings) }
})

for (
  const { ending, outcome, path, status } of [
    { path: "/refuse", status: 451, ending: "failed: Embargoed: Not yet", outcome: { _tag: "Completed" } },
    { path: "/answer", status: 200, ending: "answered", outcome: { _tag: "Completed" } },
    {
      path: "/cancel",
      status: 503,
      ending: "cancelled: UserCancelled, nobody needs it",
      outcome: { _tag: "Cancelled", reason: "nobody needs it" }
    }
  ] as const
) {
  it.live(`${path} never reaches the upstream`, () =>
    Effect.gen(function*() {
      const { app, ending: ended, upstream } = yield* proxy
      const response = yield* app.fetch(path)
      assert.strictEqual(response.status, status)
      assert.strictEqual(yield* ended, `${path} ${ending}`)
      assert.deepStrictEqual((yield* app.exchange(0)).outcome, outcome)
      assert.strictEqual(yield* upstream.accepted, 0)
    }))
}

it.live("a client that leaves closes the connection to the upstream", () =>
  Effect.gen(function*() {
    const { app, ending, upstream } = yield* proxy
    const client = yield* RawClient.connect(app.port)
    yield* client.send("GET /leave HTTP/1.1\r\nHost: test\r\n\r\n")
    const connection = yield* upstream.nextConnection
    assert.strictEqual((yield* connection.nextRequest).target, "/leave")

    yield* client.reset
    yield* connection.ended
    assert.strictEqual(yield* ending, "/leave cancelled: ClientAborted")
    assert.deepStrictEqual((yield* app.exchange(0)).outcome, { _tag: "ClientAborted", phase: "handler" })
    assert.strictEqual(yield* upstream.accepted, 1)
  }))

it.live("the program shows what the README says, and ends", () =>
  Effect.gen(function*() {
    const program = yield* ChildProcess.make(process.execPath, ["main.ts"], { cwd: import.meta.dirname })
    const readme = readFileSync(join(import.meta.dirname, "README.md"), "utf8")
    assert.strictEqual(
      yield* Stream.mkString(Stream.decodeText(program.stdout)),
      /```console\n([^]*?)```/.exec(readme)?.[1]
    )
    assert.strictEqual(yield* program.exitCode, 0)
  }).pipe(Effect.provide(NodeServices.layer)))
