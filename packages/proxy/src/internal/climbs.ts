const dots = /^(?:\.|%2e){2}(?:;.*)?$/i
const dot = /^(?:\.|%2e)?(?:;.*)?$/i

/** Whether some reading of an escaped path goes above its own start. */
export const climbs = (path: string): boolean => {
  if (!/\.\.|%2e/i.test(path)) return false
  let depth = 0
  for (const segment of path.split("/")) {
    const parts = segment.split(/%2f|%5c|\\/i)
    const up = parts.filter((part) => dots.test(part)).length
    if (up > 0) depth -= up
    else if (parts.some((part) => !dot.test(part))) depth += 1
    if (depth < 0) return true
  }
  return false
}
