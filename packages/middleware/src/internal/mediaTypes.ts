import { memo } from "./memo.ts"
import { qualityValues } from "./qualityValues.ts"

/** A media type or range, in lower case. */
export interface MediaType {
  readonly type: string
  /** `*` in a range. */
  readonly subtype: string
  /** `name=value`, without quotes. */
  readonly parameters: ReadonlyArray<string>
}

const token = "[\\w!#$%&'*+.^`|~-]+"
const essence = new RegExp(`^(${token})/(${token})$`)
const parameter = new RegExp(`^(${token})=(?:(${token})|"((?:[^"\\\\]|\\\\.)*)")$`)

/**
 * A media type with its parameters; `undefined` when it can't be read.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-8.3.1
 */
export const parseMediaType = (text: string): MediaType | undefined => {
  const [first, ...rest] = text.toLowerCase().split(";").map((part) => part.trim())
  const [, type, subtype] = essence.exec(first) ?? []
  if (type === undefined || subtype === undefined || type === "*" && subtype !== "*") return undefined
  const parameters: Array<string> = []
  for (const part of rest) {
    if (part === "") continue
    const [, name, value, quoted] = parameter.exec(part) ?? []
    if (name === undefined) return undefined
    parameters.push(`${name}=${value ?? quoted.replaceAll(/\\(.)/g, "$1")}`)
  }
  return { type, subtype, parameters }
}

/** A media type out of the options, or a `RangeError` that names it; a range only where that is allowed. */
export const requireMediaType = (name: string, text: string, ranges = false): MediaType => {
  const parsed = parseMediaType(text)
  if (parsed !== undefined && (ranges || parsed.subtype !== "*")) return parsed
  throw new RangeError(`${name} must be media types, got ${JSON.stringify(text)}`)
}

/** The value of a parameter. */
export const parameterOf = ({ parameters }: MediaType, name: string): string | undefined =>
  parameters.find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1)

/** Whether a type is in a range. A range with parameters is for types that have them all. */
export const matches = (range: MediaType, { parameters, subtype, type }: MediaType): boolean =>
  (range.type === "*" || range.type === type && (range.subtype === "*" || range.subtype === subtype)) &&
  range.parameters.every((one) => parameters.includes(one))

interface WeightedRange {
  readonly range: MediaType
  readonly weight: number
}

/** The ranges of an `Accept` field, the most specific first; without any that can be read, everything is accepted. */
export const parseAccept = (field = ""): ReadonlyArray<WeightedRange> => parse(field)

const parse = memo((field): ReadonlyArray<WeightedRange> => {
  const ranges = qualityValues(field).flatMap(({ value, weight }) => {
    const range = parseMediaType(value)
    return range === undefined ? [] : [{ range, weight }]
  })
  return ranges.length === 0 ? everything : ranges.toSorted((a, b) => specificity(b.range) - specificity(a.range))
})

const everything: ReadonlyArray<WeightedRange> = [
  { range: { type: "*", subtype: "*", parameters: [] }, weight: 1 }
]

const specificity = ({ parameters, subtype, type }: MediaType): number =>
  type === "*" ? 0 : subtype === "*" ? 1 : 2 + parameters.length

/**
 * How much a type is wanted, from 0 to 1: the most specific range that it is in decides.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1
 */
export const weightOf = (accepted: ReadonlyArray<WeightedRange>, type: MediaType): number =>
  accepted.find(({ range }) => matches(range, type))?.weight ?? 0
