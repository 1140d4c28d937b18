import * as Context from "effect/Context"
import type { PreResponseHandler } from "effect/http/HttpEffect"

/**
 * Effect keeps the pre-response hooks of a request here, under a key that it doesn't export. Should it move, the hooks run
 * where Effect runs them, and the test of case 24 says that a failing one hangs.
 */
const RequestState = Context.Service<{ preResponseHandler: PreResponseHandler | undefined }>(
  "effect/http/HttpEffect/CurrentRequestState"
)

/** Whether Effect hooks wait for the response's value. */
export const hasPreResponseHook = (context: Context.Context<never>): boolean =>
  Context.getOrUndefined(context, RequestState)?.preResponseHandler !== undefined

/** Takes the hooks over from Effect, so that they run once, and inside the guard. */
export const takePreResponseHook = (context: Context.Context<never>): PreResponseHandler | undefined => {
  const state = Context.getOrUndefined(context, RequestState)
  const hook = state?.preResponseHandler
  if (state !== undefined) state.preResponseHandler = undefined
  return hook
}

/** The same services, with room for hooks of their own. */
export const withoutPreResponseHook = <R>(context: Context.Context<R>): Context.Context<R> =>
  // Sound: Effect provides this service itself, so that it is in no requirement.
  Context.add(context, RequestState, { preResponseHandler: undefined }) as Context.Context<R>
