import { STATUS_CODES } from "node:http"
import type { Rejection } from "./requestChecks.ts"

/** What Node's parser says of a request that it could not read. */
export interface ParserError extends Error {
  readonly code?: string
  readonly rawPacket?: Buffer
}

/** The answer to a request whose head never became a request. */
export const rejectionOf = (error: ParserError, targetLength: number): Rejection => {
  switch (error.code) {
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return { status: 408, reason: "request timeout" }
    case "HPE_HEADER_OVERFLOW":
      return isTargetTooLong(error.rawPacket, targetLength)
        ? { status: 414, reason: "request target too long" }
        : { status: 431, reason: "header section too large" }
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return { status: 413, reason: "chunk extensions too large" }
    case "HPE_INVALID_VERSION":
      return isOtherVersion(error.rawPacket)
        ? { status: 505, reason: "HTTP version not supported" }
        : { status: 400, reason: "malformed request line" }
    default:
      return { status: 400, reason: `malformed request (${error.code ?? error.name})` }
  }
}

/** Node blames the version for any end of a request line that it doesn't like, such as a bare line feed. */
const isOtherVersion = (packet: Buffer | undefined): boolean =>
  /^\S+ \S+ HTTP\/\d+\.\d+\r\n/.test(packet?.toString("latin1") ?? "")

/** Node counts target and fields against one limit, and says only that it was reached. */
const isTargetTooLong = (packet: Buffer | undefined, targetLength: number): boolean => {
  const lineEnd = packet?.indexOf(0x0a) ?? 0
  return lineEnd === -1 || lineEnd > targetLength
}

const problemBody = (status: number): string =>
  JSON.stringify({ type: "about:blank", title: STATUS_CODES[status], status })

/** A whole response for a socket on which there is no request to answer. */
export const rawAnswer = (status: number): { readonly head: string; readonly body: string } => {
  const body = problemBody(status)
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n` +
    `Date: ${new Date().toUTCString()}\r\n` +
    "Connection: close\r\n" +
    "Content-Type: application/problem+json\r\n" +
    `Content-Length: ${body.length}\r\n\r\n`
  return { head, body }
}
