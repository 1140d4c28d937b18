import { randomFillSync } from "node:crypto"

/**
 * A UUID of version 7: 48 bits of milliseconds since 1970, then 74 random bits.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9562#section-5.7
 */
export const uuid7 = (millis: number): string => {
  if (millis !== prefixed) {
    const time = Math.trunc(millis).toString(16).padStart(12, "0")
    prefix = `${time.slice(0, 8)}-${time.slice(8, 12)}-7`
    prefixed = millis
  }
  if (at === digits.length) {
    digits = randomFillSync(pool).toString("hex")
    at = 0
  }
  const start = at
  at += 20
  const variant = variants[Number.parseInt(digits[start + 3], 16)]
  return `${prefix}${digits.slice(start, start + 3)}-${variant}${digits.slice(start + 4, start + 7)}-${
    digits.slice(start + 7, start + 19)
  }`
}

/** Many requests arrive in the same millisecond. */
let prefixed = Number.NaN
let prefix = ""

/** Random digits for the next ids, twenty each: one call for many costs a fraction of a call for each. */
const pool = Buffer.alloc(2560)
let digits = ""
let at = 0

/** The two upper bits of the first digit are those of the variant, 10. */
const variants = "89ab".repeat(4)
