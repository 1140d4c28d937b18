/** What `prom-client` counts for those who have no metrics of their own: the four instruments that ours has. */
import { Gauge, Histogram } from "prom-client"
import { durations, sizes } from "./shared.ts"

const labelNames = ["method", "route", "status", "scheme", "version"] as const

const active = new Gauge({ name: "http_active", help: "Active requests", labelNames: ["method", "scheme"] as const })
const duration = new Histogram({ name: "http_duration", help: "Duration", labelNames, buckets: durations })
const received = new Histogram({ name: "http_request_size", help: "Request size", labelNames, buckets: sizes })
const sent = new Histogram({ name: "http_response_size", help: "Response size", labelNames, buckets: sizes })

/** A request has arrived. */
export const started = (method: string): void => active.inc({ method, scheme: "http" })

/** Its response is over. */
export const ended = (
  of: { readonly method: string; readonly route: string | undefined; readonly status: number },
  numbers: { readonly seconds: number; readonly received: number; readonly sent: number }
): void => {
  const labels = { method: of.method, route: of.route ?? "", status: of.status, scheme: "http", version: "1.1" }
  active.dec({ method: of.method, scheme: "http" })
  duration.observe(labels, numbers.seconds)
  received.observe(labels, numbers.received)
  sent.observe(labels, numbers.sent)
}
