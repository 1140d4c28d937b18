import type * as Exchange from "@sluice/core/Exchange"

/** The scheme and authority of a target in absolute form (RFC 9112, 3.2.2), which may hold a user's name and password. */
const origin = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i

const withoutOrigin = (target: string): string => origin.test(target) ? target.replace(origin, "") || "/" : target

/** The path of a request target, without query and without origin. */
export const pathOf = (exchange: Exchange.Exchange): string => withoutOrigin(exchange.path)

/** The path of a request target with its query, without origin. */
export const urlOf = (exchange: Exchange.Exchange): string => withoutOrigin(exchange.target)
