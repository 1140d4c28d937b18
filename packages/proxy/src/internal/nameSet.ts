/**
 * The lower-cased name when it is in the set, whatever its case. Most names are ruled out by their length and first letter,
 * because this is asked of every field of every message.
 */
export const nameSet = (names: Iterable<string>): (name: string) => string | undefined => {
  const set = new Set(names)
  const firstLetters: Array<number> = []
  for (const name of set) firstLetters[name.length] = (firstLetters[name.length] ?? 0) | letter(name)
  const byLength = Array.from(firstLetters, (letters) => letters ?? 0)
  return (name) => {
    const { length } = name
    if (length >= byLength.length || (byLength[length] & letter(name)) === 0) return undefined
    const lower = name.toLowerCase()
    return set.has(lower) ? lower : undefined
  }
}

/** One of 32 bits, the same for both cases of a letter. */
const letter = (name: string): number => 1 << (name.charCodeAt(0) & 31)
