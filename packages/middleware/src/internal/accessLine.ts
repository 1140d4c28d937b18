import type { Entry } from "../AccessLog.ts"
import { perSecond } from "./perSecond.ts"

/** Microseconds are as exact as it gets. */
const millis = (value: number): number => Math.round(value * 1000) / 1000

/** `GET /orders/7 200` */
export const short = ({ method, path, status }: Entry): string =>
  `${method === "" ? "-" : method} ${path === "" ? "-" : path} ${status ?? "-"}`

/**
 * What is known of an entry, added to what is there already. Each key by itself: a record of all that is filtered
 * afterwards costs more than the rest of an entry.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/http/http-spans/
 */
export const annotations = (entry: Entry, before: Readonly<Record<string, unknown>>): Record<string, unknown> => {
  const out: Record<string, unknown> = { ...before }
  out["http.request.method"] = entry.method
  if (entry.route !== undefined) out["http.route"] = entry.route
  out["url.path"] = entry.path
  if (entry.status !== undefined) out["http.response.status_code"] = entry.status
  out["http.request.body.size"] = entry.bytesIn
  out["http.response.body.size"] = entry.bytesOut
  out["network.protocol.version"] = entry.httpVersion
  if (entry.clientAddress !== undefined) out["client.address"] = entry.clientAddress
  if (entry.userAgent !== undefined) out["user_agent.original"] = entry.userAgent
  if (entry.referer !== undefined) out["http.request.header.referer"] = entry.referer
  if (entry.requestId !== undefined) out["request.id"] = entry.requestId
  if (entry.traceId !== undefined) out["trace.id"] = entry.traceId
  out["exchange.outcome"] = entry.outcome
  out["exchange.duration"] = millis(entry.duration)
  if (entry.firstByteAfter !== undefined) out["exchange.ttfb"] = millis(entry.firstByteAfter)
  return out
}

/** An object in a line, with the members of the entry; those that are `undefined` are left out. */
export const json = (entry: Entry): string =>
  JSON.stringify({
    ...entry,
    time: new Date(entry.time).toISOString(),
    duration: millis(entry.duration),
    firstByteAfter: entry.firstByteAfter === undefined ? undefined : millis(entry.firstByteAfter)
  })

/**
 * The combined log format, in UTC.
 *
 * @see https://httpd.apache.org/docs/current/logs.html#combined
 */
export const combined = (entry: Entry): string => {
  const request = entry.method === "" ? "-" : `${entry.method} ${entry.path} HTTP/${entry.httpVersion}`
  return `${entry.clientAddress ?? "-"} - - [${date(entry.time)}] ${quoted(request)} ${entry.status ?? "-"} ` +
    `${entry.bytesOut === 0 ? "-" : entry.bytesOut} ${quoted(entry.referer)} ${quoted(entry.userAgent)}`
}

const quoted = (text = "-"): string => special.test(text) ? `"${text.replaceAll(specials, "\\$&")}"` : `"${text}"`

const special = /["\\]/
const specials = /["\\]/g

/** `10/Oct/2026:13:55:36 +0000`. */
const date = perSecond((time) => {
  const [, day, month, year, clock] = new Date(time).toUTCString().split(" ")
  return `${day}/${month}/${year}:${clock} +0000`
})

/** @see https://www.w3.org/TR/WD-logfile.html */
const w3cFields: ReadonlyArray<readonly [name: string, value: (entry: Entry) => string | number | undefined]> = [
  ["date", ({ time }) => new Date(time).toISOString().slice(0, 10)],
  ["time", ({ time }) => new Date(time).toISOString().slice(11, 19)],
  ["c-ip", ({ clientAddress }) => clientAddress],
  ["cs-method", ({ method }) => method],
  ["cs-uri-stem", ({ path }) => path],
  ["cs-version", ({ httpVersion, method }) => method === "" ? undefined : `HTTP/${httpVersion}`],
  ["sc-status", ({ status }) => status],
  ["sc-bytes", ({ bytesOut }) => bytesOut],
  ["cs-bytes", ({ bytesIn }) => bytesIn],
  ["time-taken", ({ duration }) => (duration / 1000).toFixed(3)],
  ["cs(User-Agent)", ({ userAgent }) => userAgent],
  ["cs(Referer)", ({ referer }) => referer]
]

/** The directives that a log file begins with. */
export const w3cDirectives = `#Version: 1.0\n#Fields: ${w3cFields.map(([name]) => name).join(" ")}`

export const w3c = (entry: Entry): string => w3cFields.map(([, value]) => w3cText(String(value(entry) ?? ""))).join(" ")

/** No field may hold a space, which divides them. */
const w3cText = (text: string): string => text === "" ? "-" : text.replaceAll(/\s/g, "+")
