/**
 * Puts what an upstream says of itself into the client's terms: where a redirect leads, and where a cookie applies.
 *
 * **When to use** An upstream that stands below a prefix, or behind another name, answers with its own URLs and with cookies
 * for its own domain. Give `Proxy.forward` these options as `rewrite`, or use the functions in its `mapResponse`.
 *
 * **Details** `Location` and `Content-Location` are rewritten when they are in the upstream's part of the world: below one
 * of the URLs in `from`. The result is a path at the client's own host (RFC 9110, 10.2.2), so that it is right whatever
 * name, port and scheme the client used. Other hosts, paths outside of `from`, references relative to the
 * request's path and values that can't be read stay as they are. Of a cookie only the attributes `Domain` and `Path` change, and
 * only where they are; each `Set-Cookie` stays a line of its own.
 *
 * **Gotchas** `Refresh`, `Link` and bodies are not looked at.
 *
 * @since 0.1.0
 */
import type * as Fields from "@sluice/core/Fields"
import { climbs } from "./internal/climbs.ts"

/**
 * What becomes of an attribute: one value for all, or a table from what the upstream says to what the client gets. `"*"` is
 * whatever the table does not name; without it that stays. An empty string takes the attribute away.
 *
 * @category models
 * @since 0.1.0
 */
export type Table = string | Readonly<Record<string, string>>

/**
 * Where the upstream is, and where its clients find it.
 *
 * @category models
 * @since 0.1.0
 */
export interface LocationOptions {
  /** The URLs of the upstream, `http:` or `https:`, with the path that requests are joined to. */
  readonly from: ReadonlyArray<string | URL>
  /** The path that clients see in its place, or a URL when they are to be sent to another origin. @default "/" */
  readonly to?: string
}

/**
 * What becomes of a cookie's attributes.
 *
 * @category models
 * @since 0.1.0
 */
export interface CookieOptions {
  /** Domains are compared without regard to case and to a leading dot. @default they stay */
  readonly cookieDomain?: Table
  /**
   * A path of the table stands for what is below it as well, by whole segments, and the longest one counts: with `{ "/a": "/b" }`,
   * `/a/c` becomes `/b/c`. A cookie whose name starts with `__Host-` keeps its path, which must be `/`. @default they stay
   */
  readonly cookiePath?: Table
}

/**
 * What {@link fields} rewrites.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Partial<LocationOptions>, CookieOptions {}

/** A value of a field, rewritten. */
type Rewriter = (value: string) => string

/**
 * Rewrites a value of `Location` or `Content-Location`. Throws a `TypeError` that names the option that is wrong.
 *
 * @example
 * ```ts
 * import { Rewrite } from "@sluice/proxy"
 *
 * const location = Rewrite.location({ from: ["http://10.0.0.7:9001/api"], to: "/orders" })
 * console.log(location("http://10.0.0.7:9001/api/7?x#y")) // => /orders/7?x#y
 * console.log(location("/api/7")) // => /orders/7
 * console.log(location("https://login.test/api/7")) // => https://login.test/api/7
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const location = (options: LocationOptions): (value: string) => string => {
  const bases = options.from.map(toBase).toSorted((a, b) => b.path.length - a.path.length)
  const client = toClient(options.to ?? "/")
  return (value) => {
    if (unreadable.test(value)) return value
    const local = localForm.exec(value)
    if (local !== null) {
      const path = mapped(bases, local[1], client.path)
      return path === undefined ? value : onSameHost(path) + local[2]
    }
    const [, scheme, authority, path, rest] = absoluteForm.exec(value) ?? []
    if (authority === undefined || authority.includes("@")) return value
    const found = mapped(bases.filter((base) => isAt(base, scheme, authority)), path === "" ? "/" : path, client.path)
    if (found === undefined) return value
    return (client.origin === "" ? onSameHost(found) : client.origin + found) + rest
  }
}

/** Browsers drop some of these and take others for slashes: there is no telling where such a value leads. */
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const unreadable = /[\u0000-\u0020\u007f\\]/

