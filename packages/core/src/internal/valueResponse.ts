import * as Cause from "effect/Cause"
import * as Cookies from "effect/http/Cookies"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Stream from "effect/Stream"
import * as Fields from "../Fields.ts"
import * as Problem from "../Problem.ts"
import { fromFields, type HeadEdit } from "../ResponseHead.ts"
import type { ExchangeState } from "./exchangeState.ts"
import { runEdits } from "./headEdits.ts"

type Response = HttpServerResponse.HttpServerResponse

/** Applies the head edits to a response's value and records it as written, where no Node response does that. */
export const writeValue = (exchange: ExchangeState, response: Response): Response => {
  if (exchange.committed) return response
  const edited = exchange.headEdits === undefined ? response : edit(exchange, response)
  exchange.headWritten(edited.status, () => fieldsOf(edited))
  return counted(exchange, edited)
}

/** Another body under the same fields: `setBody` alone would set the body's own content fields. */
export const withBody = (response: Response, body: HttpBody.HttpBody): Response =>
  withHeaders(HttpServerResponse.setBody(response, body), response.headers)

/** The response with these header fields and no others. */
const withHeaders = (response: Response, headers: Headers.Headers): Response => {
  const removed = Object.keys(response.headers).filter((name) => !(name in headers))
  const without = removed.reduce((self, name) => HttpServerResponse.removeHeader(self, name), response)
  return HttpServerResponse.setHeaders(without, headers)
}

const edit = (exchange: ExchangeState, response: Response): Response => {
  try {
    return editValue(response, exchange.headEdits ?? [])
  } catch (error) {
    exchange.failed(Cause.die(error), 500)
    return Problem.toResponse({ status: 500 })
  }
}

/** Edits see a value's cookies as the `Set-Cookie` lines that they become. */
export const editValue = (response: Response, edits: ReadonlyArray<HeadEdit>): Response => {
  const fields = fieldsOf(response)
  const before = Fields.getAll(fields, "set-cookie").join("\n")
  runEdits(edits, fromFields(response.status, fields))
  const cookies = Fields.getAll(fields, "set-cookie")
  const edited = cookies.join("\n") === before
    ? response
    : HttpServerResponse.replaceCookies(response, Cookies.fromSetCookie(cookies))
  return withHeaders(edited, Headers.fromInput(Fields.toHeaders(Fields.remove(fields, "set-cookie"))))
}

const fieldsOf = ({ cookies, headers }: Response): Array<string> => [
  ...Fields.fromHeaders(headers),
  ...Cookies.toSetCookieHeaders(cookies).flatMap((line) => ["set-cookie", line])
]

const counted = (exchange: ExchangeState, response: Response): Response => {
  const body = response.body
  if (HttpServerResponse.omitsBody(response, exchange.method === "HEAD")) return response
  if (body._tag === "Uint8Array") {
    exchange.bytesOut += body.contentLength
    return response
  }
  if (body._tag !== "Stream") return response
  const stream = Stream.map(body.stream, (chunk) => {
    exchange.bytesOut += chunk.length
    return chunk
  })
  return withBody(response, HttpBody.stream(stream, body.contentType, body.contentLength))
}
