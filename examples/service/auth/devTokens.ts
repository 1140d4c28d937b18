import { Jwt } from "@sluice/middleware"
import { Clock, Effect, Redacted } from "effect"
import { generateKeyPair, SignJWT } from "jose"
import type { Trust } from "./authenticate.ts"
import type { Claims } from "./Principal.ts"

const issuer = "https://id.service.test"
const audience = "orders"

/**
 * An issuer of tokens that lives as long as this process: its key is made when it starts and never leaves it. In production
 * this is somebody else's service, and `trust` is `Jwt.remoteKeySet` with its address.
 */
export const make: Effect.Effect<{
  readonly trust: Trust
  /** A token that is good for eight hours. */
  readonly issue: (claims: Claims) => Effect.Effect<Redacted.Redacted>
}> = Effect.map(
  Effect.promise(() => generateKeyPair("ES256")),
  ({ privateKey, publicKey }) => ({
    trust: { keys: Jwt.publicKey(publicKey), issuer, audience },
    issue: Effect.fnUntraced(function*({ scope, sub }) {
      const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
      const token = new SignJWT({ scope, sub, iss: issuer, aud: audience, iat: now, exp: now + 8 * 3600 })
        .setProtectedHeader({ alg: "ES256" })
      return Redacted.make(yield* Effect.promise(() => token.sign(privateKey)))
    })
  })
)
