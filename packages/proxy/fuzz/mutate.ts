/** Damages bytes, and cuts them into writes. */
import type { Random } from "./random.ts"

type Mutation = (random: Random, text: string) => string

const telling = ["\r", "\n", "\r\n", "\0", " ", "\t", ":", ";", ",", "0", "-", "+", "\x0b", "\x7f", "\xff", "\r\n\r\n"]

const flip: Mutation = (random, text) => {
  const at = random.below(text.length)
  const code = text.charCodeAt(at) ^ (1 << random.below(8))
  return text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1)
}

const insert: Mutation = (random, text) => {
  const at = random.below(text.length + 1)
  return text.slice(0, at) + random.pick(telling) + text.slice(at)
}

const remove: Mutation = (random, text) => {
  const at = random.below(text.length)
  return text.slice(0, at) + text.slice(at + 1 + (random.chance(0.2) ? random.below(8) : 0))
}

const replace: Mutation = (random, text) => {
  const at = random.below(text.length)
  return text.slice(0, at) + random.pick(telling) + text.slice(at + 1)
}

const duplicateLine: Mutation = (random, text) => {
  const lines = text.split("\r\n")
  const at = random.below(lines.length)
  return [...lines.slice(0, at + 1), ...lines.slice(at)].join("\r\n")
}

const dropLine: Mutation = (random, text) => {
  const lines = text.split("\r\n")
  return lines.toSpliced(random.below(lines.length), 1).join("\r\n")
}

const truncate: Mutation = (random, text) => text.slice(0, random.below(text.length + 1))

const mutations = [flip, insert, insert, remove, replace, replace, duplicateLine, dropLine, truncate]

/** Half of the texts stay as they are; the others are damaged in one to four places. */
export const mutate = (random: Random, text: string): string => {
  if (random.chance(0.5)) return text
  let out = text
  for (let left = 1 + random.below(4); left > 0 && out.length > 0; left--) out = random.pick(mutations)(random, out)
  return out
}

/** Cuts a text into one to six writes, or into single bytes. */
export const split = (random: Random, text: string): ReadonlyArray<string> => {
  if (text.length === 0) return []
  if (text.length < 200 && random.chance(0.05)) return text.split("")
  const cuts = Array.from({ length: random.chance(0.5) ? 0 : random.below(6) }, () => random.below(text.length + 1))
  const ends = [...cuts.toSorted((a, b) => a - b), text.length]
  return ends.map((end, i) => text.slice(ends[i - 1] ?? 0, end)).filter((piece) => piece !== "")
}
