/**
 * `Cache-Control` of responses, checked when it is built.
 *
 * **When to use** On a route or a group, to say how long its responses may be kept and by whom; {@link noStore} around
 * whatever is personal or secret.
 *
 * **Details** It edits the head, so proxied responses have the field too. A `Cache-Control` that the handler or an upstream
 * has set stays, unless `override` is given. A response with a status of 400 or more gets it only when it is `no-store`:
 * an error should not be kept as long as what it stands in for.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2
 * @see https://www.rfc-editor.org/rfc/rfc5861
 * @see https://www.rfc-editor.org/rfc/rfc8246
 * @since 0.1.0
 */
import * as Middleware from "@sluice/core/Middleware"
import type * as Duration from "effect/Duration"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { requireFieldName, requireSeconds } from "./internal/options.ts"

/**
 * The directives of a response. Durations are sent as whole seconds, rounded down.
 *
 * @category models
 * @since 0.1.0
 */
export interface Directives {
  /** Who may keep it: anybody (`public`, also answers to requests with `Authorization`), or the client only. @default unsaid */
  readonly visibility?: "public" | "private"
  /** `max-age`: how long it is fresh. @default unsaid */
  readonly maxAge?: Duration.Input
  /** `s-maxage`: how long it is fresh for shared caches. @default unsaid */
  readonly sharedMaxAge?: Duration.Input
  /** `no-cache`: to be asked about before each use; with names, those fields only. @default false */
  readonly noCache?: boolean | ReadonlyArray<string>
  /** `no-store`: not to be kept at all. @default false */
  readonly noStore?: boolean
  /** `no-transform`: not to be recoded on the way. @default false */
  readonly noTransform?: boolean
  /** `must-revalidate`: never to be used when it is stale. @default false */
  readonly mustRevalidate?: boolean
  /** `proxy-revalidate`: the same, for shared caches. @default false */
  readonly proxyRevalidate?: boolean
  /** `must-understand`: to be kept only by caches that know its status. @default false */
  readonly mustUnderstand?: boolean
  /** `stale-while-revalidate`: how long a stale one may be used while another is fetched (RFC 5861, 3). @default unsaid */
  readonly staleWhileRevalidate?: Duration.Input
  /** `stale-if-error`: how long a stale one may be used in place of an error (RFC 5861, 4). @default unsaid */
  readonly staleIfError?: Duration.Input
  /** `immutable`: not to be asked about while it is fresh, not even on reload (RFC 8246). @default false */
  readonly immutable?: boolean
}

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Whether a `Cache-Control` that is there is replaced. @default false */
  readonly override?: boolean
}

/**
 * Sets `Cache-Control`.
 *
 * **Details** Throws a `RangeError` for a negative or infinite duration, for no directive at all, and for directives that
 * contradict one another, such as `noStore` with a `maxAge`.
 *
 * @example
 * ```ts
 * import { CacheControl } from "@sluice/middleware"
 *
 * const assets = CacheControl.make({ visibility: "public", maxAge: "365 days", immutable: true })
 * console.log(assets.label) // => CacheControl(public, max-age=31536000, immutable)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  directives: Directives,
  options: Options = {}
): Middleware.Middleware<never, never, HttpServerRequest> => {
  const value = format(directives)
  const override = options.override ?? false
  const onErrors = directives.noStore === true
  return Middleware.head(`CacheControl(${value})`, (head) => {
    if (head.status >= 400 && !onErrors) return
    if (override || head.get("cache-control") === undefined) head.set("cache-control", value)
  })
}

/**
 * The field's value, for handlers that set it themselves. It throws as {@link make} does.
 *
 * @example
 * ```ts
 * import { CacheControl } from "@sluice/middleware"
 *
 * console.log(CacheControl.format({ maxAge: "1 minute", staleWhileRevalidate: "30 seconds" }))
 * // => max-age=60, stale-while-revalidate=30
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (directives: Directives): string => {
  const parts = table.flatMap(([option, name]) => {
    const value = directives[option]
    return value === undefined || value === false ? [] : [part(option, name, value)]
  })
  if (parts.length === 0) throw new RangeError("directives must have at least one")
  for (const [one, other, together] of contradictions) {
    if (together(directives)) throw new RangeError(`${one} contradicts ${other}`)
  }
  if (has(directives, "immutable") && !has(directives, "maxAge")) throw new RangeError("immutable takes a maxAge")
  return parts.join(", ")
}

/** Every directive in the order in which it is written. */
const table: ReadonlyArray<readonly [option: keyof Directives, name: string]> = [
  ["visibility", ""],
  ["noStore", "no-store"],
  ["noCache", "no-cache"],
  ["maxAge", "max-age"],
  ["sharedMaxAge", "s-maxage"],
  ["mustRevalidate", "must-revalidate"],
  ["proxyRevalidate", "proxy-revalidate"],
  ["mustUnderstand", "must-understand"],
  ["noTransform", "no-transform"],
  ["staleWhileRevalidate", "stale-while-revalidate"],
  ["staleIfError", "stale-if-error"],
  ["immutable", "immutable"]
]

