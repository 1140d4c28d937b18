import { hash } from "node:crypto"

/** Remembers which key the signature of a token was found good with. */
export interface VerifiedTokens<Key extends object> {
  readonly has: (token: string, key: Key) => boolean
  readonly add: (token: string, key: Key) => void
}

/**
 * At most `most` tokens, by their digests: tokens are secrets. They are kept in two generations; when there are half of
 * `most` young ones, these grow old, and the old are forgotten.
 */
export const make = <Key extends object>(most: number): VerifiedTokens<Key> => {
  let young = new Map<string, Key>()
  let old = new Map<string, Key>()
  const keep = (digest: string, key: Key): void => {
    if (young.size >= most / 2) {
      old = young
      young = new Map()
    }
    young.set(digest, key)
  }
  return {
    has: (token, key) => {
      const digest = digestOf(token)
      if (young.get(digest) === key) return true
      if (old.get(digest) !== key) return false
      keep(digest, key)
      return true
    },
    add: (token, key) => keep(digestOf(token), key)
  }
}

const digestOf = (token: string): string => hash("sha256", token, "base64")
