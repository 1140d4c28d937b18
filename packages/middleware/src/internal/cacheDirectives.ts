/** The directives of a `Cache-Control`: names in lower case, with their argument, if they have one. */
export type CacheDirectives = ReadonlyMap<string, string | undefined>

const none: CacheDirectives = new Map()

const directive =
  /[\t ]*([\w!#$%&'*+.^`|~-]+)(?:[\t ]*=[\t ]*(?:"((?:[^"\\]|\\.)*)"|([^\t ,"]*)))?[^,]*(?:,|$)|[^,]*(?:,|$)/y

/** @see https://www.rfc-editor.org/rfc/rfc9111#section-5.2 */
export const parse = (field: string | undefined): CacheDirectives => {
  if (field === undefined) return none
  const directives = new Map<string, string | undefined>()
  directive.lastIndex = 0
  while (directive.lastIndex < field.length) {
    const found = directive.exec(field)
    if (found === null) break
    if (found[1] !== undefined) directives.set(found[1].toLowerCase(), found[2] ?? found[3])
  }
  return directives
}

/** An argument in seconds; `undefined` when there is none, or none that can be read. */
export const seconds = (directives: CacheDirectives, name: string): number | undefined => {
  const value = directives.get(name)
  return value !== undefined && /^\d+$/.test(value) ? Number(value) : undefined
}

/** The field in the form that freshness is computed from: lower case, without quoted arguments, which may hold commas. */
export const normalized = (directives: CacheDirectives): string =>
  [...directives].map(([name, value]) => value === undefined || !/^\d+$/.test(value) ? name : `${name}=${value}`).join(
    ", "
  )
