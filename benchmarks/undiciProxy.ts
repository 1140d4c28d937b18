import type * as Http from "node:http"
import { type Dispatcher, Pool } from "undici"

/** What is for one hop alone (RFC 9110, 7.6.1). */
const hopByHop: ReadonlySet<string> = new Set([
  "connection",
  "expect",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

/** The proxy that one writes by hand: `node:http` in front of undici's `dispatch`. */
export const undiciProxy = (to: string, options: Pool.Options): Http.RequestListener => {
  const pool = new Pool(to, options)
  return (request, response) => {
    const bodiless = request.headers["content-length"] === undefined
      && request.headers["transfer-encoding"] === undefined
    pool.dispatch({
      path: request.url ?? "/",
      // Sound: undici takes any method.
      method: request.method as Dispatcher.HttpMethod,
      headers: requestHeaders(request),
      body: bodiless ? null : request
    }, new Relay(response))
  }
}

const requestHeaders = ({ rawHeaders, socket }: Http.IncomingMessage): Array<string> => {
  const headers: Array<string> = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i].toLowerCase()
    if (name === "host" || hopByHop.has(name)) continue
    headers.push(rawHeaders[i], rawHeaders[i + 1])
  }
  headers.push("X-Forwarded-For", socket.remoteAddress ?? "", "Via", "1.1 undici")
  return headers
}

class Relay implements Dispatcher.DispatchHandler {
  private readonly response: Http.ServerResponse
  private controller: Dispatcher.DispatchController | undefined

  constructor(response: Http.ServerResponse) {
    this.response = response
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller
    this.response.once("close", () => {
      if (!this.response.writableFinished) controller.abort(new Error("the client left"))
    })
  }

  onResponseStart(
    _: Dispatcher.DispatchController,
    status: number,
    received: Http.IncomingHttpHeaders,
    reason?: string
  ): void {
    if (status < 200) return
    const headers: Http.OutgoingHttpHeaders = {}
    for (const name in received) if (!hopByHop.has(name)) headers[name] = received[name]
    headers.via = "1.1 undici"
    this.response.writeHead(status, reason, headers)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.response.write(chunk)) return
    controller.pause()
    this.response.once("drain", () => this.controller?.resume())
  }

  onResponseEnd(): void {
    this.response.end()
  }

  onResponseError(): void {
    if (this.response.headersSent) this.response.destroy()
    else this.response.writeHead(502).end()
  }
}
