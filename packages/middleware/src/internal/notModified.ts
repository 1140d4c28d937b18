import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { CurrentValidators } from "./conditions.ts"
import { httpDate } from "./httpDate.ts"

type Response = HttpServerResponse.HttpServerResponse

/** @see https://www.rfc-editor.org/rfc/rfc9110#section-15.4.5 */
const kept = ["cache-control", "content-location", "date", "etag", "expires", "vary"]

/** The 304 for a 200: of its fields those that a 304 has; the date of the last change only where there is no tag. */
export const notModified = ({ headers }: Response): Response => {
  const names = headers.etag === undefined ? [...kept, "last-modified"] : kept
  return HttpServerResponse.empty({
    status: 304,
    headers: Object.fromEntries(names.flatMap((name) => headers[name] === undefined ? [] : [[name, headers[name]]]))
  })
}

/** What a response's own fields say. */
export const validatorsOf = ({ headers }: Response): CurrentValidators => ({
  etag: headers.etag,
  lastModified: headers["last-modified"] === undefined ? undefined : httpDate(headers["last-modified"])
})
