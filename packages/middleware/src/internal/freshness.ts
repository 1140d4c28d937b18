import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import CachePolicy from "http-cache-semantics"
import * as CacheDirectives from "./cacheDirectives.ts"
import { httpDate } from "./httpDate.ts"

/** How long a response may be used, in seconds of its age. */
export interface Freshness {
  /** Its age when it was received. */
  readonly initialAge: number
  readonly lifetime: number
  /** For how much longer it may be used while another one is fetched. */
  readonly staleWhileRevalidate: number
  /** For how much longer it may be used in place of an error. */
  readonly staleIfError: number
}

/** A year: what lasts longer is no different. */
const longest = 31_536_000

/**
 * The freshness of a response that a shared cache may keep, `undefined` when it may not. One that does not say how long
 * it is fresh is not kept: guesses are for browsers.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9111#section-3
 */
export const freshnessOf = (
  { method }: HttpServerRequest,
  credentials: boolean,
  response: HttpServerResponse,
  now: number
): Freshness | undefined => {
  const fields = response.headers
  if (fields["set-cookie"] !== undefined || Object.keys(response.cookies.cookies).length > 0) return undefined
  if (fields.vary?.includes("*")) return undefined
  const directives = CacheDirectives.parse(fields["cache-control"])
  // The library reads names with regard to case, splits quoted arguments, and knows no clock but the system's.
  const policy = new CachePolicy(
    { method, headers: credentials ? { authorization: "some" } : {} },
    {
      status: response.status,
      headers: {
        ...fields,
        "cache-control": CacheDirectives.normalized(directives),
        date: fields.date ?? new Date(now).toUTCString()
      }
    },
    { shared: true, cacheHeuristic: 0, immutableMinTimeToLive: 0 }
  )
  if (!policy.storable()) return undefined
  const strict = ["must-revalidate", "proxy-revalidate", "no-cache"].some((name) => directives.has(name))
  const stale = (name: string) => strict ? 0 : Math.min(CacheDirectives.seconds(directives, name) ?? 0, longest)
  const freshness = {
    initialAge: initialAge(fields, now),
    lifetime: Math.min(lifetimeOf(directives, policy), longest),
    staleWhileRevalidate: stale("stale-while-revalidate"),
    staleIfError: stale("stale-if-error")
  }
  return timeToLive(freshness, 0) > 0 ? freshness : undefined
}

/** The library takes `proxy-revalidate` for `no-cache`. */
const lifetimeOf = (directives: CacheDirectives.CacheDirectives, policy: CachePolicy): number =>
  directives.has("proxy-revalidate") && !directives.has("no-cache")
    ? CacheDirectives.seconds(directives, "s-maxage") ?? CacheDirectives.seconds(directives, "max-age") ?? 0
    : policy.maxAge()

/** @see https://www.rfc-editor.org/rfc/rfc9111#section-4.2.3 */
const initialAge = (fields: HttpServerResponse["headers"], now: number): number => {
  const date = fields.date === undefined ? undefined : httpDate(fields.date)
  const apparent = date === undefined ? 0 : Math.max(0, (now - date) / 1000)
  return Math.max(apparent, /^\d+$/.test(fields.age ?? "") ? Number(fields.age) : 0)
}

/** For how many seconds anything may still be done with a response that was received `resident` seconds ago. */
export const timeToLive = (freshness: Freshness, resident: number): number =>
  freshness.lifetime + Math.max(freshness.staleWhileRevalidate, freshness.staleIfError) - freshness.initialAge -
  resident
