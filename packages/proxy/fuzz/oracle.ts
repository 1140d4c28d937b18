/** What Node's own client makes of the same upstream bytes. */
import * as http from "node:http"
import type { ResponseCase } from "./cases.ts"
import { type Recorder, scripted } from "./rig.ts"
import { within } from "./wire.ts"

export type Verdict =
  | { readonly _tag: "Complete"; readonly status: number; readonly body: string; readonly untilClose: boolean }
  /** The bytes ended, or stopped coming, before the response did. */
  | { readonly _tag: "Truncated" }
  /** Node's parser does not take them. */
  | { readonly _tag: "Refused"; readonly code: string }

/** After this long nothing more is coming. Only what looks like a finding has to wait for it. */
const patience = 5000

/** What the proxy takes, so that no difference is one of limits. */
const maxHeaderSize = 65_536

const refusedOrTruncated = (error: Error): Verdict => {
  const code = "code" in error ? String(error.code) : error.name
  return code.startsWith("HPE_") ? { _tag: "Refused", code } : { _tag: "Truncated" }
}

const hasFraming = ({ headers, statusCode }: http.IncomingMessage, method: string): boolean =>
  "content-length" in headers || "transfer-encoding" in headers || method === "HEAD" ||
  statusCode === 204 || statusCode === 304

const collect = (response: http.IncomingMessage, method: string, done: (verdict: Verdict) => void): void => {
  let body = ""
  response.on("data", (chunk: Buffer) => {
    body += chunk.toString("latin1")
  })
  response.on("error", (error) => done(refusedOrTruncated(error)))
  response.on("close", () => done({ _tag: "Truncated" }))
  response.on("end", () => {
    if (!response.complete) return done({ _tag: "Truncated" })
    const untilClose = !hasFraming(response, method)
    done({ _tag: "Complete", status: response.statusCode ?? 0, body, untilClose })
  })
}

/**
 * Sends the request to the upstream without the proxy. A reset is played as an end in order: it may destroy bytes on their
 * way to one client and not to the other, so it can't be compared.
 */
export const judge = (upstream: Recorder, { ending, method, writes }: ResponseCase): Promise<Verdict> => {
  upstream.start({ writes, ending: ending === "open" ? "open" : "fin" })
  return new Promise((resolve) => {
    const request = http.request({
      port: upstream.port,
      host: "127.0.0.1",
      path: scripted,
      method,
      agent: false,
      maxHeaderSize,
      insecureHTTPParser: false
    })
    let over = false
    const done = (verdict: Verdict): void => {
      over = true
      clearTimeout(timer)
      request.destroy()
      resolve(verdict)
    }
    let timer = setTimeout(() => {}, 0)
    const wait = async (): Promise<void> => {
      await within(upstream.played, patience, undefined)
      if (over) return
      clearTimeout(timer)
      timer = setTimeout(() => done({ _tag: "Truncated" }), patience)
    }
    upstream.server.once("connection", (socket) => socket.once("data", () => void wait()))
    let received: http.IncomingMessage | undefined
    // What is wrong with the bytes after a complete response is no fault of the response.
    request.on("error", (error) => received?.complete === true || done(refusedOrTruncated(error)))
    request.on("upgrade", () => done({ _tag: "Refused", code: "UPGRADE" }))
    request.on("response", (response) => {
      received = response
      collect(response, method, done)
    })
    request.end()
  })
}
