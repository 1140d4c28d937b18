/**
 * curl and a browser, through the reverse-proxy example in a process of its own.
 *
 * `node benchmarks/realClients.ts`: prints a table of what was tried and what came of it. What is not installed is skipped and
 * said so; the browser is `CHROME_PATH`, or the first Chromium or Chrome found. Exits with 1 when anything failed.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { setTimeout } from "node:timers/promises"
import { reverseProxy, start } from "./programs.ts"

const gib = 2 ** 30
const zeros = Buffer.alloc(65_536)

// -- The upstream ------------------------------------------------------------------------------------------------------

/** What the upstream was told, and when the client of its endless response has left. */
const seen = { expectations: 0, lastEventIds: [] as Array<unknown> }
let left: () => void = () => {}
const hasLeft = new Promise<boolean>((resolve) => {
  left = () => resolve(true)
})
let result: (text: string) => void = () => {}
let acknowledged: () => void = () => {}

const page = `<!doctype html><script>
const seen = []
const source = new EventSource("/events")
source.onmessage = ({ data, lastEventId }) => {
  seen.push(lastEventId + " " + data)
  if (seen.length === 1) fetch("/acknowledge", { method: "POST" })
  if (seen.length < 3) return
  source.close()
  fetch("/result", { method: "POST", body: seen.join(", ") })
}
</script>`

const countBytes = (request: Http.IncomingMessage, done: (bytes: number) => void): void => {
  let bytes = 0
  request.on("data", (data: Buffer) => {
    bytes += data.length
  })
  request.on("end", () => done(bytes))
}

const cutOff = (response: Http.ServerResponse, fields: Http.OutgoingHttpHeaders): void => {
  response.writeHead(200, fields)
  response.write("part", () => response.destroy())
}

const paths: Readonly<Record<string, (request: Http.IncomingMessage, response: Http.ServerResponse) => void>> = {
  "/hello": (_, response) => response.end("hello\n"),
  "/echo": (request, response) => request.pipe(response),
  "/count": (request, response) => countBytes(request, (bytes) => response.end(String(bytes))),
  "/trailers": (_, response) => {
    response.writeHead(200, { trailer: "X-Sum" })
    response.write("body")
    response.addTrailers({ "X-Sum": "42" })
    response.end()
  },
  "/endless": (_, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write(zeros));
    }
    response.on("drain", more).on("close", () => left())
    more()
  },
  "/short": (_, response) => cutOff(response, { "content-length": 10 }),
  "/cut": (_, response) => cutOff(response, {}),
  "/page": (_, response) => response.setHeader("content-type", "text/html").end(page),
  // The first stream ends once the browser has said that it got the event: it must not have been held back.
  "/events": (request, response) => {
    seen.lastEventIds.push(request.headers["last-event-id"])
    const stream = seen.lastEventIds.length
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.write(`retry: 10\nid: ${stream}\ndata: first of ${stream}\n\n`)
    if (stream === 1) acknowledged = () => response.end("id: 1b\ndata: last of 1\n\n")
  },
  "/acknowledge": (_, response) => {
    response.end()
    acknowledged()
  },
  "/result": (request, response) => {
    let text = ""
    request.setEncoding("utf8").on("data", (data: string) => {
      text += data
    })
    request.on("end", () => {
      response.end()
      result(text)
    })
  }
}

const upstream = async (): Promise<Http.Server> => {
  const server = Http.createServer((request, response) => {
    request.on("error", () => {})
    response.on("error", () => {})
    const answer = paths[request.url ?? ""]
    if (answer === undefined) response.writeHead(404).end()
    else answer(request, response)
  })
  server.on("checkContinue", (request: Http.IncomingMessage, response: Http.ServerResponse) => {
    seen.expectations++
    response.writeContinue()
    server.emit("request", request, response)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return server
}

// -- curl --------------------------------------------------------------------------------------------------------------

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command; `input` is that many zeros on its standard input. */
const run = async (command: string, args: ReadonlyArray<string>, input = 0): Promise<Ran> => {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] })
  let stdout = ""
  let stderr = ""
  child.stdout.on("data", (data: Buffer) => {
    if (stdout.length < 100_000) stdout += data.toString("latin1")
  })
  child.stderr.on("data", (data: Buffer) => {
    stderr += data.toString("latin1")
  })
  child.stdin.on("error", () => {})
  let left = input
  const more = (): void => {
    while (left > 0) {
      left -= zeros.length
      if (!child.stdin.write(zeros)) return
    }
    child.stdin.end()
  }
  child.stdin.on("drain", more)
  more()
  const [code] = await once(child, "close")
  return { code: Number(code), stdout, stderr }
}

const installed = (command: string): boolean =>
  (process.env["PATH"] ?? "").split(Path.delimiter).some((folder) => Fs.existsSync(Path.join(folder, command)))

interface Trial {
  readonly name: string
  readonly args: (url: string) => ReadonlyArray<string>
  readonly input?: number
  /** curl's exit code. @default 0 */
  readonly code?: number
  readonly check?: (ran: Ran) => boolean | Promise<boolean>
}

