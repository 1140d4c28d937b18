/**
 * The `Via` field: names this proxy to the next hop, and tells when a request has come round (RFC 9110, 7.6.3).
 *
 * **When to use** `check` before an upstream is chosen, `append` on what is sent on, in both directions. A pseudonym of
 * one's own, the same on every node that shares a configuration, is what makes a loop visible; it should not be a host
 * name that outsiders need not know.
 *
 * **Details** `Max-Forwards` (RFC 9110, 7.6.2) bounds `TRACE` and `OPTIONS` in the same spirit and is here as well.
 *
 * @since 0.1.0
 */
import * as Fields from "@sluice/core/Fields"
import * as ProxyError from "./ProxyError.ts"

/**
 * With this proxy as the last member of the list, on a line of its own: the lines before it stay byte for byte.
 *
 * @example
 * ```ts
 * import { Via } from "@sluice/proxy"
 *
 * console.log(Via.append(["Via", "1.0 fred"], "sluice").join(" | ")) // => Via | 1.0 fred | Via | 1.1 sluice
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const append = (
  fields: Fields.Fields,
  pseudonym: string,
  /** The version in which the message was received. @default "1.1" */
  version: "1.0" | "1.1" | "2" | "3" = "1.1"
): Fields.Fields => Fields.append(fields, "Via", `${version} ${pseudonym}`)

/**
 * Whether the pseudonym is among the recipients that `Via` lists, whatever its case.
 *
 * @example
 * ```ts
 * import { Via } from "@sluice/proxy"
 *
 * console.log(Via.includes(["Via", "1.0 fred, HTTP/1.1 Sluice (by, hand)"], "sluice")) // => true
 * console.log(Via.includes(["Via", "1.1 other (not sluice, 1.1 sluice)"], "sluice")) // => false
 * ```
 *
 * @category predicates
 * @since 0.1.0
 */
export const includes = (fields: Fields.Fields, pseudonym: string): boolean => {
  const lower = pseudonym.toLowerCase()
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i].length === 3 && fields[i].toLowerCase() === "via" && lists(fields[i + 1], lower)) return true
  }
  return false
}

/** A comment may hold commas and further comments, so it is taken out before the list is split. */
const lists = (value: string, lower: string): boolean =>
  withoutComments(value).split(",").some((member) => member.trim().split(/[ \t]+/)[1]?.toLowerCase() === lower)

const withoutComments = (value: string): string => {
  if (!value.includes("(")) return value
  let out = ""
  let depth = 0
  for (let i = 0; i < value.length; i++) {
    const char = value[i]
    if (depth > 0 && char === "\\") i++
    else if (char === "(") depth++
    else if (char === ")" && depth > 0) depth--
    else if (depth === 0) out += char
  }
  return out
}

/**
 * The error to fail with when the request has been here before, else `undefined`.
 *
 * @category predicates
 * @since 0.1.0
 */
export const check = (fields: Fields.Fields, pseudonym: string): ProxyError.LoopDetected | undefined =>
  includes(fields, pseudonym) ? new ProxyError.LoopDetected() : undefined

/**
 * What `Max-Forwards` asks for: to answer the request here, or to send it on with these fields.
 *
 * @category models
 * @since 0.1.0
 */
export type MaxForwards =
  | { readonly _tag: "Answer" }
  | { readonly _tag: "Forward"; readonly fields: Fields.Fields }

/**
 * Obeys `Max-Forwards`: of a `TRACE` or `OPTIONS` request, 0 means that this hop answers, and any other number goes on
 * decremented. Other methods, and a value that is not a number, go on as they are (RFC 9110, 7.6.2).
 *
 * @example
 * ```ts
 * import { Via } from "@sluice/proxy"
 *
 * console.log(Via.maxForwards("OPTIONS", ["Max-Forwards", "0"])._tag) // => Answer
 * const on = Via.maxForwards("TRACE", ["Max-Forwards", "10"])
 * console.log(on._tag === "Forward" ? on.fields.join(" ") : "") // => Max-Forwards 9
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const maxForwards = (method: string, fields: Fields.Fields): MaxForwards => {
  if (method !== "TRACE" && method !== "OPTIONS") return { _tag: "Forward", fields }
  const value = Fields.get(fields, "max-forwards")
  if (value === undefined || !/^\d+$/.test(value)) return { _tag: "Forward", fields }
  const left = Math.min(Number(value), Number.MAX_SAFE_INTEGER)
  if (left === 0) return { _tag: "Answer" }
  return { _tag: "Forward", fields: Fields.set(fields, "Max-Forwards", String(left - 1)) }
}
