/** Nothing that a URL can't hold, that browsers drop, or that they take for a slash. */
const readable = /^\/[\x21-\x7e]*$/

/** An absolute path of this origin without dot segments and empty ones, or a `RangeError` that names the option. */
export const requirePath = (name: string, value: string): string => {
  const path = value.replace(/[?#].*$/s, "")
  if (readable.test(value) && !value.includes("\\") && !/\/\/|\/(?:\.|%2e){1,2}(?:\/|$)/i.test(path)) return value
  throw new RangeError(`${name} must be a path such as /orders, got ${JSON.stringify(value)}`)
}
