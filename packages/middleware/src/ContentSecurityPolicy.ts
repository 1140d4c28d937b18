/**
 * Content security policies as data: what a page may load, run, embed and send, and who may embed it.
 *
 * **When to use** In `SecureHeaders`, as `contentSecurityPolicy` or `contentSecurityPolicyReportOnly`.
 *
 * **Details** A directive has the name and the sources of the standard; what browsers would ignore without a word is
 * refused: an unquoted keyword, `'none'` next to something else, a keyword where it means nothing. `'nonce'` stands for
 * the nonce of the request (`SecureHeaders.withNonce`).
 *
 * @see https://www.w3.org/TR/CSP3/
 * @since 0.1.0
 */

/**
 * What a directive may name: a keyword, `'nonce'`, a hash, a scheme (`data:`) or a host (`https://cdn.example.com`,
 * `*.example.com`).
 *
 * @category models
 * @since 0.1.0
 */
export type Source =
  | "'self'"
  | "'none'"
  | "'nonce'"
  | "'strict-dynamic'"
  | "'unsafe-inline'"
  | "'unsafe-eval'"
  | "'wasm-unsafe-eval'"
  | "'unsafe-hashes'"
  | "'inline-speculation-rules'"
  | "'report-sample'"
  | `'sha${256 | 384 | 512}-${string}'`
  | "*"
  | "data:"
  | "blob:"
  | "https:"
  | (string & {})

/**
 * The directives that name sources of scripts or styles, which may be inline.
 *
 * @category models
 * @since 0.1.0
 */
export type InlineDirective =
  | "default-src"
  | "script-src"
  | "script-src-attr"
  | "script-src-elem"
  | "style-src"
  | "style-src-attr"
  | "style-src-elem"

/**
 * The directives that name places.
 *
 * @category models
 * @since 0.1.0
 */
export type PlaceDirective =
  | "base-uri"
  | "child-src"
  | "connect-src"
  | "fenced-frame-src"
  | "font-src"
  | "form-action"
  | "frame-ancestors"
  | "frame-src"
  | "img-src"
  | "manifest-src"
  | "media-src"
  | "object-src"
  | "worker-src"

/**
 * A permission that a sandboxed page keeps.
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxFlag =
  | "allow-downloads"
  | "allow-forms"
  | "allow-modals"
  | "allow-orientation-lock"
  | "allow-pointer-lock"
  | "allow-popups"
  | "allow-popups-to-escape-sandbox"
  | "allow-presentation"
  | "allow-same-origin"
  | "allow-scripts"
  | "allow-top-navigation"
  | "allow-top-navigation-by-user-activation"
  | "allow-top-navigation-to-custom-protocols"

/**
 * A policy.
 *
 * @category models
 * @since 0.1.0
 */
export interface ContentSecurityPolicy
  extends
    Readonly<Partial<Record<InlineDirective, ReadonlyArray<Source>>>>,
    Readonly<Partial<Record<PlaceDirective, ReadonlyArray<Exclude<Source, "'nonce'">>>>>
{
  /** An endpoint's name in `Reporting-Endpoints`. */
  readonly "report-to"?: string
  /** Where browsers without `report-to` send reports. */
  readonly "report-uri"?: ReadonlyArray<string>
  readonly "require-trusted-types-for"?: readonly ["'script'"]
  /** What a sandboxed page may do all the same; an empty list for nothing. */
  readonly sandbox?: ReadonlyArray<SandboxFlag>
  /** The names of policies; `'allow-duplicates'`, `'none'` and `*` mean what they say. */
  readonly "trusted-types"?: ReadonlyArray<string>
  /** Whether `http:` URLs of the page are taken as `https:` ones. */
  readonly "upgrade-insecure-requests"?: true
}

/**
 * The value of the field. The placeholder `'nonce'` stays in it.
 *
 * **Details** Throws a `RangeError` that names the directive for a source that is none, or means nothing there.
 *
 * @example
 * ```ts
 * import { ContentSecurityPolicy } from "@sluice/middleware"
 *
 * const value = ContentSecurityPolicy.format({
 *   "default-src": ["'none'"],
 *   "img-src": ["'self'", "https://images.example.com"],
 *   "upgrade-insecure-requests": true
 * })
 * console.log(value) // => default-src 'none'; img-src 'self' https://images.example.com; upgrade-insecure-requests
 * ```
 *
 * @category formatting
 * @since 0.1.0
 */
