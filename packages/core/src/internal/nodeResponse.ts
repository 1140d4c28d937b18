import * as Cause from "effect/Cause"
import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from "node:http"
import type * as Fields from "../Fields.ts"
import { fromFields, fromNodeResponse, type HeadEdit } from "../ResponseHead.ts"
import type { ExchangeState } from "./exchangeState.ts"
import { runEdits } from "./headEdits.ts"

type HeadersInput = OutgoingHttpHeaders | ReadonlyArray<OutgoingHttpHeader> | undefined

/** The arguments of `writeHead`, whose reason phrase may be left out. */
export type WriteHeadArgs = [status: number, reason?: string | HeadersInput, headers?: HeadersInput]

/** A method whose overloads only differ in which arguments may be left out. */
export type Overloaded = (this: unknown, ...args: ReadonlyArray<unknown>) => unknown

/** `writeHead` of a response that is observed: applies the head edits and records what goes out. */
export const writeHead = (
  response: ServerResponse,
  exchange: ExchangeState,
  original: Overloaded,
  args: WriteHeadArgs
): void => {
  const [status] = args
  const reason = typeof args[1] === "string" ? args[1] : undefined
  let headers = typeof args[1] === "string" ? args[2] : args[1] ?? args[2]
  try {
    const edits = exchange.headEdits
    if (edits !== undefined && !exchange.committed) headers = applyEdits(response, status, headers, edits)
    original.call(response, status, reason, headers)
  } catch (error) {
    // The fallback response must not meet the same edit again.
    exchange.headEdits = undefined
    forgetHead(response)
    exchange.failed(Cause.die(error), 500)
    throw error
  }
  exchange.headWritten(status, () => headers === undefined ? setFields(response) : flatten(headers))
}

/** What Node has kept of a head that it refused (reason phrase, body or none, framing) must not shape the fallback's. */
const forgetHead = (response: ServerResponse): void => {
  response.statusMessage = ""
  Object.assign(response, { _hasBody: response.req.method !== "HEAD", _contentLength: null, chunkedEncoding: false })
}

const applyEdits = (
  response: ServerResponse,
  status: number,
  headers: HeadersInput,
  edits: ReadonlyArray<HeadEdit>
): HeadersInput => {
  if (response.getHeaderNames().length === 0) {
    const fields = flatten(headers)
    runEdits(edits, fromFields(status, fields))
    return fields
  }
  const fields = flatten(headers)
  for (let i = 0; i < fields.length; i += 2) response.setHeader(fields[i], fields[i + 1])
  runEdits(edits, fromNodeResponse(status, response))
  return undefined
}

const flatten = (headers: HeadersInput): Array<string> => {
  const out: Array<string> = []
  if (headers === undefined) return out
  if (Array.isArray(headers)) {
    for (const item of headers) out.push(String(item))
    return out
  }
  // Sound: what is no array is a record; the check for arrays does not see readonly ones.
  const record = headers as OutgoingHttpHeaders
  for (const name of Object.keys(record)) pushValues(out, name, record[name])
  return out
}

const pushValues = (out: Array<string>, name: string, value: OutgoingHttpHeader | undefined): void => {
  if (value === undefined) return
  if (Array.isArray(value)) { for (const one of value) out.push(name, one) }
  else out.push(name, String(value))
}

const setFields = (response: ServerResponse): Fields.Fields => {
  const out: Array<string> = []
  for (const name of response.getHeaderNames()) pushValues(out, name, response.getHeader(name))
  return out
}

/** Counts a chunk that the response took. `_hasBody` is Node's own word on HEAD, 204 and 304. */
export const countBytes = (
  response: ServerResponse,
  exchange: ExchangeState,
  chunk: unknown,
  encoding: unknown
): void => {
  if (chunk === undefined || chunk === null || typeof chunk === "function") return
  if (!(response as unknown as { readonly _hasBody: boolean })._hasBody) return
  exchange.bytesOut += typeof chunk === "string"
    ? Buffer.byteLength(chunk, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8")
    : (chunk as Uint8Array).byteLength
}

/** Node's own: the head that it has made, and what that says of the body. */
interface Made {
  readonly _header: string | null
  readonly _headerSent: boolean
  readonly _hasBody: boolean
  readonly _contentLength: number | null
  readonly chunkedEncoding: boolean
}

/** Up to here a copy costs less than a second piece, which the system has to gather. */
const longestCopy = 4096

/**
 * The whole body of a response whose head is made and not sent yet, when it is as long as the head says: its bytes as
 * characters, which Node sends in one piece with the head.
 */
export const onlyPiece = (response: ServerResponse, chunk: unknown): string | undefined => {
  const { _contentLength: declared, _hasBody, _header, _headerSent, chunkedEncoding } = response as unknown as Made
  if (_header === null || _headerSent || declared === null || declared === 0 || !_hasBody || chunkedEncoding) {
    return undefined
  }
  if (response.destroyed || response.writableEnded) return undefined
  if (typeof chunk === "string") {
    if (Buffer.byteLength(chunk) !== declared) return undefined
    if (chunk.length === declared) return chunk
    return declared <= longestCopy ? Buffer.from(chunk).toString("latin1") : undefined
  }
  if (!(chunk instanceof Uint8Array) || chunk.byteLength !== declared || declared > longestCopy) return undefined
  return Buffer.from(chunk.buffer, chunk.byteOffset, declared).toString("latin1")
}

/** Observes a response that somebody else's server made (Express, Effect's own server). */
export const observeResponse = (response: ServerResponse, exchange: ExchangeState): void => {
  const { end, write, writeHead: head } = response
  // Sound: each replacement passes its arguments on unchanged.
  response.writeHead = (...args: WriteHeadArgs) => {
    writeHead(response, exchange, head as Overloaded, args)
    return response
  }
  response.write = ((...args: Parameters<ServerResponse["write"]>) => {
    const taken = write.apply(response, args)
    countBytes(response, exchange, args[0], args[1])
    return taken
  }) as ServerResponse["write"]
  response.end = ((...args: Parameters<ServerResponse["end"]>) => {
    const ended = end.apply(response, args)
    countBytes(response, exchange, args[0], args[1])
    return ended
  }) as ServerResponse["end"]
  exchange.carrier = response
  exchange.wire = true
  response.once("close", () => exchange.end(response.writableFinished))
}
