/** One member of a list with weights, such as `gzip;q=0.5`. */
export interface Weighted {
  /** In lower case, with its parameters other than `q` behind it: `text/html;level=1`. */
  readonly value: string
  /** From 0 to 1. */
  readonly weight: number
}

/**
 * The members of `Accept`, `Accept-Encoding` or `Accept-Language`, by falling weight and otherwise in their order. A member
 * whose weight can't be read is left out.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-12.4.2
 */
export const qualityValues = (field: string): ReadonlyArray<Weighted> =>
  field.split(",").flatMap((member) => {
    const [value, ...parameters] = member.toLowerCase().split(";").map((part) => part.trim())
    if (value === "") return []
    const weight = weightOf(parameters)
    if (weight === undefined) return []
    return [{ value: [value, ...parameters.filter((part) => !part.startsWith("q="))].join(";"), weight }]
  }).toSorted((a, b) => b.weight - a.weight)

const weightOf = (parameters: ReadonlyArray<string>): number | undefined => {
  const q = parameters.find((part) => part.startsWith("q="))
  if (q === undefined) return 1
  return /^q=(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(q) ? Number(q.slice(2)) : undefined
}
