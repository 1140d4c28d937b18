import * as Duration from "effect/Duration"

/** A duration option in milliseconds, or a `RangeError` that names it. */
export const requirePositive = (name: string, duration: Duration.Input): number => {
  const millis = Duration.toMillis(duration)
  if (millis > 0) return millis
  throw new RangeError(
    `${name} must be a positive duration, got ${Duration.format(Duration.fromInputUnsafe(duration))}`
  )
}

/** A size option in bytes, or a `RangeError` that names it. Infinity is no limit. */
export const requireSize = (name: string, bytes: number): number => {
  if (bytes === Infinity || (Number.isSafeInteger(bytes) && bytes >= 0)) return bytes
  throw new RangeError(`${name} must be a whole number of bytes, got ${bytes}`)
}
