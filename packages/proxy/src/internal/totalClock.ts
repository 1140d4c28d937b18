import * as Deadline from "@sluice/core/Deadline"
import * as Timer from "@sluice/core/Timer"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as ProxyError from "../ProxyError.ts"

/** The total clock of one exchange. */
export interface TotalClock {
  readonly clock: Clock.Clock
  /** When it runs out, in milliseconds of the clock. */
  readonly at: number
}

export const start = (millis: number, fiber: Fiber.Fiber<unknown, unknown>): TotalClock => {
  const clock = fiber.getRef(Clock.Clock)
  return { clock, at: clock.currentTimeMillisUnsafe() + millis }
}

const left = ({ at, clock }: TotalClock): number => Math.max(0, at - clock.currentTimeMillisUnsafe())

/** Bounds the wait for a response head. */
export const headTimeout = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  total: TotalClock | undefined
): Effect.Effect<A, E | ProxyError.UpstreamTotalTimeout, R> =>
  total === undefined
    ? self
    : Deadline.enforce(self, {
      clock: "total",
      after: left(total),
      orElse: () => Effect.fail(new ProxyError.UpstreamTotalTimeout())
    })

/** Runs `cutOff`, with the reason, when the clock runs out under a body. */
export const bodyTimeout = (
  total: TotalClock | undefined,
  cutOff: (cause: Cause.Cause<ProxyError.UpstreamTotalTimeout>) => void
): Timer.Cancel =>
  total === undefined
    ? noop
    : Timer.start(total.clock, left(total), () => cutOff(Cause.fail(new ProxyError.UpstreamTotalTimeout())))

const noop = (): void => {}
