import * as Fields from "@sluice/core/Fields"
import { IncomingMessage } from "node:http"
import * as HopByHop from "../HopByHop.ts"
import type { Incoming } from "../Incoming.ts"

/**
 * Fields that mean something before the body only (RFC 9110, 6.5.1): framing, routing, request modifiers, authentication,
 * response control data and how content is to be processed; and those by which a proxy says who the client is.
 */
const forbidden: ReadonlySet<string> = new Set([
  ...HopByHop.names,
  ..."content-length host cache-control expect max-forwards pragma range age date location retry-after vary warning"
    .split(" "),
  ..."authorization cookie set-cookie www-authenticate authentication-info content-encoding content-type".split(" "),
  ..."content-range forwarded via x-real-ip early-data origin".split(" ")
])

const isForbidden = (name: string): boolean =>
  forbidden.has(name) || name.startsWith("if-") || name.startsWith("x-forwarded-") || name.includes("_")

/** The option as a set of lower-cased names, or a `TypeError` that names what can't be a trailer field. */
export const requireTrailerNames = (names: ReadonlyArray<string>): ReadonlySet<string> => {
  const lower = names.map((name) => name.toLowerCase())
  const wrong = lower.find((name) => !/^[!#$%&'*+\-.^`|~\w]+$/.test(name) || isForbidden(name))
  if (wrong === undefined) return new Set(lower)
  throw new TypeError(`requestTrailers must name fields that may follow a body (RFC 9110, 6.5.1), got ${wrong}`)
}

/** What goes upstream behind a request's body. */
export interface RequestTrailers {
  /** Those that the client has announced, for `Trailer`; empty when there are none. */
  readonly announced: string
  /** To be read after the body. */
  readonly read: () => Fields.Fields
}

/** The trailer fields of a request that are on the list, unless `Connection` nominates them or the proxy sets them itself. */
export const requestTrailers = (
  { fields, request: { source } }: Incoming,
  allowed: ReadonlySet<string>,
  isOurs: (lowerName: string) => boolean
): RequestTrailers => {
  const nominated = Fields.tokens(fields, "connection")
  const passes = (name: string): boolean => allowed.has(name) && !nominated.includes(name) && !isOurs(name)
  return {
    announced: Fields.tokens(fields, "trailer").filter(passes).join(", "),
    read: () => source instanceof IncomingMessage ? Fields.filter(source.rawTrailers, passes) : Fields.empty
  }
}
