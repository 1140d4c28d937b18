import { randomUUID } from "node:crypto"

/**
 * A UUID of version 7: 48 bits of milliseconds since 1970, then 74 random bits, which are taken from one of version 4.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9562#section-5.7
 */
export const uuid7 = (millis: number): string => {
  const time = Math.trunc(millis).toString(16).padStart(12, "0")
  return `${time.slice(0, 8)}-${time.slice(8, 12)}-7${randomUUID().slice(15)}`
}
