/**
 * A strict parser for a response head or a trailer section, fed in pieces of any size (RFC 9112, 4 and 5).
 *
 * It works on complete lines, so the outcome does not depend on how the bytes were cut. What is not valid is refused
 * with a reason: a bare CR or LF, a folded line, white space before the colon, NUL and other controls.
 */
import type { InvalidResponse } from "../../ProxyError.ts"

/** Sizes that a head or trailer section may have. */
export interface Limits {
  readonly bytes: number
  readonly fields: number
}

/** Returned by `parse` instead of an offset. */
export const more = -1
export const invalid = -2

const endOfSection = Buffer.from("\r\n\r\n")

const statusLine = /^HTTP\/1\.([01]) (\d{3})(?: ([\t\x20-\x7e\x80-\xff]*))?$/
const fieldName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const fieldValue = /^[\t\x20-\x7e\x80-\xff]*$/

export class FieldParser {
  fields: Array<string> = []
  status = 0
  reason = ""
  httpVersion: "1.0" | "1.1" = "1.1"
  /** Why `parse` returned `invalid`. */
  problem: InvalidResponse = "FieldSyntax"

  private readonly limits: Limits
  private readonly hasStartLine: boolean
  private started: boolean
  /** The part of a line whose end has not been seen. */
  private rest = ""
  /** Bytes in the lines before it. */
  private taken = 0

  constructor(limits: Limits, hasStartLine: boolean) {
    this.limits = limits
    this.hasStartLine = hasStartLine
    this.started = !hasStartLine
  }

  /** Makes it ready for the next section. */
  reset(): void {
    this.fields = []
    this.status = 0
    this.started = !this.hasStartLine
    this.rest = ""
    this.taken = 0
  }

  /** The offset after the section, `more` when its end is not in the view, or `invalid`. */
  parse(view: Buffer, start: number): number {
    const before = this.rest.length
    const read = view.toString("latin1", start, endOfText(view, start))
    const text = before === 0 ? read : this.rest + read
    let at = 0
    while (true) {
      const lf = text.indexOf("\n", at)
      if (lf === -1) return this.keep(text, at)
      if (this.taken + lf + 1 > this.limits.bytes) return this.refuse("HeadTooLarge")
      if (lf === at || text.charCodeAt(lf - 1) !== 0x0d) return this.refuse(this.started ? "FieldSyntax" : "StatusLine")
      if (lf === at + 1) return this.started ? start + lf + 1 - before : this.refuse("StatusLine")
      const problem = this.line(text, at, lf - 1)
      if (problem !== undefined) return this.refuse(problem)
      at = lf + 1
    }
  }

  private keep(text: string, at: number): number {
    this.taken += at
    this.rest = at === 0 ? text : text.slice(at)
    return this.taken + this.rest.length > this.limits.bytes ? this.refuse("HeadTooLarge") : more
  }

  private refuse(problem: InvalidResponse): number {
    this.problem = problem
    return invalid
  }

  private line(text: string, start: number, end: number): InvalidResponse | undefined {
    if (!this.started) return this.startLine(text.slice(start, end))
    if (this.fields.length >= this.limits.fields * 2) return "TooManyFields"
    const colon = text.indexOf(":", start)
    if (colon === -1 || colon >= end) return "FieldSyntax"
    const name = text.slice(start, colon)
    const value = trim(text, colon + 1, end)
    if (!fieldName.test(name) || !fieldValue.test(value)) return "FieldSyntax"
    this.fields.push(name, value)
    return undefined
  }

  private startLine(line: string): InvalidResponse | undefined {
    const problem = line === usualStartLine ? this.begin("1", 200, "OK") : this.anyStartLine(line)
    this.started = problem === undefined
    return problem
  }

  private anyStartLine(line: string): InvalidResponse | undefined {
    const match = statusLine.exec(line)
    if (match === null) return /^HTTP\/\d+\.\d+ /.test(line) && !/^HTTP\/1\.[01] /.test(line) ? "Version" : "StatusLine"
    return this.begin(match[1], Number(match[2]), match[3] ?? "")
  }

  private begin(minor: string, status: number, reason: string): InvalidResponse | undefined {
    this.httpVersion = minor === "1" ? "1.1" : "1.0"
    this.status = status
    this.reason = reason
    return status < 100 || status > 599 ? "Status" : undefined
  }
}

const usualStartLine = "HTTP/1.1 200 OK"

/** Up to where it is worth making text of: a search for the end costs more than some bytes of a body. */
const endOfText = (view: Buffer, start: number): number => {
  if (view.length - start <= shortText) return view.length
  const found = view.indexOf(endOfSection, start)
  return found === -1 ? view.length : found + 4
}

const shortText = 1024

/** Without the optional white space around a value: SP and HTAB alone, not what `String.trim` takes. */
const trim = (text: string, from: number, to: number): string => {
  let start = from
  let end = to
  while (start < end && isSpace(text.charCodeAt(start))) start++
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

const isSpace = (code: number): boolean => code === 0x20 || code === 0x09
