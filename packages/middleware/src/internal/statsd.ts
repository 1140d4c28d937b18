import type * as Metric from "effect/Metric"

/** A line of the protocol, without its end. */
export type Line = string

/** What each counter had come to when it was last sent, by its line up to the value. */
export type Totals = Map<string, number>

/** How lines are written. */
export interface Format {
  readonly format: "dogstatsd" | "statsd"
  readonly prefix: string
  readonly tags: Readonly<Record<string, string>>
}

type Attributes = Readonly<Record<string, string>>

/** What has changed since the totals were written, which it does again. */
export const linesOf = (
  snapshots: ReadonlyArray<Metric.Metric.Snapshot>,
  totals: Totals,
  format: Format
): ReadonlyArray<Line> => {
  const out: Array<Line> = []
  const count: Write["count"] = (name, attributes, total, falls = false) => {
    const [head, tail] = ends(name, attributes, format)
    const key = `${head}|${tail}`
    const before = totals.get(key) ?? 0
    if (total === before) return
    totals.set(key, total)
    // Less than before: the series was removed and has begun again.
    const added = total < before && !falls ? total : total - before
    if (added !== 0) out.push(`${head}:${decimal(added)}|c${tail}`)
  }
  const gauge: Write["gauge"] = (name, attributes, value) => {
    const [head, tail] = ends(name, attributes, format)
    // Plain StatsD takes a signed value for a change.
    if (value < 0 && format.format === "statsd") out.push(`${head}:0|g`)
    out.push(`${head}:${decimal(value)}|g${tail}`)
  }
  for (const snapshot of snapshots) write(snapshot, { count, gauge })
  return out
}

interface Write {
  /** `falls` says that the total may. */
  readonly count: (name: string, attributes: Attributes, total: number, falls?: boolean) => void
  readonly gauge: (name: string, attributes: Attributes, value: number) => void
}

const write = (snapshot: Metric.Metric.Snapshot, { count, gauge }: Write): void => {
  const { id } = snapshot
  const attributes = withoutUnit(snapshot.attributes)
  const countAndSum = (): void => {
    if (!("sum" in snapshot.state)) return
    count(`${id}.count`, attributes, snapshot.state.count)
    count(`${id}.sum`, attributes, snapshot.state.sum)
  }
  switch (snapshot.type) {
    case "Counter":
      return count(id, attributes, Number(snapshot.state.count), !snapshot.state.incremental)
    case "Gauge":
      return gauge(id, attributes, Number(snapshot.state.value))
    case "Frequency":
      for (const [key, total] of snapshot.state.occurrences) count(id, { ...attributes, key }, total)
      return
    case "Histogram":
      for (const [bound, total] of snapshot.state.buckets) {
        count(`${id}.bucket`, { ...attributes, le: String(bound) }, total)
      }
      return countAndSum()
    case "Summary":
      return countAndSum()
  }
}

const withoutUnit = ({ time_unit: _time, unit: _unit, ...rest }: Attributes = {}): Attributes => rest

/** Nothing that the line is divided by. */
const clean = (text: string): string => text.replaceAll(/[|@#,\s]/g, "_")

/** What stands before the value, and after its type. */
const ends = (name: string, attributes: Attributes, format: Format): readonly [head: string, tail: string] => {
  const head = format.prefix + clean(name).replaceAll(":", "_")
  if (format.format === "statsd") {
    const parts = Object.values(attributes).map((value) => `.${clean(value).replaceAll(/[:./]/g, "_")}`)
    return [head + parts.join(""), ""]
  }
  const tags = Object.entries({ ...format.tags, ...attributes }).map(([key, value]) =>
    `${clean(key).replaceAll(":", "_")}:${clean(value)}`
  )
  return [head, tags.length === 0 ? "" : `|#${tags.join(",")}`]
}

/** Without an exponent, which agents don't read. */
const decimal = (value: number): string =>
  Number.isInteger(value) ? String(value) : value.toFixed(9).replace(/\.?0+$/, "")

/** Lines put together to datagrams of at most so many bytes; one that is longer goes alone. */
export const packed = (lines: ReadonlyArray<Line>, maxBytes: number): ReadonlyArray<string> => {
  const out: Array<string> = []
  let room = 0
  for (const line of lines) {
    const bytes = Buffer.byteLength(line)
    if (room > bytes) {
      out[out.length - 1] += `\n${line}`
      room -= bytes + 1
    } else {
      out.push(line)
      room = maxBytes - bytes
    }
  }
  return out
}
