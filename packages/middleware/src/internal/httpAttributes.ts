import type * as Exchange from "@sluice/core/Exchange"

/** @see https://opentelemetry.io/docs/specs/semconv/registry/attributes/http/ `http.request.method` */
const knownMethods = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"])

/** The method, or `_OTHER`: a client may invent as many as it likes. */
export const methodOf = ({ method }: Exchange.Exchange): string => knownMethods.has(method) ? method : "_OTHER"

/** `1.1`, `2`: a version whose minor number means nothing is without it. */
export const versionOf = ({ httpVersion }: Exchange.Exchange): string => httpVersion === "2.0" ? "2" : httpVersion

export const schemeOf = ({ secure }: Exchange.Exchange): "http" | "https" => secure ? "https" : "http"

/** `error.type` of a server: the status when it says so, how the exchange ended when it ended badly, else nothing. */
export const errorTypeOf = ({ outcome, status }: Exchange.Ended): string | undefined => {
  if (outcome._tag === "ClientAborted") return outcome._tag
  if (status !== undefined && status >= 500) return String(status)
  const answered = status !== undefined && status >= 400
  return outcome._tag === "Completed" || outcome._tag === "Rejected" || answered ? undefined : outcome._tag
}
