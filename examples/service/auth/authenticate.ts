import { ApiKey, Authentication, Jwt } from "@sluice/middleware"
import { Effect } from "effect"
import { Claims, Principal } from "./Principal.ts"
import { Sessions } from "./Sessions.ts"

/** Whose tokens are taken. */
export interface Trust {
  readonly keys: Jwt.Keys
  readonly issuer: string
  readonly audience: string
}

export const sessionCookie = "desk"

const userId = (principal: Claims): string => principal.sub

/** A token in `Authorization`: programs, and the desk when somebody signs in. */
export const byToken = ({ audience, issuer, keys }: Trust) =>
  Jwt.make(Principal, { realm: "orders", keys, algorithms: ["ES256"], issuer, audience, claims: Claims, userId })

/** The cookie of somebody who has signed in at the desk. */
export const bySession = ApiKey.make(Principal, {
  in: "cookie",
  name: sessionCookie,
  realm: "desk",
  verify: (secret) => Effect.flatMap(Sessions, (sessions) => sessions.find(secret)),
  userId
})

/** Either of the two. */
export const byTokenOrSession = (trust: Trust) => Authentication.anyOf(byToken(trust), bySession)
