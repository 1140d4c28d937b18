import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { ServerResponse } from "node:http"
import type { Relay, ResponseHead } from "../Proxy.ts"
import type * as ProxyError from "../ProxyError.ts"
import type { BodyConsumer, BodyControl, ResponseBody, UpstreamResponse } from "../Transport.ts"
import { BodyReadable } from "./bodyReadable.ts"
import { patch } from "./prepare.ts"
import { bodyTimeout, totalTimeoutCause } from "./totalClock.ts"

type Response = HttpServerResponse.HttpServerResponse

/** Sends an upstream's response to the client: straight to its connection when nothing needs the value. */
export const relay = (
  response: UpstreamResponse,
  head: ResponseHead,
  changes: Relay,
  method: string,
  total: number | undefined
): Effect.Effect<Response, never, HttpServerRequest> => {
  const status = changes.status ?? head.status
  const fields = patch(head.fields, changes)
  return Effect.flatMap(DirectResponse.take, (direct) =>
    direct === undefined
      ? asValue(response, status, head.reason, fields, total)
      : Effect.callback<Response>((resume) => {
        const reason = status === head.status ? head.reason : ""
        const writer = new Writer(direct, response.body, method, () =>
          resume(Effect.succeed(DirectResponse.receipt(status))))
        writer.start(status, reason, fields, total)
        return Effect.sync(() =>
          writer.cancel()
        )
      }))
}

/** Moves a body to a Node response in the transport's own callbacks. */
class Writer implements BodyConsumer {
  private readonly direct: DirectResponse.DirectResponse
  private readonly node: ServerResponse
  private readonly body: ResponseBody
  private readonly done: () => void
  private remaining: number
  private control: BodyControl | undefined
  private cancelTimer: () => void = () => {}
  private readonly onDrain = (): void => this.control?.resume()

  constructor(direct: DirectResponse.DirectResponse, body: ResponseBody, method: string, done: () => void) {
    this.direct = direct
    this.node = direct.node
    this.body = body
    this.done = done
    this.remaining = method === "HEAD" ? 0 : body.length ?? Number.POSITIVE_INFINITY
  }

  start(status: number, reason: string, fields: Fields.Fields, total: number | undefined): void {
    // Sound: Node takes a flat array of names and values; it does not write to it.
    this.node.writeHead(status, reason, fields as Array<string>)
    if (this.body.length === undefined) this.node.flushHeaders()
    this.cancelTimer = bodyTimeout(total, () => {
      this.control?.cancel()
      this.direct.cutOff(totalTimeoutCause())
      this.done()
    })
    const control = this.body.consume(this)
    this.control = control
  }

  onData(chunk: Uint8Array, release: () => void): boolean {
    this.remaining -= chunk.length
    if (this.remaining === 0) {
      this.node.end(chunk, release)
      return true
    }
    if (this.node.write(chunk, release)) return true
    this.node.once("drain", this.onDrain)
    return false
  }

  onEnd(): void {
    this.cancelTimer()
    if (!this.node.writableEnded) this.node.end()
    this.done()
  }

  onError(error: ProxyError.Committed): void {
    this.cancelTimer()
    this.direct.cutOff(Cause.fail(error))
    this.done()
  }

  cancel(): void {
    this.cancelTimer()
    this.node.off("drain", this.onDrain)
    this.control?.cancel()
    if (!this.node.writableEnded) this.node.destroy()
  }
}

/** An ordinary response, whose body streams: for stacks that read or replace it. */
const asValue = (
  response: UpstreamResponse,
  status: number,
  reason: string,
  fields: Fields.Fields,
  total: number | undefined
): Effect.Effect<Response, never, HttpServerRequest> =>
  Effect.gen(function*() {
    const cutOff = yield* DirectResponse.noteCutOff
    yield* Exchange.editHead((head) => {
      for (const name of repeated(fields)) {
        head.remove(name)
        for (const value of Fields.getAll(fields, name)) head.append(name, value)
      }
    })
    const readable = new BodyReadable(response.body, (error) => cutOff(Cause.fail(error)))
    const cancelTimer = bodyTimeout(total, () => {
      cutOff(totalTimeoutCause())
      readable.destroy(new Error("the total clock ran out"))
    })
    readable.once("close", cancelTimer)
    const empty = response.body.length === 0
    const options = { status, statusText: reason, headers: Fields.toHeaders(fields) }
    if (empty) {
      readable.resume()
      return HttpServerResponse.empty(options)
    }
    return HttpServerResponse.raw(readable, options)
  })

/** The names that have more than one line, which a response's value can't hold. */
const repeated = (fields: Fields.Fields): ReadonlySet<string> => {
  const seen = new Set<string>()
  const out = new Set<string>()
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i].toLowerCase()
    if (seen.has(name)) out.add(name)
    seen.add(name)
  }
  return out
}
