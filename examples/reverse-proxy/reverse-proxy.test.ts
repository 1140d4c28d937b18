import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { RawClient, RawServer } from "@sluice/core/testing"
import { Effect, Queue, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"

/** Older versions of Node warn about running TypeScript. */
const quietly = "--disable-warning=ExperimentalWarning"

const run = (...args: ReadonlyArray<string>) =>
  ChildProcess.make(process.execPath, [quietly, "main.ts", ...args], { cwd: import.meta.dirname })

/** Runs the proxy on a free port. */
const start = Effect.fnUntraced(function*(to: string) {
  const program = yield* run("--to", to, "--port", "0")
  const lines = yield* program.stdout.pipe(Stream.decodeText, Stream.splitLines, Stream.toQueue({ capacity: 100 }))
  const [, url = "", port = ""] = /^listening on (http:\/\/127\.0\.0\.1:(\d+))$/.exec(yield* Queue.take(lines)) ?? []
  return { program, url, port: Number(port) }
})

/** Runs the proxy to its end. */
const outcome = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const program = yield* run(...args)
  const [stdout, stderr, code] = yield* Effect.all([
    Stream.mkString(Stream.decodeText(program.stdout)),
    Stream.mkString(Stream.decodeText(program.stderr)),
    program.exitCode
  ], { concurrency: "unbounded" })
  return { stdout, stderr, code }
})

/** Answers with the request's start line and body. */
const echo = RawServer.make(({ nextRequest, send }) =>
  Effect.forever(Effect.gen(function*() {
    const { startLine, text } = yield* nextRequest
    const body = `${startLine}\n${text}`
    yield* send(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  }))
)

/** Connects again and again until nobody listens any more. One that is caught in between is reset. */
const refused = (port: number): Effect.Effect<void> =>
  Effect.scoped(RawClient.connect(port)).pipe(
    Effect.matchEffect({
      onFailure: ({ code }) => code === "ECONNREFUSED" ? Effect.void : refused(port),
      onSuccess: () => refused(port)
    })
  )

layer(NodeServices.layer, { excludeTestServices: true })("reverse-proxy", (it) => {
  it.effect("relays any method, path, query and body", () =>
    Effect.gen(function*() {
      const upstream = yield* echo
      const { port } = yield* start(`${upstream.url}/base`)
      const client = yield* RawClient.connect(port)
      const request = (head: string, body = "") =>
        Effect.map(
          client.request(`${head} HTTP/1.1\r\nHost: test\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
          (response) => response.text
        )
      assert.strictEqual(yield* request("GET /"), "GET /base/ HTTP/1.1\n")
      assert.strictEqual(yield* request("GET /a%2Fb//c?x=%20&x"), "GET /base/a%2Fb//c?x=%20&x HTTP/1.1\n")
      assert.strictEqual(yield* request("POST /orders", "two of them"), "POST /base/orders HTTP/1.1\ntwo of them")
      assert.strictEqual(yield* request("PROPFIND /readyz"), "PROPFIND /base/readyz HTTP/1.1\n")
    }))

  it.effect("answers 502 while nothing listens at the target", () =>
    Effect.gen(function*() {
      const { url: gone } = yield* Effect.scoped(echo)
      const { url } = yield* start(gone)
      const response = yield* Effect.promise(() => fetch(url))
      assert.strictEqual(response.status, 502)
      assert.match(response.headers.get("proxy-status") ?? "", /connection_refused/)
    }))

  it.effect("finishes the request in flight when SIGTERM comes, and exits with 0", () =>
    Effect.gen(function*() {
      const upstream = yield* RawServer.make(() => Effect.void)
      const { port, program } = yield* start(upstream.url)
      const client = yield* RawClient.connect(port)
      yield* client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
      const connection = yield* upstream.nextConnection
      yield* connection.nextRequest

      process.kill(program.pid, "SIGTERM")
      yield* refused(port)

      yield* connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
      const response = yield* client.response()
      assert.strictEqual(response.text, "done")
      assert.isTrue(response.complete)
      assert.strictEqual(response.get("connection"), "close")
      assert.strictEqual(yield* program.exitCode, 0)
      assert.strictEqual((yield* connection.ended).unread, "")
    }))

  for (
    const [why, args] of [
      ["--to is missing", ["--port", "0"]],
      ["--port is missing", ["--to", "http://127.0.0.1"]],
      ["--to orders: Invalid URL", ["--to", "orders", "--port", "0"]],
      ["--to ftp://a/: An upstream URL is http: or https:, got ftp:", ["--to", "ftp://a/", "--port", "0"]],
      ["--port 70000: not a number from 0 to 65535", ["--to", "http://127.0.0.1", "--port", "70000"]],
      ["Unknown option '--from'", ["--from", "http://127.0.0.1"]]
    ] as const
  ) {
    it.effect(`refuses ${args.join(" ")}`, () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* outcome(...args)
        assert.strictEqual(stderr, `error: ${why} (usage: node main.ts --to URL --port N, where 0 is any port)\n`)
        assert.strictEqual(stdout, "")
        assert.strictEqual(code, 2)
      }))
  }

  it.effect("says that a port is taken", () =>
    Effect.gen(function*() {
      const { port, url } = yield* echo
      assert.deepStrictEqual(yield* outcome("--to", url, "--port", String(port)), {
        stderr: `error: cannot listen on 127.0.0.1:${port}: something is listening there already\n`,
        stdout: "",
        code: ChildProcessSpawner.ExitCode(1)
      })
    }))
})
