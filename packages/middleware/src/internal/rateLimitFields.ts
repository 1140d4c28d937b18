import type { ResponseHead } from "@sluice/core/ResponseHead"
import * as Context from "effect/Context"
import { serializeByteSequence, serializeString } from "structured-headers"
import type { Balance } from "../RateLimitStore.ts"

/** A policy as its fields show it; `window` is in milliseconds. */
export interface Shown {
  readonly name: string
  readonly quota: number
  readonly window: number
  readonly unit: string | undefined
}

/** Seconds until something, never too few. */
export const toSeconds = (millis: number): number => Math.ceil(millis / 1000)

/** An item of `RateLimit-Policy`. */
export const policyItem = ({ name, quota, unit, window }: Shown): string => {
  const item = `${serializeString(name)};q=${quota}`
  return `${unit === undefined ? item : `${item};qu=${serializeString(unit)}`};w=${toSeconds(window)}`
}

/** Items of `RateLimit`, for a policy. */
export const limitItems = ({ name }: Shown): (balance: Balance) => string => {
  const start = `${serializeString(name)};r=`
  return ({ remaining, resetAfter }) => `${start}${remaining};t=${toSeconds(resetAfter)}`
}

/** The parameter that says whose quota it is. */
export const partitionKey = (key: string): string => `;pk=${serializeByteSequence(new TextEncoder().encode(key))}`

/** What the limits of one request have to say: those that stand further in add to it. */
export interface Listed {
  readonly policies: Array<string>
  readonly limits: Array<string>
}

/** What the limits around the current one have begun. */
export const Listing: Context.Reference<Listed | undefined> = Context.Reference<Listed | undefined>(
  "@sluice/middleware/RateLimit/Listing",
  { defaultValue: () => undefined }
)

/** An upstream's own fields are replaced: its quota is not this client's. */
export const writeListed = ({ limits, policies }: Listed) => (head: ResponseHead): void => {
  if (policies.length > 0) head.set("ratelimit-policy", policies.join(", "))
  if (limits.length > 0) head.set("ratelimit", limits.join(", "))
}

/** How the de facto field `X-RateLimit-Reset` tells the time. */
export type Legacy = "seconds" | "unix-time"

/** The de facto fields, of one policy. */
export const writeLegacy =
  (legacy: Legacy, { quota }: Shown, { remaining, resetAfter }: Balance, now: number) => (head: ResponseHead): void => {
    head.set("x-ratelimit-limit", String(quota))
    head.set("x-ratelimit-remaining", String(remaining))
    head.set("x-ratelimit-reset", String(toSeconds(legacy === "seconds" ? resetAfter : now + resetAfter)))
  }
