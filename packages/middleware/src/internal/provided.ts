import type { Handler } from "@sluice/core/Handler"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** `Effect.provideService` without the closures that it makes at each call: this is on every request. */
export const provided = <E, R, I, S>(
  handler: Handler<E, R>,
  service: Context.Key<I, S>,
  value: S
): Handler<E, Exclude<R, I>> =>
  Effect.updateContext(
    handler,
    // Sound: it has the one service that it did not have.
    (context: Context.Context<Exclude<R, I>>) => Context.add(context, service, value) as Context.Context<R>
  )
