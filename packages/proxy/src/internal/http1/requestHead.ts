/**
 * Writes request heads. Every part is looked at before it is written: a line break that got into a value would be the
 * start of another field, or of another request.
 */
import type * as Fields from "@sluice/core/Fields"
import * as ProxyError from "../../ProxyError.ts"
import type * as Transport from "../../Transport.ts"
import { nameSet } from "../nameSet.ts"

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const visible = /^[\x21-\x7e\x80-\xff]+$/
const fieldValue = /^[\t\x20-\x7e\x80-\xff]*$/

/** Fields that the transport writes itself, from the body and the connection. */
const own = nameSet([
  "connection",
  "content-length",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade"
])

/** Names that need no look at their letters: to find one here costs less than the pattern. */
const usual: ReadonlySet<string> = new Set(
  [
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Cookie",
    "Host",
    "Origin",
    "Referer",
    "User-Agent",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto"
  ].flatMap((name) => [name, name.toLowerCase()])
)

const isName = (name: string): boolean => usual.has(name) || token.test(name)

type Reason = ProxyError.UpstreamRequestInvalid["reason"]

/** The head of a request, as Latin-1 text that ends with its empty line; or what can't be written. */
export const write = (
  endpoint: Transport.Endpoint,
  request: Transport.OutgoingRequest
): string | ProxyError.UpstreamRequestInvalid => {
  const reason = startLineProblem(request)
  if (reason !== undefined) return new ProxyError.UpstreamRequestInvalid({ reason })
  let out = `${request.method} ${request.target} HTTP/1.1\r\n`
  let host = false
  let te = false
  const fields = request.fields
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]
    const value = fields[i + 1]
    if (!isName(name)) return new ProxyError.UpstreamRequestInvalid({ reason: "FieldName" })
    if (!fieldValue.test(value)) return new ProxyError.UpstreamRequestInvalid({ reason: "FieldValue" })
    if (own(name) !== undefined) continue
    if (name.length === 4 && name.toLowerCase() === "host") host = true
    else if (name.length === 2 && name.toLowerCase() === "te") te = true
    out += `${name}: ${value}\r\n`
  }
  if (!host) out += `Host: ${authority(endpoint)}\r\n`
  return `${out}${connection(request.upgrade, te)}${framing(request)}\r\n`
}

/** The lines after the last chunk; or what can't be written. */
export const trailerSection = (fields: Fields.Fields): string | ProxyError.UpstreamRequestInvalid => {
  let out = ""
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]
    if (!isName(name) || own(name) !== undefined) return new ProxyError.UpstreamRequestInvalid({ reason: "FieldName" })
    if (!fieldValue.test(fields[i + 1])) return new ProxyError.UpstreamRequestInvalid({ reason: "FieldValue" })
    out += `${name}: ${fields[i + 1]}\r\n`
  }
  return out
}

const startLineProblem = (request: Transport.OutgoingRequest): Reason | undefined => {
  // Sending CONNECT asks the upstream for a tunnel, which no response body stands for.
  if (!token.test(request.method) || request.method === "CONNECT") return "Method"
  if (!visible.test(request.target)) return "Target"
  if (request.upgrade !== undefined && (!fieldValue.test(request.upgrade) || request.upgrade === "")) return "Upgrade"
  return undefined
}

/** Without the port where it is the scheme's own (RFC 9110, 4.2.3); IPv6 in brackets. */
const authority = (endpoint: Transport.Endpoint): string => {
  const host = endpoint.hostname.includes(":") ? `[${endpoint.hostname}]` : endpoint.hostname
  return endpoint.port === (endpoint.protocol === "https:" ? 443 : 80) ? host : `${host}:${endpoint.port}`
}

/** Each field for this hop alone is nominated (RFC 9110, 7.6.1): `TE` and `Upgrade`. */
const connection = (upgrade: string | undefined, te: boolean): string => {
  if (upgrade === undefined) return te ? "Connection: TE\r\n" : ""
  return `Connection: Upgrade${te ? ", TE" : ""}\r\nUpgrade: ${upgrade}\r\n`
}

/** From the body that there is, whatever the method, so that no recipient can see another end (RFC 9112, 6). */
const framing = ({ body }: Transport.OutgoingRequest): string => {
  switch (body._tag) {
    case "Empty":
      return body.explicit ? "Content-Length: 0\r\n" : ""
    case "Replayable":
      return `Content-Length: ${body.bytes.length}\r\n`
    case "OneShot":
      return body.contentLength === undefined
        ? "Transfer-Encoding: chunked\r\n"
        : `Content-Length: ${body.contentLength}\r\n`
  }
}
