import { Clock, Context, Duration, Effect, Layer, Option, Redacted } from "effect"
import { createHash, randomBytes } from "node:crypto"
import type { Claims } from "./Principal.ts"

/** Who is signed in at the desk, by the secret in the browser's cookie. */
export class Sessions extends Context.Service<Sessions, {
  readonly open: (who: Claims) => Effect.Effect<Redacted.Redacted>
  readonly find: (secret: Redacted.Redacted) => Effect.Effect<Option.Option<Claims>>
}>()("service/Sessions") {}

/** How long a session lasts, and how many there are at most: the oldest gives way. */
export const lifetime = Duration.hours(1)
const most = 1000

/** What is kept is no secret: whoever reads it can't sign in with it. */
const digest = (secret: Redacted.Redacted): string =>
  createHash("sha256").update(Redacted.value(secret)).digest("base64url")

export const layer = Layer.sync(Sessions)(() => {
  const sessions = new Map<string, { readonly who: Claims; readonly until: number }>()
  return {
    open: (who) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const secret = Redacted.make(randomBytes(24).toString("base64url"))
        const [oldest] = sessions.keys()
        if (sessions.size >= most && oldest !== undefined) sessions.delete(oldest)
        sessions.set(digest(secret), { who, until: now + Duration.toMillis(lifetime) })
        return secret
      }),
    find: (secret) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const found = sessions.get(digest(secret))
        return found !== undefined && found.until > now ? Option.some(found.who) : Option.none()
      })
  }
})
