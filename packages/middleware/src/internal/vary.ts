import { fromFields, type ResponseHead } from "@sluice/core/ResponseHead"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

/**
 * Adds names to `Vary`. What is there stays as it is, no name comes twice, and `*` says it all.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.5
 */
export const addVary = (head: ResponseHead, ...names: ReadonlyArray<string>): void => {
  const lines = head.getAll("vary")
  if (lines.length === 0) return head.append("vary", names.length === 1 ? names[0] : names.join(", "))
  const there = new Set(lines.join(",").split(",").map((name) => name.trim().toLowerCase()))
  if (there.has("*")) return
  const missing = names.filter((name) => !there.has(name.toLowerCase()))
  if (missing.length > 0) head.set("vary", [...lines.filter((line) => line.trim() !== ""), ...missing].join(", "))
}

/** {@link addVary} for a response's value. */
export const withVary = (
  response: HttpServerResponse.HttpServerResponse,
  ...names: ReadonlyArray<string>
): HttpServerResponse.HttpServerResponse => {
  const { vary } = response.headers
  const fields = vary === undefined ? [] : ["vary", vary]
  addVary(fromFields(response.status, fields), ...names)
  return fields[1] === vary || fields[1] === undefined
    ? response
    : HttpServerResponse.setHeader(response, "vary", fields[1])
}
