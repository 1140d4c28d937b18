/**
 * Where a response ends and whether its connection may be used again (RFC 9112, 6.3 and 9.3). Whatever could be read in
 * two ways is refused.
 */
import type * as Fields from "@sluice/core/Fields"
import type { InvalidResponse } from "../../ProxyError.ts"

export interface Framing {
  /** In bytes; `undefined` when chunked or until the connection closes. */
  readonly length: number | undefined
  readonly chunked: boolean
  /** Whether another exchange may follow on the connection. */
  readonly persistent: boolean
  /** What `Keep-Alive: timeout` said, in milliseconds. */
  readonly keepAliveTimeout: number | undefined
  /** The value of `Upgrade`. */
  readonly upgrade: string | undefined
}

interface Seen {
  contentLength: string | undefined
  contentLengths: number
  transferEncoding: string | undefined
  transferEncodings: number
  close: boolean
  keepAlive: boolean
  keepAliveTimeout: number | undefined
  upgrade: string | undefined
}

const scan = (fields: Fields.Fields): Seen => {
  const seen: Seen = {
    contentLength: undefined,
    contentLengths: 0,
    transferEncoding: undefined,
    transferEncodings: 0,
    close: false,
    keepAlive: false,
    keepAliveTimeout: undefined,
    upgrade: undefined
  }
  for (let i = 0; i < fields.length; i += 2) note(seen, fields[i], fields[i + 1])
  return seen
}

/** The lengths of the names below; others are not looked at. */
const note = (seen: Seen, name: string, value: string): void => {
  if (name.length === 14 && name.toLowerCase() === "content-length") {
    seen.contentLength = value
    seen.contentLengths += 1
  } else if (name.length === 17 && name.toLowerCase() === "transfer-encoding") {
    seen.transferEncoding = value
    seen.transferEncodings += 1
  } else if (name.length === 10) noteConnection(seen, name.toLowerCase(), value)
  else if (name.length === 7 && name.toLowerCase() === "upgrade") {
    seen.upgrade = seen.upgrade === undefined ? value : `${seen.upgrade}, ${value}`
  }
}

const noteConnection = (seen: Seen, lower: string, value: string): void => {
  if (lower === "connection") {
    for (const option of value.split(",")) {
      const token = option.trim().toLowerCase()
      if (token === "close") seen.close = true
      else if (token === "keep-alive") seen.keepAlive = true
    }
  } else if (lower === "keep-alive") {
    const seconds = /(?:^|[,;\s])timeout\s*=\s*"?(\d{1,9})/i.exec(value)?.[1]
    if (seconds !== undefined) seen.keepAliveTimeout = Number(seconds) * 1000
  }
}

/** The framing of a final response, or what is wrong with it. */
export const framing = (
  method: string,
  status: number,
  httpVersion: "1.0" | "1.1",
  fields: Fields.Fields
): Framing | InvalidResponse => {
  const seen = scan(fields)
  const problem = conflict(seen, httpVersion)
  if (problem !== undefined) return problem
  const { keepAliveTimeout, upgrade } = seen
  const persistent = !seen.close && (httpVersion === "1.1" || seen.keepAlive)
  const length = seen.contentLength === undefined ? undefined : Number(seen.contentLength)
  const chunked = seen.transferEncoding !== undefined
  if (method === "HEAD" || status === 304 || status === 204 || status === 205 || status < 200) {
    // A 204 or 205 has no body even if it announces one; what may follow on such a connection is not to be trusted. The
    // end of a 205 that announces nothing is that of the connection (RFC 9110, 15.3.6).
    const empty = length === 0 || (length === undefined && status === 204)
    const clean = (status !== 204 && status !== 205) || (!chunked && empty)
    return { length: 0, chunked: false, persistent: persistent && clean, keepAliveTimeout, upgrade }
  }
  return { length, chunked, persistent: persistent && (chunked || length !== undefined), keepAliveTimeout, upgrade }
}

const conflict = (seen: Seen, httpVersion: "1.0" | "1.1"): InvalidResponse | undefined => {
  if (seen.transferEncoding !== undefined) {
    if (seen.contentLength !== undefined || httpVersion === "1.0") return "FramingConflict"
    if (seen.transferEncodings > 1 || seen.transferEncoding.toLowerCase() !== "chunked") return "TransferCoding"
  }
  if (seen.contentLength === undefined) return undefined
  if (seen.contentLengths > 1 || !/^\d+$/.test(seen.contentLength)) return "ContentLength"
  return Number.isSafeInteger(Number(seen.contentLength)) ? undefined : "ContentLength"
}
