import * as Effect from "effect/Effect"
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto"

/** A password's scrypt hash. */
export interface PasswordHash {
  /** The binary logarithm of the cost. */
  readonly ln: number
  readonly r: number
  readonly p: number
  readonly salt: Buffer
  readonly hash: Buffer
}

const format = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([\w+/]{11,86})\$([\w+/]{22,86})$/

/**
 * Reads the PHC string format.
 *
 * @see https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md
 */
export const parse = (text: string): PasswordHash | undefined => {
  const [, ln, r, p, salt, hash] = format.exec(text) ?? []
  if (hash === undefined) return undefined
  const parsed = {
    ln: Number(ln),
    r: Number(r),
    p: Number(p),
    salt: Buffer.from(salt, "base64"),
    hash: Buffer.from(hash, "base64")
  }
  return parsed.ln >= 1 && parsed.ln <= 20 && parsed.r >= 1 && parsed.p >= 1 ? parsed : undefined
}

const standard = { ln: 15, r: 8, p: 1 }

export const make = (password: string): Effect.Effect<string> =>
  Effect.suspend(() => {
    const salt = randomBytes(16)
    const { ln, p, r } = standard
    return Effect.map(derive(password, { ...standard, salt }, 32), (hash) =>
      `$scrypt$ln=${ln},r=${r},p=${p}$${unpadded(salt)}$${unpadded(hash)}`)
  })

export const verify = (wanted: PasswordHash, password: string): Effect.Effect<boolean> =>
  Effect.map(derive(password, wanted, wanted.hash.length), (hash) => timingSafeEqual(hash, wanted.hash))

const unpadded = (bytes: Buffer): string => bytes.toString("base64").replaceAll("=", "")

const derive = (
  password: string,
  { ln, p, r, salt }: Omit<PasswordHash, "hash">,
  length: number
): Effect.Effect<Buffer> =>
  Effect.callback((resume) => {
    const N = 2 ** ln
    // Node's own limit is less than what the standard cost takes.
    scrypt(password, salt, length, { N, r, p, maxmem: 256 * N * r * p }, (error, key) => {
      resume(error === null ? Effect.succeed(key) : Effect.die(error))
    })
  })
