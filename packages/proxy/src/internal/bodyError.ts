import * as ProxyError from "../ProxyError.ts"

/** Why a request body can't be read on: what a limit or a clock put into the stream failed with keeps its tag. */
export const toBodyError = (cause: unknown): ProxyError.RequestBodyError =>
  isBodyError(cause) ? cause : new ProxyError.RequestBodyMalformed({ cause })

const isBodyError = (cause: unknown): cause is ProxyError.RequestBodyError =>
  ProxyError.isProxyError(cause) && cause._tag.startsWith("RequestBody")

/** A request body that went away before its end. */
export const closedEarly = (): ProxyError.RequestBodyMalformed =>
  new ProxyError.RequestBodyMalformed({ cause: new Error("the request body was closed before its end") })
