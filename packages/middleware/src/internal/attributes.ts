import type * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type { Trace } from "@sluice/core/Report"

/** The exchange attribute that holds the request's id. */
export const requestIdKey = "request.id"

/** The exchange attribute that says who asks. */
export const userKey = "user"

/** The exchange and span attribute that holds nothing but who that is. */
export const userIdKey = "user.id"

/** The exchange attribute that says that credentials were accepted, wherever in the request they were. */
export const authenticatedKey = "@sluice/middleware/authenticated"

/** Whether the request came with credentials: in `Authorization`, or where a scheme of ours has found and accepted them. */
export const hasCredentials = (exchange: Exchange.Exchange): boolean =>
  exchange.attributes.has(authenticatedKey) || Fields.has(exchange.requestFields, "authorization")

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
