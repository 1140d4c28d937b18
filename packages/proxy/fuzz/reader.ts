/**
 * Reads messages by the letter of RFC 9112, independently of the parsers under test: the yardstick for what a client
 * legitimately sent, and for what the proxy may send to either side.
 */

/** The message is not whole yet. */
export const more = "more"
/** No reading of it is right. */
export const malformed = "malformed"

export interface Request {
  readonly method: string
  readonly target: string
  readonly body: string
}

export interface Response {
  readonly status: number
  readonly fields: ReadonlyArray<readonly [name: string, value: string]>
  readonly body: string
  /** Whether only the end of the connection ends it. */
  readonly untilClose: boolean
  /** Where the next one begins. */
  readonly end: number
}

type Fields = ReadonlyArray<readonly [name: string, value: string]>

interface Section {
  readonly lines: ReadonlyArray<string>
  readonly end: number
}

const field = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/
const requestLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP\/1\.([01])$/
/** A recipient may take more than one space between the words (RFC 9112, 3), as Node does. */
const looseRequestLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) +([\x21-\x7e\x80-\xff]+) +HTTP\/1\.([01])$/
const statusLine = /^HTTP\/1\.1 ([1-9]\d\d) [\t\x20-\x7e\x80-\xff]*$/
const chunkLine = /^([0-9a-fA-F]{1,13})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?$/

const section = (text: string, at: number): Section | typeof more => {
  const end = text.indexOf("\r\n\r\n", at)
  return end === -1 ? more : { lines: text.slice(at, end).split("\r\n"), end: end + 4 }
}

const readFields = (lines: ReadonlyArray<string>): Fields | typeof malformed => {
  const out: Array<readonly [string, string]> = []
  for (const line of lines) {
    const match = field.exec(line)
    if (match === null) return malformed
    out.push([match[1].toLowerCase(), match[2]])
  }
  return out
}

export const values = (fields: Fields, name: string): ReadonlyArray<string> =>
  fields.flatMap(([one, value]) => one === name ? [value] : [])

type Framing = "chunked" | "none" | number

const framingOf = (fields: Fields): Framing | typeof malformed => {
  const codings = values(fields, "transfer-encoding")
  const lengths = values(fields, "content-length")
  if (codings.length > 0) {
    return codings.length === 1 && lengths.length === 0 && codings[0].toLowerCase() === "chunked"
      ? "chunked"
      : malformed
  }
  if (lengths.length === 0) return "none"
  return lengths.length === 1 && /^\d+$/.test(lengths[0]) && Number.isSafeInteger(Number(lengths[0]))
    ? Number(lengths[0])
    : malformed
}

interface Body {
  readonly body: string
  readonly end: number
}

const readBody = (text: string, at: number, framing: Framing): Body | typeof more | typeof malformed => {
  if (framing === "none") return { body: "", end: at }
  if (framing === "chunked") return readChunks(text, at)
  return text.length - at < framing ? more : { body: text.slice(at, at + framing), end: at + framing }
}

const readChunks = (text: string, start: number): Body | typeof more | typeof malformed => {
  let body = ""
  for (let at = start;;) {
    const lineEnd = text.indexOf("\r\n", at)
    if (lineEnd === -1) return more
    const match = chunkLine.exec(text.slice(at, lineEnd))
    if (match === null) return malformed
    const size = Number.parseInt(match[1], 16)
    if (size === 0) return readTrailers(text, lineEnd, body)
    at = lineEnd + 2 + size + 2
    if (text.length < at) return more
    if (text.slice(at - 2, at) !== "\r\n") return malformed
    body += text.slice(lineEnd + 2, at - 2)
  }
}

/** `at` is the line end before the section, so that an empty section is found the same way. */
const readTrailers = (text: string, at: number, body: string): Body | typeof more | typeof malformed => {
  const trailers = section(text, at)
  if (trailers === more) return more
  return readFields(trailers.lines.slice(1)) === malformed ? malformed : { body, end: trailers.end }
}

/** The request at `at`, and where the next one begins. */
const readRequest = (
  text: string,
  at: number,
  startLine: RegExp
): (Request & { readonly end: number }) | typeof more | typeof malformed => {
  const head = section(text, at)
  if (head === more) return more
  const line = startLine.exec(head.lines[0])
  const fields = readFields(head.lines.slice(1))
  if (line === null || fields === malformed) return malformed
  const framing = framingOf(fields)
  if (framing === malformed || (framing === "chunked" && line[3] === "0")) return malformed
  const body = readBody(text, head.end, framing)
  return typeof body === "string" ? body : { method: line[1], target: line[2], ...body }
}

export interface Requests {
  readonly requests: ReadonlyArray<Request>
  /** Why there are no more of them. */
  readonly stopped: typeof more | typeof malformed
  /** What was not read. */
  readonly rest: string
}

const afterEmptyLines = (text: string, from: number): number => {
  let at = from
  while (text[at] === "\r" || text[at] === "\n") at++
  return at
}

const readAll = (text: string, from: number, startLine: RegExp): Requests => {
  const requests: Array<Request> = []
  for (let at = from;;) {
    const found = readRequest(text, at, startLine)
    if (typeof found === "string") return { requests, stopped: found, rest: text.slice(at) }
    requests.push(found)
    at = found.end
    // After a CONNECT nothing is HTTP any more.
    if (found.method === "CONNECT") return { requests, stopped: more, rest: "" }
    // Empty lines before a request line are not part of it (RFC 9112, 2.2).
    if (startLine === looseRequestLine) at = afterEmptyLines(text, at)
  }
}

/** All requests up to the first that is not whole or not right, as a sender must write them. */
export const readRequests = (text: string, from = 0): Requests => readAll(text, from, requestLine)

/** The same with what a recipient is free to overlook. */
export const readLoosely = (text: string): Requests => readAll(text, afterEmptyLines(text, 0), looseRequestLine)

/** The final response at `at`, with the interim ones before it left out. */
export const readResponse = (text: string, at: number, method: string): Response | typeof more | typeof malformed => {
  const head = section(text, at)
  if (head === more) return more
  const line = statusLine.exec(head.lines[0])
  const fields = readFields(head.lines.slice(1))
  if (line === null || fields === malformed) return malformed
  const status = Number(line[1])
  if (status < 200 && status !== 101) return readResponse(text, head.end, method)
  const framing = framingOf(fields)
  if (framing === malformed) return malformed
  if (method === "HEAD" || status === 204 || status === 304 || status === 101) {
    return { status, fields, body: "", untilClose: false, end: head.end }
  }
  if (framing === "none") return { status, fields, body: text.slice(head.end), untilClose: true, end: text.length }
  const body = readBody(text, head.end, framing)
  return typeof body === "string" ? body : { status, fields, untilClose: false, ...body }
}