const localForm = /^(\/(?!\/)[^?#]*)(.*)$/
const absoluteForm = /^(?:(https?):)?\/\/([^/?#]*)([^?#]*)(.*)$/i

interface Base {
  readonly protocol: string
  readonly host: string
  /** Without the slash at its end. */
  readonly path: string
}

const toBase = (input: string | URL): Base => {
  const url = toUrl("from", String(input))
  return { protocol: url.protocol, host: url.host, path: withoutSlash(url.pathname) }
}

const toUrl = (option: string, input: string): URL => {
  const url = URL.canParse(input) ? new URL(input) : undefined
  if (
    url === undefined || !/^https?:$/.test(url.protocol) || url.username + url.password + url.search + url.hash !== ""
  ) {
    throw new TypeError(
      `rewrite.${option} must be an http: or https: URL without user, query and fragment, got ${input}`
    )
  }
  return url
}

interface Client {
  /** Empty for the one that the client is at. */
  readonly origin: string
  /** Without the slash at its end. */
  readonly path: string
}

const toClient = (to: string): Client => {
  if (!to.startsWith("/")) {
    const url = toUrl("to", to)
    return { origin: url.origin, path: withoutSlash(url.pathname) }
  }
  if (to.startsWith("//") || /[?#]/.test(to) || unreadable.test(to)) {
    throw new TypeError(`rewrite.to must be a path or a URL, got ${JSON.stringify(to)}`)
  }
  return { origin: "", path: withoutSlash(to) }
}

const withoutSlash = (path: string): string => path.endsWith("/") ? path.slice(0, -1) : path

const isAt = ({ host, protocol }: Base, scheme: string | undefined, authority: string): boolean => {
  const url = `${scheme === undefined ? protocol : `${scheme.toLowerCase()}:`}//${authority}`
  if (!URL.canParse(url)) return false
  const parsed = new URL(url)
  return parsed.protocol === protocol && parsed.host === host
}

const mapped = (bases: ReadonlyArray<Base>, path: string, prefix: string): string | undefined => {
  const base = bases.find((base) => path === base.path || path.startsWith(`${base.path}/`))
  const rest = base === undefined ? undefined : path.slice(base.path.length)
  // What climbs out of the base upstream would climb out of the prefix here, to something else.
  return rest === undefined || climbs(rest) ? undefined : prefix + rest || "/"
}

/** A path that starts with two slashes would be a host (RFC 3986, 4.2); a dot segment before it keeps it a path. */
const onSameHost = (path: string): string => path.startsWith("//") ? `/.${path}` : path

/**
 * Rewrites a value of `Set-Cookie`. Throws a `TypeError` for a replacement that is no attribute value.
 *
 * @example
 * ```ts
 * import { Rewrite } from "@sluice/proxy"
 *
 * const cookie = Rewrite.cookie({ cookieDomain: { "internal.test": "shop.test", "*": "" }, cookiePath: { "/": "/orders" } })
 * console.log(cookie("a=1; Domain=.internal.test; Path=/cart; Secure")) // => a=1; Domain=shop.test; Path=/orders/cart; Secure
 * console.log(cookie("b=2; domain=other.test")) // => b=2
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const cookie = (options: CookieOptions): (value: string) => string => {
  const domain = lookup("cookieDomain", options.cookieDomain, normalDomain, () => undefined)
  const path = lookup("cookiePath", options.cookiePath, withoutSlash, belowTable)
  return (value) => {
    const [pair, ...attributes] = value.split(";")
    const pathStays = /^\s*__host-/i.test(pair)
    const out = attributes.flatMap((attribute) => {
      const [name, old] = parts(attribute)
      const to = name === "domain" ? domain(old) : name === "path" && !pathStays ? path(old) : undefined
      if (to === undefined) return [attribute]
      return to === "" ? [] : [attribute.slice(0, attribute.indexOf("=") + 1) + to]
    })
    return [pair, ...out].join(";")
  }
}

const parts = (attribute: string): readonly [name: string | undefined, value: string] => {
  const at = attribute.indexOf("=")
  return at === -1 ? [undefined, ""] : [attribute.slice(0, at).trim().toLowerCase(), attribute.slice(at + 1).trim()]
}

const normalDomain = (domain: string): string => domain.toLowerCase().replace(/^\./, "")

type Lookup = (value: string) => string | undefined

const lookup = (
  option: string,
  table: Table | undefined,
  normal: (key: string) => string,
  otherwise: (entries: ReadonlyMap<string, string>, key: string) => string | undefined
): Lookup => {
  if (table === undefined) return () => undefined
  const entries = new Map<string, string>()
  for (const [key, value] of Object.entries(typeof table === "string" ? { "*": table } : table)) {
    // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
    if (/[;\u0000-\u001f\u007f]/.test(value)) {
      throw new TypeError(`rewrite.${option} must be values of an attribute, got ${JSON.stringify(value)}`)
    }
    entries.set(key === "*" ? key : normal(key), value)
  }
  return (value) => {
    const key = normal(value)
    return (key === "*" ? undefined : entries.get(key)) ?? otherwise(entries, key) ?? entries.get("*")
  }
}

/** The replacement of the longest path that this one is below, with the rest of this one. */
const belowTable = (entries: ReadonlyMap<string, string>, path: string): string | undefined => {
  for (let at = path.lastIndexOf("/"); at >= 0; at = at === 0 ? -1 : path.lastIndexOf("/", at - 1)) {
    const to = entries.get(path.slice(0, at))
    if (to !== undefined) return to === "" ? to : withoutSlash(to) + path.slice(at)
  }
  return undefined
}

/**
 * Rewrites the fields of a response. Throws a `TypeError` that names the option that is wrong.
 *
 * @example
 * ```ts
 * import { Rewrite } from "@sluice/proxy"
 *
 * const rewrite = Rewrite.fields({ from: ["http://10.0.0.7:9001"], cookieDomain: "" })
 * const head = ["Location", "http://10.0.0.7:9001/cart", "Set-Cookie", "a=1; Domain=internal.test", "Set-Cookie", "b=2"]
 * console.log(rewrite(head).join(" ")) // => Location /cart Set-Cookie a=1 Set-Cookie b=2
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const fields = (options: Options): (fields: Fields.Fields) => Fields.Fields => {
  const { from, to } = options
  const toLocation = from === undefined ? undefined : location(to === undefined ? { from } : { from, to })
  const toCookie = options.cookieDomain === undefined && options.cookiePath === undefined ? undefined : cookie(options)
  const rewriterOf = (name: string): Rewriter | undefined => {
    if (name === "set-cookie") return toCookie
    return name === "location" || name === "content-location" ? toLocation : undefined
  }
  return (fields) => {
    let out: Array<string> | undefined
    for (let i = 0; i < fields.length; i += 2) {
      const rewrite = lengths.has(fields[i].length) ? rewriterOf(fields[i].toLowerCase()) : undefined
      if (rewrite !== undefined) (out ??= [...fields])[i + 1] = rewrite(fields[i + 1])
    }
    return out ?? fields
  }
}

/** Of the names that are looked at: most fields are ruled out by it. */
const lengths: ReadonlySet<number> = new Set(["location", "set-cookie", "content-location"].map((name) => name.length))
