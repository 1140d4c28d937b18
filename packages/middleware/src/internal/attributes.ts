import type * as Exchange from "@sluice/core/Exchange"

/** The exchange attribute that holds the request's id. */
export const requestIdKey = "request.id"

/** The exchange attribute that says who asks. */
export const userKey = "user"

/** The exchange and span attribute that holds nothing but who that is. */
export const userIdKey = "user.id"

/** The id that `RequestId` left, if it was there. */
export const requestIdOf = (exchange: Exchange.Exchange): string | undefined => {
  const id = exchange.attributes.get(requestIdKey)
  return typeof id === "string" ? id : undefined
}

/** The exchange attribute that holds the client's address. */
export const clientAddressKey = "client.address"
