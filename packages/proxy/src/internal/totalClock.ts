import * as Deadline from "@sluice/core/Deadline"
import * as Timer from "@sluice/core/Timer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ProxyError from "../ProxyError.ts"

/** Bounds the wait for a response head by the total clock. */
export const headTimeout = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  total: number | undefined
): Effect.Effect<A, E | ProxyError.UpstreamTotalTimeout, R> =>
  total === undefined
    ? self
    : Deadline.enforce(self, {
      clock: "total",
      after: total,
      orElse: () => Effect.fail(new ProxyError.UpstreamTotalTimeout())
    })

/** Why a body that outlives the total clock is cut off. */
export const totalTimeoutCause = (): Cause.Cause<ProxyError.UpstreamTotalTimeout> =>
  Cause.fail(new ProxyError.UpstreamTotalTimeout())

/** Runs `cutOff` when the total clock runs out under a body. */
export const bodyTimeout = (total: number | undefined, cutOff: () => void): Timer.Cancel =>
  total === undefined ? () => {} : Timer.start(Timer.currentClock(), total, cutOff)
