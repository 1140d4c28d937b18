/**
 * A function that finds the pattern that a host matches: an exact name first, then the longest `*.` suffix. A pattern
 * without a port matches any port. Throws a `RangeError` that names the option for a pattern that can't be a host.
 */
export const hostPatterns = (
  option: string,
  patterns: ReadonlyArray<string>
): (host: string) => string | undefined => {
  for (const pattern of patterns) {
    if (!pattern_.test(pattern)) {
      throw new RangeError(`${option} must be a host such as example.com, *.example.com or [::1]:8080, got ${pattern}`)
    }
  }
  const exact = new Map(patterns.filter((p) => !p.startsWith("*.")).map((p) => [p.toLowerCase(), p]))
  const suffixes = patterns.filter((p) => p.startsWith("*."))
    .map((p) => [p.slice(1).toLowerCase(), p] as const)
    .toSorted(([a], [b]) => b.length - a.length)
  const suffixOf = (host: string) =>
    suffixes.find(([suffix]) => host.length > suffix.length && host.endsWith(suffix))?.[1]
  return (host) => {
    const lower = host.toLowerCase()
    const bare = lower.replace(/:\d*$/, "")
    return exact.get(lower) ?? exact.get(bare) ?? suffixOf(lower) ?? suffixOf(bare)
  }
}

/** A host name, an IPv4 address or an IPv6 address in brackets, with or without a port; `*.` stands for subdomains. */
const pattern_ = /^(?:\[[\da-f:.]+\]|(?:\*\.)?[a-z\d_](?:[a-z\d_-]*)(?:\.[a-z\d_-]+)*)(?::\d{1,5})?$/i
