import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { gunzipSync } from "node:zlib"

/** A request that a collector was sent. */
export interface Received {
  readonly method: string
  readonly path: string
  readonly headers: Http.IncomingHttpHeaders
  readonly body: string
}

export interface Collector {
  readonly url: string
  readonly port: number
  readonly received: ReadonlyArray<Received>
  /** Waits until so many requests have come. */
  readonly take: (count: number) => Effect.Effect<ReadonlyArray<Received>>
}

const textOf = (chunks: ReadonlyArray<Buffer>, encoding: string | undefined): string => {
  const bytes = Buffer.concat(chunks)
  return (encoding === "gzip" ? gunzipSync(bytes) : bytes).toString()
}

/** A service that takes what it is sent; `answer` may answer in its own way, or never. */
export const collector = (
  answer: (response: Http.ServerResponse, received: Received) => void = (response) => response.end("{}")
): Effect.Effect<Collector, never, Scope.Scope> =>
  Effect.gen(function*() {
    const received: Array<Received> = []
    const waiting = new Set<() => void>()
    const server = Http.createServer((request, response) => {
      const chunks: Array<Buffer> = []
      request.on("data", (chunk: Buffer) => chunks.push(chunk))
      request.on("end", () => {
        const { headers, method = "", url = "" } = request
        const one = { method, path: url, headers, body: textOf(chunks, headers["content-encoding"]) }
        received.push(one)
        answer(response, one)
        for (const check of waiting) check()
      })
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    // Sound: it listens on a port.
    const { port } = server.address() as AddressInfo
    return {
      url: `http://127.0.0.1:${port}`,
      port,
      received,
      take: (count) =>
        Effect.callback((resume) => {
          const check = () => {
            if (received.length < count) return
            waiting.delete(check)
            resume(Effect.succeed(received.slice(0, count)))
          }
          waiting.add(check)
          check()
          return Effect.sync(() => void waiting.delete(check))
        })
    }
  })
