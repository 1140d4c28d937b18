/**
 * Takes the framing off a response body: by length, chunked (RFC 9112, 7.1) or until the connection closes. Chunk
 * extensions are dropped; nothing is copied.
 */
import type * as Fields from "@sluice/core/Fields"
import * as ChunkExtension from "./chunkExtension.ts"
import { FieldParser, invalid, type Limits } from "./fieldParser.ts"
import type { Framing } from "./framing.ts"

/** What `next` found. */
export type Found = "more" | "data" | "end" | "invalidChunk" | "invalidTrailer"

export interface BodyReader {
  /** Of the data found. */
  readonly start: number
  readonly end: number
  /** Complete once the end was found. */
  readonly trailers: Fields.Fields
  /** Whether the closing of the connection ends the body. */
  readonly untilClose: boolean
  /** Reads on from `at`; the data found, if any, is `start` to `end`, and reading goes on from `at` of this reader. */
  next(view: Buffer, at: number): Found
  readonly at: number
  /** Whether at least this many bytes more complete the body for certain. */
  completes(bytes: number): boolean
}

export const make = (framing: Framing, limits: Limits): BodyReader => {
  if (framing.chunked) return new Chunked(limits)
  return new Sized(framing.length)
}

/** A body of known length, or one without end. */
class Sized implements BodyReader {
  start = 0
  end = 0
  at = 0
  readonly trailers: Fields.Fields = []
  readonly untilClose: boolean
  private left: number

  constructor(length: number | undefined) {
    this.untilClose = length === undefined
    this.left = length ?? Number.POSITIVE_INFINITY
  }

  next(view: Buffer, at: number): Found {
    this.at = at
    if (this.left === 0) return "end"
    if (at === view.length) return "more"
    this.start = at
    this.end = Math.min(view.length, at + this.left)
    this.left -= this.end - at
    this.at = this.end
    return "data"
  }

  completes(bytes: number): boolean {
    return bytes >= this.left
  }
}

const states = { size: 0, extension: 1, sizeLf: 2, data: 3, dataCr: 4, dataLf: 5, trailers: 6, done: 7 } as const
type State = (typeof states)[keyof typeof states]

const hexDigit = (code: number): number => {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const lower = code | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

/** Extensions are dropped, but not read for ever: this many bytes on one chunk at most. */
const longestExtension = 4096

/** Digits of a chunk size, leading zeros among them. */
const mostDigits = 16

class Chunked implements BodyReader {
  start = 0
  end = 0
  at = 0
  readonly untilClose = false
  private state: State = states.size
  private size = 0
  private digits = 0
  private extension: ChunkExtension.State = ChunkExtension.states.start
  private extensionBytes = 0
  private readonly parser: FieldParser

  constructor(limits: Limits) {
    this.parser = new FieldParser(limits, false)
  }

  get trailers(): Fields.Fields {
    return this.parser.fields.length === 0 ? this.parser.fields : allowed(this.parser.fields)
  }

  completes(): boolean {
    return false
  }

  next(view: Buffer, from: number): Found {
    this.at = from
    while (true) {
      if (this.state === states.done) return "end"
      if (this.at === view.length) return "more"
      if (this.state === states.data) return this.data(view)
      if (this.state === states.trailers) return this.trailerSection(view)
      if (!this.step(view[this.at])) return "invalidChunk"
      this.at += 1
    }
  }

  private data(view: Buffer): Found {
    this.start = this.at
    this.end = Math.min(view.length, this.at + this.size)
    this.size -= this.end - this.start
    this.at = this.end
    if (this.size === 0) this.state = states.dataCr
    return "data"
  }

  private trailerSection(view: Buffer): Found {
    const next = this.parser.parse(view, this.at)
    if (next === invalid) return "invalidTrailer"
    if (next < 0) {
      this.at = view.length
      return "more"
    }
    this.at = next
    this.state = states.done
    return "end"
  }

  /** One byte outside of data; `false` when it may not be there. */
  private step(byte: number): boolean {
    switch (this.state) {
      case states.size:
        return this.sizeByte(byte)
      case states.extension:
        return this.extensionByte(byte)
      case states.sizeLf:
        return byte === 0x0a && this.startChunk()
      case states.dataCr:
        this.state = states.dataLf
        return byte === 0x0d
      default:
        this.startSize()
        return byte === 0x0a
    }
  }

  private sizeByte(byte: number): boolean {
    const digit = hexDigit(byte)
    if (digit !== -1) {
      this.size = this.size * 16 + digit
      return ++this.digits <= mostDigits && this.size <= Number.MAX_SAFE_INTEGER
    }
    if (this.digits === 0) return false
    if (byte === 0x0d) this.state = states.sizeLf
    else if (byte === 0x3b) this.state = states.extension
    else return false
    return true
  }

  private extensionByte(byte: number): boolean {
    if (byte === 0x0d) {
      this.state = states.sizeLf
      return ChunkExtension.mayEnd(this.extension)
    }
    const next = ChunkExtension.next(this.extension, byte)
    if (next === undefined) return false
    this.extension = next
    return ++this.extensionBytes <= longestExtension
  }

  private startChunk(): boolean {
    this.state = this.size === 0 ? states.trailers : states.data
    return true
  }

  private startSize(): void {
    this.state = states.size
    this.size = 0
    this.digits = 0
    this.extension = ChunkExtension.states.start
    this.extensionBytes = 0
  }
}

/** Fields that a trailer section may not change after the fact: framing, routing, content, authentication (RFC 9110, 6.5.1). */
const forbidden: ReadonlySet<string> = new Set([
  "age",
  "authorization",
  "cache-control",
  "connection",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "date",
  "expires",
  "host",
  "keep-alive",
  "location",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "retry-after",
  "set-cookie",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "vary",
  "warning",
  "www-authenticate"
])

const allowed = (fields: Fields.Fields): Fields.Fields => {
  const out: Array<string> = []
  for (let i = 0; i < fields.length; i += 2) {
    if (!forbidden.has(fields[i].toLowerCase())) out.push(fields[i], fields[i + 1])
  }
  return out
}