const status = ["-w", "\n%{http_code} %{num_connects}"]
const large = Path.join(Os.tmpdir(), `sluice-${process.pid}.zeros`)

const trials: ReadonlyArray<Trial> = [
  {
    name: "HTTP/1.0",
    args: (url) => ["-0", ...status, `${url}/hello`],
    check: ({ stdout }) => stdout === "hello\n\n200 1"
  },
  {
    name: "HTTP/1.1, twice on one connection",
    args: (url) => ["--http1.1", ...status, `${url}/hello`, `${url}/hello`],
    check: ({ stdout }) => stdout === "hello\n\n200 1hello\n\n200 0"
  },
  { name: "HEAD", args: (url) => ["-I", `${url}/hello`], check: ({ stdout }) => stdout.startsWith("HTTP/1.1 200") },
  {
    name: "POST with Expect: 100-continue",
    args: (url) => ["-v", "-H", "Expect: 100-continue", "-d", "a body", `${url}/echo`],
    check: ({ stderr, stdout }) =>
      stdout === "a body" && stderr.includes("< HTTP/1.1 100 Continue") && seen.expectations === 1
  },
  {
    name: "trailers for a client that takes them",
    args: (url) => ["--raw", "-H", "TE: trailers", "-H", "Connection: TE", `${url}/trailers`],
    check: ({ stdout }) => stdout === "4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n"
  },
  {
    name: "no trailers for one that doesn't",
    args: (url) => ["--raw", `${url}/trailers`],
    check: ({ stdout }) => stdout === "4\r\nbody\r\n0\r\n\r\n"
  },
  {
    name: "1 GiB up, Content-Length",
    args: (url) => ["-T", large, `${url}/count`],
    check: ({ stdout }) => stdout === String(gib)
  },
  {
    name: "1 GiB up, chunked",
    args: (url) => ["-T", "-", `${url}/count`],
    input: gib,
    check: ({ stdout }) => stdout === String(gib)
  },
  {
    name: "an endless download that is given up",
    args: (url) => ["-o", "/dev/null", "--max-time", "1", `${url}/endless`],
    code: 28,
    check: () => Promise.race([hasLeft, setTimeout(5000, false, { ref: false })])
  },
  { name: "a body shorter than its Content-Length", args: (url) => [`${url}/short`], code: 18 },
  { name: "a chunked body that is cut off", args: (url) => [`${url}/cut`], code: 18 },
  { name: "a status that curl is to fail on", args: (url) => ["-f", `${url}/nothing`], code: 22 }
]

const tryCurl = async (url: string, { args, check, code = 0, input, name }: Trial): Promise<boolean> => {
  const ran = await run("curl", ["-sS", ...args(url)], input)
  const ok = ran.code === code && (check === undefined || await check(ran))
  line(ok ? "ok" : "FAILED", `curl: ${name}`, `exit code ${ran.code}`)
  if (!ok) console.log(`${ran.stdout.slice(0, 2000)}\n${ran.stderr.slice(0, 4000)}`)
  return ok
}

const line = (outcome: string, what: string, detail: string): void =>
  console.log(`${outcome.padEnd(8)}${what.padEnd(50)}${detail}`)

// -- A browser ---------------------------------------------------------------------------------------------------------

const findBrowser = (): string | undefined =>
  process.env["CHROME_PATH"] ??
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"].find(installed)

const patience = 30_000

const tryBrowser = async (url: string, browser: string): Promise<boolean> => {
  const profile = Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-browser-"))
  const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
  const child: ChildProcess = spawn(browser, [...flags, `--user-data-dir=${profile}`, `${url}/page`], {
    stdio: "ignore"
  })
  const closed = once(child, "close")
  const posted = new Promise<string>((resolve) => {
    result = resolve
  })
  const got = await Promise.race([posted, setTimeout(patience, "nothing in time", { ref: false })])
  child.kill()
  await closed
  Fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  const ok = got === "1 first of 1, 1b last of 1, 2 first of 2" && seen.lastEventIds.join() === ",1b"
  line(ok ? "ok" : "FAILED", "browser: EventSource, and back with Last-Event-ID", got)
  return ok
}

const main = async (): Promise<void> => {
  const origin = await upstream()
  // Sound: it listens on TCP.
  const { port } = origin.address() as AddressInfo
  const proxy = await start([reverseProxy, "--to", `http://127.0.0.1:${port}`, "--port", "0"])
  const url = `http://127.0.0.1:${proxy.port}`
  let failed = 0
  if (installed("curl")) {
    Fs.closeSync(Fs.openSync(large, "w"))
    Fs.truncateSync(large, gib)
    for (const trial of trials) failed += await tryCurl(url, trial) ? 0 : 1
    Fs.rmSync(large)
  } else line("skipped", "curl", "not installed")
  const browser = findBrowser()
  if (browser === undefined) {
    line("skipped", "browser", "neither Chromium nor Chrome is installed; CHROME_PATH is not set")
  } else failed += await tryBrowser(url, browser) ? 0 : 1
  proxy.process.kill()
  origin.close()
  origin.closeAllConnections()
  console.log(failed === 0 ? "all well" : `${failed} failed`)
  process.exitCode = failed === 0 ? 0 : 1
}

await main()
