/**
 * Request targets: what a client asked for, and what the upstream is asked for instead.
 *
 * **When to use** {@link parse} what came on the request line, then {@link join} it to the {@link base} of the upstream's
 * URL. Nothing is decoded, re-encoded, merged or sorted on the way: escapes, double slashes and the query go through byte
 * for byte.
 *
 * **Details** Dot segments (`..`, also as `%2e%2e`, behind `%2f` or with path parameters) are forwarded as they came while
 * they stay within what the proxy maps. When the upstream has a base path, or a prefix is stripped, a path that climbs
 * above its own start would leave that part of the upstream; it is refused with 400. The count is pessimistic: whatever
 * reading of the escapes an upstream may choose, it can't climb.
 *
 * **Gotchas** `//evil/x` is a path on the same host: a target is never resolved as a reference.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9112#section-3.2
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import { climbs } from "./internal/climbs.ts"
import * as ProxyError from "./ProxyError.ts"

/**
 * A request target, taken apart.
 *
 * @category models
 * @since 0.1.0
 */
export interface Target {
  /** Of the absolute form: it replaces what `Host` says (RFC 9112, 3.2.2). `undefined` in the other forms. */
  readonly authority: string | undefined
  /** Escaped, with its leading `/`; or `*`. */
  readonly path: string
  /** With its `?`, byte for byte; empty when there is none. */
  readonly query: string
}

/**
 * The part of an upstream's URL that request targets are joined to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Base {
  /** Escaped; `"/"` when the URL has none. */
  readonly path: string
  /** Without `?`; empty when there is none. */
  readonly query: string
}

/**
 * How targets are rewritten.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * A path prefix to take off before joining, such as `"/orders"`; it matches whole segments of the escaped path only, and
   * a path that does not start with it is left as it is.
   * @default none
   */
  readonly stripPrefix?: string
}

