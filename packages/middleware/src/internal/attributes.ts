import type * as Exchange from "@sluice/core/Exchange"
import type { Trace } from "@sluice/core/Report"

/** The exchange attribute that holds the request's id. */
export const requestIdKey = "request.id"

/** The exchange attribute that says who asks. */
export const userKey = "user"

/** The exchange and span attribute that holds nothing but who that is. */
export const userIdKey = "user.id"

/** The exchange attribute that says where in a trace the request stands. */
export const traceKey = "@sluice/middleware/Tracing"

/** Where `Tracing` placed the request, if it was there. */
export const traceOf = (exchange: Exchange.Exchange): Trace | undefined =>
  // Sound: only `Tracing` writes under this key.
  exchange.attributes.get(traceKey) as Trace | undefined

/** The id that `RequestId` left, if it was there. */
export const requestIdOf = (exchange: Exchange.Exchange): string | undefined => {
  const id = exchange.attributes.get(requestIdKey)
  return typeof id === "string" ? id : undefined
}

/** The exchange attribute that holds the client's address. */
export const clientAddressKey = "client.address"
