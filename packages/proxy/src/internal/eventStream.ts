import * as DirectResponse from "@sluice/core/DirectResponse"
import type * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type * as ProxyError from "../ProxyError.ts"
import type { BodyConsumer, BodyControl, ResponseBody } from "../Transport.ts"

/** Whether a response is a stream of events that can be read: an encoded one can't be ended between two of them. */
export const isEventStream = (status: number, fields: Fields.Fields, body: ResponseBody): boolean =>
  status === 200 && body.length === undefined && !Fields.has(fields, "content-encoding") &&
  /^text\/event-stream\s*(;|$)/i.test(Fields.get(fields, "content-type") ?? "")

/** The events, until the server drains: then they end, as if the upstream had ended them, behind the current one. */
export const untilDrained = (body: ResponseBody, exchange: Exchange.Exchange): ResponseBody => ({
  length: body.length,
  consume: (consumer) => {
    const events = new Events(consumer)
    const control = body.consume(events)
    events.control = control
    DirectResponse.onDrain(exchange, events.drain)
    return control
  }
})

class Events implements BodyConsumer {
  control: BodyControl | undefined
  private readonly consumer: BodyConsumer
  /** The last three bytes, as many as it takes to see a blank line: the latest is the lowest. */
  private tail = lineFeeds
  private draining = false
  private ended = false

  constructor(consumer: BodyConsumer) {
    this.consumer = consumer
  }

  readonly drain = (): void => {
    this.draining = true
    if (isBlankLine(this.tail)) this.end()
  }

  onData(chunk: Uint8Array, release: () => void): boolean {
    if (!this.draining) {
      for (let at = Math.max(0, chunk.length - 3); at < chunk.length; at++) this.tail = pushed(this.tail, chunk[at])
      return this.consumer.onData(chunk, release)
    }
    const end = this.endOfEvent(chunk)
    if (end === -1) return this.consumer.onData(chunk, release)
    this.consumer.onData(chunk.subarray(0, end), release)
    this.end()
    return false
  }

  /** Where the first blank line of a chunk ends, or -1. */
  private endOfEvent(chunk: Uint8Array): number {
    for (let at = 0; at < chunk.length; at++) {
      this.tail = pushed(this.tail, chunk[at])
      if (isBlankLine(this.tail)) return chunk[at] === CR && chunk[at + 1] === LF ? at + 2 : at + 1
    }
    return -1
  }

  private end(): void {
    if (this.ended) return
    this.ended = true
    this.control?.cancel()
    this.consumer.onEnd([])
  }

  onEnd(trailers: Fields.Fields): void {
    if (this.ended) return
    this.ended = true
    this.consumer.onEnd(trailers)
  }

  onError(error: ProxyError.Committed): void {
    if (this.ended) return
    this.ended = true
    this.consumer.onError(error)
  }
}

const CR = 13
const LF = 10

/** Before its first byte a stream is between two events. */
const lineFeeds = (LF << 8) | LF

const pushed = (tail: number, byte: number): number => ((tail << 8) | byte) & 0xffffff

/** Whether the last line is blank: lines end with CR LF, LF or CR. */
const isBlankLine = (tail: number): boolean => {
  const last = tail & 0xff
  if (last !== LF && last !== CR) return false
  const beforeLast = (tail >> 8) & 0xff
  const before = last === LF && beforeLast === CR ? tail >> 16 : beforeLast
  return before === LF || before === CR
}
