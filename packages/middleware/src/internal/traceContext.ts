import * as Fields from "@sluice/core/Fields"

/** What a `traceparent` says. */
export interface Parent {
  readonly traceId: string
  readonly spanId: string
  readonly sampled: boolean
}

/** Version, trace id, parent id and flags; a higher version may go on after them. */
const grammar = /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}(?:-.*)?$/

const noTrace = "0".repeat(32)
const noSpan = "0".repeat(16)

/** What {@link grammar} takes of version 0. */
const length = 55

/** @see https://www.w3.org/TR/trace-context/#traceparent-header */
export const parseTraceparent = (lines: ReadonlyArray<string>): Parent | undefined => {
  if (lines.length !== 1 || !grammar.test(lines[0])) return undefined
  const [line] = lines
  if (line.startsWith("ff") || (line.length > length && line.startsWith("00"))) return undefined
  const traceId = line.slice(3, 35)
  const spanId = line.slice(36, 52)
  if (traceId === noTrace || spanId === noSpan) return undefined
  return { traceId, spanId, sampled: (Number.parseInt(line.slice(53, length), 16) & 1) === 1 }
}

/** `undefined` when the ids are none, as those of a span that nobody records. */
export const formatTraceparent = ({ sampled, spanId, traceId }: Parent): string | undefined => {
  const trace = traceId.length < 32 ? traceId.padStart(32, "0") : traceId
  const text = `00-${trace}-${spanId}-${sampled ? "01" : "00"}`
  return text.length === length && grammar.test(text) && trace !== noTrace && spanId !== noSpan ? text : undefined
}

const maxStates = 32

/** A key (with the tenant before `@`, or as level 2 has it), `=`, and printable text without comma and equals sign. */
const state = /^[a-z\d][a-z\d_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/

const listOf = (lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.flatMap((line) => line.split(",")).map((member) => member.trim()).filter((member) => member !== "")

/**
 * The members, in order and at most 32 of them, the newest; none at all when one is malformed.
 *
 * @see https://www.w3.org/TR/trace-context/#tracestate-header
 */
export const parseTracestate = (lines: ReadonlyArray<string>): string => {
  if (lines.length === 0) return ""
  const members = listOf(lines)
  return members.every((member) => state.test(member)) ? members.slice(0, maxStates).join(",") : ""
}

const maxBaggage = { members: 64, bytes: 8192 }

/** A token, `=`, percent-encoded text, and properties, which are not looked at. */
const baggageMember =
  /^([\w!#$%&'*+.^`|~-]+)[ \t]*=[ \t]*([\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*)[ \t]*(;[\x20-\x7e\t]*)?$/

/** What is carried along. */
export interface Baggage {
  readonly text: string
  readonly entries: ReadonlyMap<string, string>
}

export const noBaggage: Baggage = { text: "", entries: new Map() }

/**
 * The members that are well formed, within the limits that the standard sets: 64 of them and 8192 bytes.
 *
 * @see https://www.w3.org/TR/baggage/#header-content
 */
export const parseBaggage = (lines: ReadonlyArray<string>): Baggage => {
  const entries = new Map<string, string>()
  let text = ""
  for (const member of listOf(lines)) {
    const match = baggageMember.exec(member)
    const value = match === null ? undefined : decoded(match[2])
    if (match === null || value === undefined) continue
    const longer = text === "" ? member : `${text},${member}`
    if (entries.size >= maxBaggage.members || longer.length > maxBaggage.bytes) break
    text = longer
    entries.set(match[1], value)
  }
  return { text, entries }
}

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** Whatever tells of a trace in other words. It would contradict ours. */
export const foreign: ReadonlyArray<string> = [
  "b3",
  "x-b3-traceid",
  "x-b3-spanid",
  "x-b3-parentspanid",
  "x-b3-sampled",
  "x-b3-flags"
]

/** What a request says of the trace that it belongs to. */
export const read = (fields: Fields.Fields, withBaggage: boolean) => {
  const parent = parseTraceparent(Fields.getAll(fields, "traceparent"))
  return {
    parent,
    tracestate: parent === undefined ? "" : parseTracestate(Fields.getAll(fields, "tracestate")),
    baggage: withBaggage ? parseBaggage(Fields.getAll(fields, "baggage")) : noBaggage
  }
}
