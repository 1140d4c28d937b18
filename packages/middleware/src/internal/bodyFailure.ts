import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import type * as RequestBody from "@sluice/core/RequestBody"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"

/**
 * Fails with what ended the request's body, if it is one of `error`, in place of whatever a reader made of it: Effect's
 * accessors wrap it, a proxy has errors of its own, `orDie` makes it a defect. A failure of somebody who never read the body
 * stays what it is.
 */
export const failWith = <E, R, X extends Error>(
  handler: Handler<E, R>,
  body: RequestBody.RequestBody,
  error: abstract new(...args: never) => X
): Handler<E | X, R | HttpServerRequest> =>
  Effect.catchCause(handler, (cause): Handler<E | X, HttpServerRequest> => {
    const { failure } = body
    if (!(failure instanceof error) || Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause)
    if (!body.wanted && !isMadeOf(cause, failure)) return Effect.failCause(cause)
    return Effect.flatMap(Exchange.current, ({ status }): Handler<E | X> =>
      // Once the head is out, no response can be made of it any more.
      status === undefined ? Effect.fail(failure) : Effect.failCause(cause))
  })

const isMadeOf = (cause: Cause.Cause<unknown>, failure: Error): boolean =>
  cause.reasons.some((reason) =>
    Cause.isFailReason(reason) ?
      leadsTo(reason.error, failure, 4) :
      Cause.isDieReason(reason) && leadsTo(reason.defect, failure, 4)
  )

const leadsTo = (error: unknown, failure: Error, depth: number): boolean => {
  if (error === failure) return true
  if (depth === 0 || typeof error !== "object" || error === null) return false
  const { cause, reason } = error as { readonly cause?: unknown; readonly reason?: unknown }
  return leadsTo(cause, failure, depth - 1) || leadsTo(reason, failure, depth - 1)
}
