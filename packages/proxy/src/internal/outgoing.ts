import * as DirectResponse from "@sluice/core/DirectResponse"
import type * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type { Incoming } from "../Incoming.ts"
import type { Relay, ResponseHead } from "../Proxy.ts"
import type { ResponseBody, UpstreamResponse } from "../Transport.ts"
import { isEventStream, untilDrained } from "./eventStream.ts"
import { patch } from "./prepare.ts"
import type { TotalClock } from "./totalClock.ts"

/** The clocks that go on once a response has a head. */
export interface Limits {
  readonly total: TotalClock | undefined
  /** In milliseconds. */
  readonly writeIdle: number
}

/** A response as it goes to the client. */
export interface Outgoing {
  readonly status: number
  /** `undefined` for the usual one. */
  readonly reason: string | undefined
  readonly fields: Fields.Fields
  readonly body: ResponseBody
  /** Whether the client waits for no body: a response to HEAD says a length all the same. */
  readonly bodiless: boolean
  readonly limits: Limits
  readonly exchange: Exchange.Exchange
  /** What the upstream announced of its trailers, when they are relayed. */
  readonly announced: string | undefined
}

/** What goes to the client of an upstream's response. */
export const outgoingOf = (
  { body, fields: received }: UpstreamResponse,
  head: ResponseHead,
  changes: Relay,
  incoming: Incoming,
  limits: Limits
): Outgoing => {
  const status = changes.status ?? head.status
  const fields = patch(head.fields, changes)
  return {
    status,
    reason: status === head.status ? head.reason : undefined,
    fields: hasNoLength(status) ? Fields.remove(fields, "content-length") : fields,
    body: isEventStream(status, fields, body) ? untilDrained(body, incoming.exchange) : body,
    bodiless: incoming.method === "HEAD" || hasNoLength(status) || status === 304,
    limits,
    exchange: incoming.exchange,
    announced: body.length === undefined && wantsTrailers(incoming.exchange)
      ? Fields.get(received, "trailer")
      : undefined
  }
}

/** Fields behind a body are for clients that say they take them (RFC 9110, 10.1.4). */
const wantsTrailers = ({ httpVersion, requestFields }: Exchange.Exchange): boolean =>
  httpVersion !== "1.0" && Fields.tokens(requestFields, "te").includes("trailers")

export const relayTrailers = (exchange: Exchange.Exchange, trailers: Fields.Fields): void => {
  if (trailers.length > 0 && wantsTrailers(exchange)) DirectResponse.sendTrailers(exchange, trailers)
}

/** RFC 9110, 8.6 and 15.3.6: there is no content, and nothing may promise any. */
const hasNoLength = (status: number): boolean => status === 204 || status === 205