/** Bytes that no target may contain (RFC 3986): controls and space; and `#`, for a fragment is never sent. */
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const forbidden = /[\u0000-\u0020\u007f#]/

const scheme = /^https?:\/\//i

const rejected = (): Result.Result<never, ProxyError.RequestRejected> =>
  Result.fail(new ProxyError.RequestRejected({ reason: "BadTarget" }))

/**
 * Takes the target of a request apart.
 *
 * **Details** Accepts the origin form, the absolute form (`http` and `https`, without user information) and, for `OPTIONS`,
 * `*`. Fails with {@link ProxyError.RequestRejected} (400) for anything else, a fragment among it, and with
 * {@link ProxyError.MethodNotProxied} for `CONNECT` (501) and `TRACE` (405): what an upstream echoes is what the proxy sent,
 * fields of its own included, and those are not for the client (RFC 9110, 9.3.8).
 *
 * @example
 * ```ts
 * import { Target } from "@sluice/proxy"
 * import { Result } from "effect"
 *
 * const target = Result.getOrThrow(Target.parse("GET", "http://shop.test:8080/a%2Fb?x=1;y"))
 * console.log(target.authority, target.path, target.query) // => shop.test:8080 /a%2Fb ?x=1;y
 * console.log(Result.isFailure(Target.parse("GET", "*"))) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse = (
  method: string,
  target: string
): Result.Result<Target, ProxyError.RequestRejected | ProxyError.MethodNotProxied> => {
  if (method === "CONNECT" || method === "TRACE") return Result.fail(new ProxyError.MethodNotProxied({ method }))
  if (forbidden.test(target)) return rejected()
  if (target.charCodeAt(0) === 0x2f) return Result.succeed(split(undefined, target))
  if (target === "*") {
    return method === "OPTIONS" ? Result.succeed({ authority: undefined, path: "*", query: "" }) : rejected()
  }
  return absolute(method, target)
}

const split = (authority: string | undefined, rest: string): Target => {
  const mark = rest.indexOf("?")
  return mark === -1
    ? { authority, path: rest, query: "" }
    : { authority, path: rest.slice(0, mark), query: rest.slice(mark) }
}

const absolute = (method: string, target: string): Result.Result<Target, ProxyError.RequestRejected> => {
  const start = scheme.exec(target)?.[0].length
  if (start === undefined) return rejected()
  const length = target.slice(start).search(/[/?]/)
  const authority = length === -1 ? target.slice(start) : target.slice(start, start + length)
  if (!isAuthority(authority)) return rejected()
  const rest = length === -1 ? "" : target.slice(start + length)
  // RFC 9112, 3.2.4: OPTIONS on the whole server, asked for through a proxy.
  if (rest === "" && method === "OPTIONS") return Result.succeed({ authority, path: "*", query: "" })
  return Result.succeed(split(authority, rest.startsWith("/") ? rest : `/${rest}`))
}

/**
 * Whether a value is `host [":" port]` of RFC 9110, 7.2, without user information: what `Host` may say.
 *
 * @example
 * ```ts
 * import { Target } from "@sluice/proxy"
 *
 * console.log(Target.isAuthority("[::1]:8080"), Target.isAuthority("user@shop.test")) // => true false
 * ```
 *
 * @category predicates
 * @since 0.1.0
 */
export const isAuthority = (value: string): boolean =>
  /^(?:\[[0-9a-f:.]+(?:%25[\w.~-]+)?\]|[\w.~!$&'()*+;=%-]+)(?::\d{0,5})?$/i.test(value)

/**
 * The base of an upstream's URL. Throws a `TypeError` for what is no base: another scheme than `http` or `https`, user
 * information, or a fragment.
 *
 * @example
 * ```ts
 * import { Target } from "@sluice/proxy"
 *
 * console.log(Target.base("http://10.0.0.7:9001/api?key=1")) // => { path: '/api', query: 'key=1' }
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const base = (url: string | URL): Base => {
  const parsed = new URL(url)
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    throw new TypeError(`An upstream URL is http: or https:, got ${parsed.protocol}`)
  }
  if (parsed.username !== "" || parsed.password !== "" || parsed.hash !== "") {
    throw new TypeError("An upstream URL has neither user information nor a fragment")
  }
  return { path: parsed.pathname, query: parsed.search.slice(1) }
}

/**
 * Joins two escaped paths with exactly one slash between them; all other slashes stay.
 *
 * @example
 * ```ts
 * import { Target } from "@sluice/proxy"
 *
 * console.log(Target.joinPath("/a%2Fb/", "/c%2Fd")) // => /a%2Fb/c%2Fd
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const joinPath = (left: string, right: string): string => {
  const slashes = (left.endsWith("/") ? 1 : 0) + (right.startsWith("/") ? 1 : 0)
  if (slashes === 2) return left + right.slice(1)
  return slashes === 1 ? left + right : `${left}/${right}`
}

/**
 * Joins the query of the upstream's URL (without `?`) and that of a request (with it) with `&`; both stay byte for byte.
 *
 * @category combinators
 * @since 0.1.0
 */
export const joinQuery = (left: string, right: string): string => {
  if (left === "") return right
  return right.length <= 1 ? `?${left}` : `?${left}&${right.slice(1)}`
}

/** How many parameters a query may have; a query with more has none. */
const parameterLimit = 10_000

const brokenEscape = /%(?![0-9a-f]{2})/i

/**
 * A query (with its `?`) without the parameters that recipients read differently: those with a `;`, which separates for some
 * and not for others, those with a broken escape, and empty ones. The rest stays byte for byte and in order. A query of
 * more than 10 000 parameters has none left.
 *
 * @example
 * ```ts
 * import { Target } from "@sluice/proxy"
 *
 * console.log(Target.cleanQuery("?a=1&a=2;b=3&c=%zz&d=%2F")) // => ?a=1&d=%2F
 * console.log(Target.cleanQuery("?a=%zz") === "") // => true
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const cleanQuery = (query: string): string => {
  if (query === "") return query
  const parameters = query.slice(1).split("&", parameterLimit + 1)
  if (parameters.length > parameterLimit) return ""
  const clean = parameters.filter((one) => one !== "" && !one.includes(";") && !brokenEscape.test(one))
  return clean.length === 0 ? "" : `?${clean.join("&")}`
}

/**
 * The target to ask the upstream for. Fails with {@link ProxyError.RequestRejected} (400) when the path climbs out of what
 * is mapped. `*` stays `*`.
 *
 * @example
 * ```ts
 * import { Target } from "@sluice/proxy"
 * import { Result } from "effect"
 *
 * const base = Target.base("http://10.0.0.7:9001/api?key=1")
 * const target = Result.getOrThrow(Target.parse("GET", "/orders/7%2F8?a=%zz"))
 * console.log(Result.getOrThrow(Target.join(base, target, { stripPrefix: "/orders" }))) // => /api/7%2F8?key=1&a=%zz
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const join = (
  base: Base,
  target: Target,
  options?: Options
): Result.Result<string, ProxyError.RequestRejected> => {
  if (target.path === "*") return Result.succeed("*")
  const prefix = options?.stripPrefix
  const path = prefix === undefined ? target.path : stripPrefix(target.path, prefix)
  const confined = base.path !== "/" || path !== target.path
  if (confined && climbs(path)) return rejected()
  return Result.succeed(joinPath(base.path, path) + joinQuery(base.query, target.query))
}

/**
 * Takes a prefix off an escaped path, at a segment boundary only. Escapes of the path that stand for characters of the
 * prefix count as those, as they do for the router that matched it. The result starts with `/`.
 *
 * @example
 * ```ts
 * import { Target } from "@sluice/proxy"
 *
 * console.log(Target.stripPrefix("/orders/a%2Fb", "/orders")) // => /a%2Fb
 * console.log(Target.stripPrefix("/ordersX", "/orders")) // => /ordersX
 * console.log(Target.stripPrefix("/orders", "/orders/")) // => /
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const stripPrefix = (path: string, prefix: string): string => {
  const wanted = prefix.endsWith("/") ? prefix.slice(0, -1) : prefix
  const end = path.startsWith(wanted) ? wanted.length : escapedPrefixEnd(path, wanted)
  if (end === undefined) return path
  if (end === path.length) return "/"
  return path[end] === "/" ? path.slice(end) : path
}

/** Where the prefix ends in a path that spells some of its characters as escapes. A `%2F` is no slash. */
const escapedPrefixEnd = (path: string, prefix: string): number | undefined => {
  let at = 0
  for (const char of prefix) {
    const escape = path[at] === "%" && /^%[0-9a-f]{2}$/i.test(path.slice(at, at + 3))
      ? path.slice(at, at + 3)
      : undefined
    if (escape === undefined || char === "%") {
      if (path[at++] !== char) return undefined
      continue
    }
    if (char === "/" || String.fromCharCode(Number.parseInt(escape.slice(1), 16)) !== char) return undefined
    at += 3
  }
  return at
}