type Contradiction = readonly [one: string, other: string, together: (directives: Directives) => boolean]

const both = (one: keyof Directives, other: keyof Directives): Contradiction => [
  one,
  other,
  (directives) => has(directives, one) && has(directives, other)
]

const visible = (one: keyof Directives, visibility: "public" | "private"): Contradiction => [
  one,
  `visibility ${visibility}`,
  (directives) => has(directives, one) && directives.visibility === visibility
]

/** What can't be meant together. */
const contradictions: ReadonlyArray<Contradiction> = [
  ...(["noCache", "sharedMaxAge", "mustRevalidate", "proxyRevalidate", "staleWhileRevalidate", "staleIfError"] as const)
    .map((other) => both("noStore", other)),
  // Caches that know `must-understand` ignore the `no-store` that comes with it (RFC 9111, 5.2.2.3).
  [
    "noStore",
    "maxAge",
    ({ maxAge, mustUnderstand, noStore }) => noStore === true && !mustUnderstand && maxAge !== undefined
  ],
  visible("noStore", "public"),
  visible("sharedMaxAge", "private"),
  visible("proxyRevalidate", "private"),
  both("mustRevalidate", "staleWhileRevalidate"),
  both("mustRevalidate", "staleIfError"),
  [
    "noCache",
    "staleWhileRevalidate",
    ({ noCache, staleWhileRevalidate }) => noCache === true && staleWhileRevalidate !== undefined
  ],
  ["noCache", "immutable", ({ immutable, noCache }) => noCache === true && immutable === true]
]

const has = (directives: Directives, option: keyof Directives): boolean =>
  directives[option] !== undefined && directives[option] !== false

const part = (
  option: keyof Directives,
  name: string,
  value: Exclude<Directives[keyof Directives], undefined | false>
): string => {
  if (option === "visibility") return requireVisibility(value)
  if (value === true) return name
  if (option === "noCache") return `${name}="${fieldNames(value).join(", ")}"`
  return `${name}=${requireSeconds(option, value as Duration.Input)}`
}

const requireVisibility = (value: unknown): string => {
  if (value === "public" || value === "private") return value
  throw new RangeError(`visibility must be one of public, private, got ${String(value)}`)
}

const fieldNames = (value: unknown): ReadonlyArray<string> => {
  if (!Array.isArray(value) || value.length === 0) throw new RangeError("noCache must be true or names of fields")
  return value.map((name: string) => requireFieldName("noCache", name).toLowerCase())
}

/**
 * `Cache-Control: no-store` on every response, whatever the handler says: for what must not be kept anywhere.
 *
 * @category presets
 * @since 0.1.0
 */
export const noStore: Middleware.Middleware<never, never, HttpServerRequest> = make({ noStore: true }, {
  override: true
})
