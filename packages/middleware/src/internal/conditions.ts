import { httpDate } from "./httpDate.ts"

/** What identifies a representation: an entity tag as in the field, and the time of its last change in milliseconds. */
export interface CurrentValidators {
  readonly etag?: string | undefined
  readonly lastModified?: number | undefined
}

/** The conditions of a request; names are in lower case. */
export type Conditions = Readonly<Record<string, string | undefined>>

/** Whether the request goes on, is answered by 304, or is refused with 412. */
export type Verdict = "proceed" | "notModified" | "failed"

/**
 * Evaluates the conditions of a request in the order of RFC 9110, 13.2.2. `current` is `undefined` when there is no
 * representation; a date in a form that nobody knows is ignored, as is one for a resource without a date.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2
 */
export const evaluate = (
  fields: Conditions,
  current: CurrentValidators | undefined,
  safe: boolean
): Verdict => {
  const ifMatch = fields["if-match"]
  if (ifMatch !== undefined) {
    if (!matches(ifMatch, current, strongly)) return "failed"
  } else if (changedSince(fields["if-unmodified-since"], current) === true) return "failed"
  const ifNoneMatch = fields["if-none-match"]
  if (ifNoneMatch !== undefined) {
    return !matches(ifNoneMatch, current, weakly) ? "proceed" : safe ? "notModified" : "failed"
  }
  return safe && changedSince(fields["if-modified-since"], current) === false ? "notModified" : "proceed"
}

/** Whether a request has a condition that `evaluate` looks at. */
export const hasConditions = (fields: Conditions): boolean =>
  fields["if-none-match"] !== undefined || fields["if-modified-since"] !== undefined ||
  fields["if-match"] !== undefined || fields["if-unmodified-since"] !== undefined

type Comparison = (a: string, b: string) => boolean

const matches = (field: string, current: CurrentValidators | undefined, equal: Comparison): boolean => {
  if (current === undefined) return false
  if (field.trim() === "*") return true
  const { etag } = current
  return etag !== undefined && entityTags(field).some((tag) => equal(tag, etag))
}

/** @see https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3.2 */
const strongly: Comparison = (a, b) => a === b && !a.startsWith("W/")
const weakly: Comparison = (a, b) => opaque(a) === opaque(b)
const opaque = (tag: string): string => tag.startsWith("W/") ? tag.slice(2) : tag

const changedSince = (field: string | undefined, current: CurrentValidators | undefined): boolean | undefined => {
  const since = field === undefined ? undefined : httpDate(field)
  if (since === undefined || current?.lastModified === undefined) return undefined
  // Fields hold whole seconds.
  return Math.floor(current.lastModified / 1000) * 1000 > since
}

const member = /[\t ]*((?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")[\t ]*(?:,|$)|[\t ]*(?:,|$)/y

/**
 * The tags of `If-Match` or `If-None-Match`, up to the first that is none: a quoted tag may hold commas.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3
 */
export const entityTags = (field: string): ReadonlyArray<string> => {
  const tags: Array<string> = []
  member.lastIndex = 0
  while (member.lastIndex < field.length) {
    const found = member.exec(field)
    if (found === null) return tags
    if (found[1] !== undefined) tags.push(found[1])
  }
  return tags
}

/** Whether a text is an entity tag. */
export const isEntityTag = (text: string): boolean => /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/.test(text)
