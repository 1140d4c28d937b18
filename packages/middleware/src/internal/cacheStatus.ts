import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { type BareItem, serializeItem, Token } from "structured-headers"

/** @see https://www.rfc-editor.org/rfc/rfc9211#section-2 */
export interface Status {
  readonly hit?: true
  readonly fwd?: "bypass" | "method" | "uri-miss" | "vary-miss" | "request" | "stale"
  readonly "fwd-status"?: number
  readonly stored?: boolean
  readonly collapsed?: boolean
  readonly ttl?: number
  readonly detail?: string
}

export const statusLine = (name: string, status: Status): string =>
  serializeItem(
    new Token(name),
    new Map(
      Object.entries(status).flatMap(([key, value]): Array<[string, BareItem]> =>
        value === undefined || value === false ? [] : [[key, key === "fwd" ? new Token(String(value)) : value]]
      )
    )
  )

/** The last cache is the last member (RFC 9211, 2). */
export const withStatus = (
  response: HttpServerResponse.HttpServerResponse,
  { name }: { readonly name: string },
  status: Status
): HttpServerResponse.HttpServerResponse => {
  const earlier = response.headers["cache-status"]
  const line = statusLine(name, status)
  return HttpServerResponse.setHeader(response, "cache-status", earlier === undefined ? line : `${earlier}, ${line}`)
}
