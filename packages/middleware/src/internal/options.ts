import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

/** A duration option in milliseconds, or a `RangeError` that names it. Infinity is allowed: it switches a clock off. */
export const requireDuration = (name: string, value: Duration.Input): number => {
  const duration = Option.getOrUndefined(Duration.fromInput(value))
  const millis = duration === undefined ? Number.NaN : Duration.toMillis(duration)
  if (millis > 0) return millis
  const got = duration === undefined ? "none" : Duration.format(duration)
  throw new RangeError(`${name} must be a positive duration, got ${got}`)
}

/** {@link requireDuration} for what may also be zero, and must end. */
export const requireDelay = (name: string, value: Duration.Input): number => {
  const duration = Option.getOrUndefined(Duration.fromInput(value))
  const millis = duration === undefined ? Number.NaN : Duration.toMillis(duration)
  if (millis >= 0 && Number.isFinite(millis)) return millis
  const got = duration === undefined ? "none" : Duration.format(duration)
  throw new RangeError(`${name} must be a finite, non-negative duration, got ${got}`)
}

/** @see https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2 */
const token = /^[\w!#$%&'*+.^`|~-]+$/

/** The name of a header field, or a `RangeError` that names the option. */
export const requireFieldName = (name: string, value: string): string => {
  if (token.test(value)) return value
  throw new RangeError(`${name} must be a header field name, got ${JSON.stringify(value)}`)
}

/** @see https://www.rfc-editor.org/rfc/rfc9110#section-5.5 */
const fieldValue = /^[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?$/

/** The value of a header field, or a `RangeError` that names the option. */
export const requireFieldValue = (name: string, value: string): string => {
  if (fieldValue.test(value)) return value
  throw new RangeError(`${name} must be a header field value, got ${JSON.stringify(value)}`)
}

/** An option out of a few words, or a `RangeError` that names it. */
export const requireOneOf = <const A extends string>(name: string, value: A, allowed: ReadonlyArray<A>): A => {
  if (allowed.includes(value)) return value
  throw new RangeError(`${name} must be one of ${allowed.join(", ")}, got ${value}`)
}

/** A number of bytes, or a `RangeError` that names the option. Infinity is allowed: it switches a limit off. */
export const requireBytes = (name: string, value: number): number => {
  if (value === Infinity || Number.isSafeInteger(value) && value >= 0) return value
  throw new RangeError(`${name} must be a number of bytes, got ${value}`)
}

/** A text that a quoted parameter of a challenge may hold, or a `RangeError` that names the option. */
export const requireQuotable = (name: string, value: string): string => {
  if (/^[\x20-\x7e]+$/.test(value)) return value
  throw new RangeError(`${name} must be printable ASCII, got ${JSON.stringify(value)}`)
}

/** A number within bounds, or a `RangeError` that names the option. */
export const requireNumber = (name: string, value: number, { min = 0, max = Infinity }): number => {
  if (value >= min && value <= max) return value
  throw new RangeError(`${name} must be a number from ${min} to ${max}, got ${value}`)
}

/** A whole number of at least `min`, or a `RangeError` that names the option. */
export const requireCount = (name: string, value: number, min: number): number => {
  if (Number.isSafeInteger(value) && value >= min) return value
  throw new RangeError(`${name} must be a whole number of at least ${min}, got ${value}`)
}

/** A duration in whole seconds, rounded up, as `Retry-After` has it, or a `RangeError` that names the option. */
export const requireRetryAfter = (name: string, value: Duration.Input): number => {
  const seconds = Math.ceil(requireDuration(name, value) / 1000)
  if (Number.isFinite(seconds)) return seconds
  throw new RangeError(`${name} must be a finite duration, got Infinity`)
}

/** A duration in whole seconds, rounded down, as fields hold it; zero is allowed. A `RangeError` names the option. */
export const requireSeconds = (name: string, value: Duration.Input): number => {
  const duration = Option.getOrUndefined(Duration.fromInput(value))
  const seconds = duration === undefined ? Number.NaN : Math.floor(Duration.toMillis(duration) / 1000)
  if (seconds >= 0 && Number.isFinite(seconds)) return seconds
  const got = duration === undefined ? "none" : Duration.format(duration)
  throw new RangeError(`${name} must be a finite duration of at least 0, got ${got}`)
}

/** The name of a method, which is case-sensitive, or a `RangeError` that names the option. */
export const requireMethod = (name: string, value: string): string => {
  if (token.test(value)) return value
  throw new RangeError(`${name} must be a method, got ${JSON.stringify(value)}`)
}
