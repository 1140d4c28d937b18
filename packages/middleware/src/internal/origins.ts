/** One origin, as browsers write it: scheme, host in lower case, and a port where it is not the scheme's own. */
const serialized = /^[a-z][a-z0-9+.-]*:\/\/(?:\[[\da-f:.]+\]|[a-z\d._-]+)(?::\d{1,5})?$/

/** `https://*.example.com`: scheme, suffix, port. */
const pattern = /^([a-z][a-z0-9+.-]*:\/\/)\*\.([a-z\d_-]+(?:\.[a-z\d_-]+)*)(:\d{1,5})?$/

/** An origin as browsers send it, or a `RangeError` that names the option. `null` is many origins and none. */
export const requireOrigin = (name: string, value: string): string => {
  if (serialized.test(value) && isCanonical(value)) return value
  throw new RangeError(`${name} must be an origin such as https://app.example.com, got ${JSON.stringify(value)}`)
}

/** What a browser would never send (`https://a.test:443`, a number as an IPv4 address) would never match. */
const isCanonical = (origin: string): boolean =>
  URL.canParse(origin) && (!/^https?:/.test(origin) || new URL(origin).origin === origin)

/**
 * Whether an origin is one of the list, compared byte for byte, or below one of its patterns (`https://*.example.com`).
 * Throws a `RangeError` that names the option for what is neither.
 */
export const originMatcher = (name: string, list: ReadonlyArray<string>): (origin: string) => boolean => {
  const patterns = list.filter((entry) => entry.includes("*"))
  const exact = new Set(list.filter((entry) => !entry.includes("*")).map((entry) => requireOrigin(name, entry)))
  const below = patterns.map((entry) => subdomains(name, entry))
  return below.length === 0
    ? (origin) => exact.has(origin)
    : (origin) => exact.has(origin) || below.some((matches) => matches(origin))
}

const subdomains = (name: string, entry: string): (origin: string) => boolean => {
  const [, scheme, host, port = ""] = pattern.exec(entry) ?? []
  if (host === undefined || !(host.includes(".") || host === "localhost")) {
    throw new RangeError(
      `${name} may have patterns such as https://*.example.com, with two names or more, got ${JSON.stringify(entry)}`
    )
  }
  requireOrigin(name, `${scheme}a.${host}${port}`)
  const end = `.${host}${port}`
  return (origin) =>
    origin.startsWith(scheme) && origin.endsWith(end) && origin.length > scheme.length + end.length &&
    labels.test(origin.slice(scheme.length, origin.length - end.length))
}

const labels = /^[a-z\d_-]+(?:\.[a-z\d_-]+)*$/
