import * as Fields from "@sluice/core/Fields"

/**
 * What `Authorization` says in a scheme (given in lower case): `undefined` when it says nothing in that scheme, and nothing
 * at all (`""`) when it can't be read. It is one field with one value, so several lines can't.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-11.6.2
 */
export const credentialsIn = (fields: Fields.Fields, scheme: string): string | undefined => {
  const lines = Fields.getAll(fields, "authorization")
  if (!lines.some((line) => isOf(line, scheme))) return undefined
  return lines.length === 1 ? afterSpaces(lines[0], scheme.length) : ""
}

const isOf = (line: string, scheme: string): boolean =>
  line.slice(0, scheme.length).toLowerCase() === scheme && !tokenCharacter.test(line.charAt(scheme.length))

const tokenCharacter = /[\w!#$%&'*+.^`|~-]/

/** What comes after at least one space, up to the end. */
const afterSpaces = (line: string, from: number): string => {
  let at = from
  while (line.charCodeAt(at) === 0x20) at++
  return at === from ? "" : line.slice(at)
}

/** Whether a text is a `token68`, which `b64token` of RFC 6750 is, too. */
export const isToken68 = (text: string): boolean => /^[\w.~+/-]+=*$/.test(text)

/** A challenge: `Basic realm="x"`. Parameters that are `undefined` are left out. */
export const challenge = (scheme: string, parameters: Readonly<Record<string, string | undefined>>): string => {
  const written = Object.entries(parameters).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}="${value.replaceAll(/["\\]/g, "\\$&")}"`]
  )
  return written.length === 0 ? scheme : `${scheme} ${written.join(", ")}`
}
