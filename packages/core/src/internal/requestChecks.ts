import type { IncomingMessage } from "node:http"

/** A request that Node's parser let through and that must not be handled. */
export interface Rejection {
  readonly status: number
  /** For `Exchange`, in the words of the standards. */
  readonly reason: string
}

export interface Limits {
  readonly targetLength: number
  readonly fieldCount: number
  readonly requestsPerConnection: number
}

/** The checks of RFC 9112 that Node's parser leaves to the server (3.2 target and host, 6.1 transfer codings, 6.3 length). */
export const checkRequest = (request: IncomingMessage, limits: Limits): Rejection | undefined => {
  if (request.httpVersionMajor !== 1) return { status: 505, reason: "HTTP version not supported" }
  const target = request.url ?? ""
  if (target.length > limits.targetLength) return { status: 414, reason: "request target too long" }
  if (request.rawHeaders.length > limits.fieldCount * 2) return { status: 431, reason: "too many header fields" }
  return checkTarget(request.method, target) ?? checkFields(request)
}

const checkTarget = (method: string | undefined, target: string): Rejection | undefined => {
  if (target === "*" ? method !== "OPTIONS" : !isPathOrAbsolute(target)) {
    return { status: 400, reason: "invalid request target" }
  }
  return target.includes("#") ? { status: 400, reason: "fragment in request target" } : undefined
}

const isPathOrAbsolute = (target: string): boolean => target.charCodeAt(0) === 47 || /^https?:\/\/[^/?#]+/i.test(target)

const hostGrammar = /^(?:\[[0-9a-f:.]+\]|[\w.~!$&'()*+;=%-]*)(?::\d*)?$/i
const lengthGrammar = /^(?:0|[1-9]\d*)$/

/** Beyond the safe integers a length would be sent on as another one. */
const isLength = (value: string): boolean => lengthGrammar.test(value) && Number.isSafeInteger(Number(value))

/** One pass over the raw fields; names are told apart by length first, because this runs on every request. */
const checkFields = (request: IncomingMessage): Rejection | undefined => {
  const raw = request.rawHeaders
  let hosts = 0
  let codings: string | undefined
  for (let i = 0; i < raw.length; i += 2) {
    const length = raw[i].length
    if (length === 4 && raw[i].toLowerCase() === "host") {
      if (++hosts > 1) return { status: 400, reason: "more than one Host" }
      if (!hostGrammar.test(raw[i + 1])) return { status: 400, reason: "invalid Host" }
    } else if (length === 14 && raw[i].toLowerCase() === "content-length") {
      if (!isLength(raw[i + 1])) return { status: 400, reason: "invalid Content-Length" }
    } else if (length === 17 && raw[i].toLowerCase() === "transfer-encoding") {
      codings = codings === undefined ? raw[i + 1] : `${codings}, ${raw[i + 1]}`
    }
  }
  if (hosts === 0 && request.httpVersionMinor > 0) return { status: 400, reason: "missing Host" }
  return codings === undefined ? undefined : checkCodings(request, codings)
}

const checkCodings = (request: IncomingMessage, codings: string): Rejection | undefined => {
  if (request.httpVersionMinor === 0) return { status: 400, reason: "Transfer-Encoding in HTTP/1.0" }
  const coding = codings.trim().toLowerCase()
  if (coding === "chunked") return undefined
  return coding === ""
    ? { status: 400, reason: "empty Transfer-Encoding" }
    : { status: 501, reason: "transfer coding not supported" }
}
