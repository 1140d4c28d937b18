import * as Cause from "effect/Cause"
import * as Report from "../Report.ts"

/** What a terminal or a log collector would take for something else than text. */
// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f-\u009f]/g

/** `500 GET /orders/:id (/orders/7) OutOfStock, 3 times, in handler: Failed after 12 ms, request 7f3a, trace 0af7…` */
export const line = (report: Report.Report): string => {
  const place = [
    report.status ?? "-",
    report.method,
    report.route,
    report.route === report.path ? undefined : report.path
  ]
    .filter((part) => part !== undefined)
    .join(" ")
  const details = [
    report.count === 1 ? undefined : `${report.count} times`,
    `${report.outcome} in ${report.phase} after ${Math.round(report.duration)} ms`,
    report.requestId === undefined ? undefined : `request ${report.requestId}`,
    report.trace === undefined ? undefined : `trace ${report.trace.traceId}`
  ].filter((part) => part !== undefined)
  return `${place} ${Report.name(report.error)}: ${details.join(", ")}`.replaceAll(control, "?")
}

/** The line with time and severity, and under it the whole cause. */
export const text = (report: Report.Report): string =>
  `${new Date(report.time).toISOString()} ${Report.severity(report)} ${line(report)}\n${Cause.pretty(report.cause)}`

/** @see https://opentelemetry.io/docs/specs/semconv/http/http-spans/ */
export const annotations = (report: Report.Report): Record<string, unknown> => {
  const out: Record<string, unknown> = {
    "http.request.method": report.method,
    "http.route": report.route,
    "url.path": report.path,
    "http.response.status_code": report.status,
    "error.type": Report.name(report.error),
    "request.id": report.requestId,
    "trace.id": report.trace?.traceId,
    "span.id": report.trace?.spanId,
    "report.phase": report.phase,
    "report.outcome": report.outcome,
    "report.unhandled": report.unhandled,
    "report.duration": report.duration,
    "report.fingerprint": report.fingerprint,
    "report.count": report.count,
    ...prefixed(report.notes)
  }
  for (const name of Object.keys(out)) {
    if (out[name] === undefined) delete out[name]
  }
  return out
}

const prefixed = (notes: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(notes).map(([name, value]) => [`note.${name}`, value]))
