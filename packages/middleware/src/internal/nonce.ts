import { randomFillSync } from "node:crypto"

/** Random bytes cost less when many are made at once. Each is used for one nonce. */
const pool = Buffer.alloc(4096)
const size = 16
let used = pool.length

/** 128 random bits in base64. */
export const nonce = (): string => {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += size
  return pool.toString("base64", used - size, used)
}
