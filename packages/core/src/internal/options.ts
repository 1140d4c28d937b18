import * as Duration from "effect/Duration"

/** An integer option, or a `RangeError` that names it. */
export const requireInteger = (name: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): number => {
  if (Number.isInteger(value) && value >= least && value <= most) return value
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
  throw new RangeError(`${name} must be an integer ${range}, got ${value}`)
}

/** A duration option in milliseconds, or a `RangeError` that names it. Infinity is allowed: it switches a clock off. */
export const requireDuration = (name: string, value: Duration.Input): number =>
  requireMillis(name, value, (millis) => millis > 0, "positive")

/** {@link requireDuration} for what may also be zero, and must end. */
export const requireDelay = (name: string, value: Duration.Input): number =>
  requireMillis(name, value, (millis) => millis >= 0 && Number.isFinite(millis), "finite, non-negative")

const requireMillis = (
  name: string,
  value: Duration.Input,
  allowed: (millis: number) => boolean,
  kind: string
): number => {
  const duration = Duration.fromInputUnsafe(value)
  const millis = Duration.toMillis(duration)
  if (allowed(millis)) return millis
  throw new RangeError(`${name} must be a ${kind} duration, got ${Duration.format(duration)}`)
}