export const format = (policy: ContentSecurityPolicy): string => {
  const directives = Object.entries<unknown>({ ...policy }).filter(([, value]) => value !== undefined)
  if (directives.length === 0) throw new RangeError("a content security policy must have a directive")
  return directives.map(([name, value]) => {
    const values = valuesOf(name, value)
    return values.length === 0 ? name : `${name} ${values.join(" ")}`
  }).join("; ")
}

const inline: ReadonlySet<string> = new Set<InlineDirective>([
  "default-src",
  "script-src",
  "script-src-attr",
  "script-src-elem",
  "style-src",
  "style-src-attr",
  "style-src-elem"
])

const places: ReadonlySet<string> = new Set<PlaceDirective>([
  "base-uri",
  "child-src",
  "connect-src",
  "fenced-frame-src",
  "font-src",
  "form-action",
  "frame-ancestors",
  "frame-src",
  "img-src",
  "manifest-src",
  "media-src",
  "object-src",
  "worker-src"
])

const valuesOf = (directive: string, value: unknown): ReadonlyArray<string> => {
  if (directive === "upgrade-insecure-requests" && value === true) return []
  const words = directive === "report-to" ? [value] : value
  if (!Array.isArray(words)) throw new RangeError(`${directive} is not a directive with such a value`)
  if (words.length === 0 && directive !== "sandbox") {
    throw new RangeError(`${directive} must name something: 'none' is for nothing`)
  }
  if (words.length > 1 && words.includes("'none'")) throw new RangeError(`${directive} must have 'none' alone`)
  return words.map((word) => requireWord(directive, word))
}

const requireWord = (directive: string, word: unknown): string => {
  if (typeof word === "string" && grammarOf(directive)?.test(word) === true) return word
  throw new RangeError(`${directive} must not have ${JSON.stringify(word)}${hint(word)}`)
}

const hint = (word: unknown): string =>
  typeof word === "string" && keyword.test(word) ? `: keywords are quoted, as in '${word}'` : ""

const grammarOf = (directive: string): RegExp | undefined =>
  inline.has(directive) ? inlineSource : places.has(directive) ? placeSource : others.get(directive)

const words = "self|none|nonce|strict-dynamic|unsafe-inline|unsafe-eval|wasm-unsafe-eval|unsafe-hashes" +
  "|inline-speculation-rules|report-sample"

/** Without its quotes a keyword is the name of a host to browsers. */
const keyword = new RegExp(`^(?:${words}|(?:sha(?:256|384|512)|nonce)-.*)$`)

/** `*`, a scheme, or a host with or without scheme, port and path, of characters that end neither source nor directive. */
const place = `(?!${keyword.source.slice(1)})(?:\\*|[a-z][a-z\\d+.-]*:|(?:[a-z][a-z\\d+.-]*://)?` +
  "(?:\\*|(?:\\*\\.)?[a-z\\d_-]+(?:\\.[a-z\\d_-]+)*)(?::(?:\\d{1,5}|\\*))?(?:/[!#-&(-+.-:=?-~-]*)?)"

const placeSource = new RegExp(`^(?:'self'|'none'|${place})$`, "i")

const inlineSource = new RegExp(`^(?:'(?:${words}|sha(?:256|384|512)-[\\w+/-]+={0,2})'|${place})$`, "i")

const others: ReadonlyMap<string, RegExp> = new Map([
  ["report-to", /^[\w.-]+$/],
  ["report-uri", /^[!#-&(-+.-:=?-~-]+$/],
  ["require-trusted-types-for", /^'script'$/],
  ["sandbox", /^allow-[a-z]+(?:-[a-z]+)*$/],
  ["trusted-types", /^(?:'allow-duplicates'|'none'|\*|[\w#=@./%-]+)$/]
])
