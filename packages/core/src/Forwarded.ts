/**
 * What proxies say about whom they speak for: `Forwarded` (RFC 7239) and `X-Forwarded-For`, `-Proto`, `-Host`.
 *
 * **When to use** To read or write these fields as data. Whether what they say may be believed is not decided here but by
 * `TrustedPeers`, which most code should use instead.
 *
 * **Details** The grammar is strict: what does not match it is an {@link InvalidForwarded}, never a guess. Several lines of
 * a field are folded in order. Addresses come out in one spelling: IPv6 compressed and without a zone, IPv4-mapped IPv6
 * as IPv4.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7239
 * @since 0.1.0
 */
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Fields from "./Fields.ts"
import * as Problem from "./Problem.ts"

/**
 * A forwarding field that does not match its grammar. As a response it is a 400.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidForwarded extends Problem.TaggedError<InvalidForwarded>()("InvalidForwarded", {
  status: 400,
  title: "Invalid forwarding field"
}, {
  /** The name of the field. */
  field: Schema.String,
  /** What is wrong with it. */
  reason: Schema.String
}) {}

/**
 * A port, or a name that stands for one.
 *
 * @category models
 * @since 0.1.0
 */
export type Port = number | `_${string}`

/**
 * A party on the way (RFC 7239, 6): an address, a name that stands for one, or nothing that is known.
 *
 * @category models
 * @since 0.1.0
 */
export type Node =
  | { readonly _tag: "Ip"; readonly address: string; readonly port: Port | undefined }
  | { readonly _tag: "Obfuscated"; readonly identifier: `_${string}`; readonly port: Port | undefined }
  | { readonly _tag: "Unknown"; readonly port: Port | undefined }

/**
 * What one proxy says about the request as it came to it (RFC 7239, 5).
 *
 * @category models
 * @since 0.1.0
 */
export interface Element {
  /** Who made the request. */
  readonly for?: Node
  /** Where the proxy got it. */
  readonly by?: Node
  /** The `Host` that it had. */
  readonly host?: string
  /** The scheme that it was made with, in lower case. */
  readonly proto?: string
  /** Other parameters, with lower-cased names. */
  readonly extensions?: Readonly<Record<string, string>>
}

type Parsed<A> = Result.Result<A, InvalidForwarded>

/**
 * The elements of `Forwarded`, the one nearest to the client first. None when the field is absent.
 *
 * @example
 * ```ts
 * import { Fields, Forwarded } from "@sluice/core"
 * import { Result } from "effect"
 *
 * const fields = Fields.make(["Forwarded", "for=\"[2001:DB8::1]:4711\";proto=https"], ["Forwarded", "for=10.0.0.7"])
 * const elements = Result.getOrThrow(Forwarded.parse(fields))
 * console.log(elements.map((element) => Forwarded.formatNode(element.for!)).join(" ")) // => [2001:db8::1]:4711 10.0.0.7
 * ```
 *
 * @category parsing
 * @since 0.1.0
 */
export const parse = (fields: Fields.Fields): Parsed<ReadonlyArray<Element>> => {
  const elements: Array<Element> = []
  for (const line of Fields.getAll(fields, "forwarded")) {
    const failure = parseLine(line, elements)
    if (failure !== undefined) return invalid("Forwarded", failure)
  }
  return Result.succeed(elements)
}

const invalid = (field: string, reason: string): Result.Result<never, InvalidForwarded> =>
  Result.fail(new InvalidForwarded({ field, reason }))

/** `token "=" ( token / quoted-string )`, RFC 7239, 4 with RFC 9110, 5.6.2 and 5.6.4. */
const pair =
  /([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)|"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)")/y

/** Adds the elements of one line, or says what is wrong with it. No quoted string goes on in the next line. */
const parseLine = (line: string, elements: Array<Element>): string | undefined => {
  let at = skipSpace(line, 0)
  while (at < line.length) {
    const parameters = new Map<string, string>()
    const start = at
    while (at < line.length && line[at] !== "," && !isSpace(line, at)) {
      if (line[at] !== ";") {
        pair.lastIndex = at
        const match = pair.exec(line)
        if (match === null) return `expected name=value at ${at}`
        const name = match[1].toLowerCase()
        if (parameters.has(name)) return `${name} occurs twice in one element`
        parameters.set(name, match[2] ?? match[3].replaceAll(/\\(.)/gs, "$1"))
        at = pair.lastIndex
      }
      if (line[at] === ";") at++
      else if (at < line.length && line[at] !== "," && !isSpace(line, at)) return `expected ";" or "," at ${at}`
    }
    const isEmpty = at === start
    at = skipSpace(line, at)
    if (at < line.length && line[at] !== ",") return `expected "," at ${at}`
    at = skipSpace(line, at + 1)
    if (!isEmpty) {
      const element = toElement(parameters)
      if (typeof element === "string") return element
      elements.push(element)
    }
  }
  return undefined
}

const isSpace = (text: string, at: number): boolean => text[at] === " " || text[at] === "\t"

const skipSpace = (text: string, start: number): number => {
  let at = start
  while (isSpace(text, at)) at++
  return at
}

const toElement = (parameters: Map<string, string>): Element | string => {
  const element: { -readonly [K in keyof Element]: Element[K] } = {}
  const extensions: Record<string, string> = {}
  for (const [name, value] of parameters) {
    if (name === "for" || name === "by") {
      const node = toNode(value)
      if (node === undefined) return `${name} is not a node`
      element[name] = node
    } else if (name === "proto") {
      if (!isScheme(value)) return "proto is not a scheme"
      element.proto = value.toLowerCase()
    } else if (name === "host") {
      if (!isHost(value)) return "host is not a host"
      element.host = value
    } else {
      Object.defineProperty(extensions, name, { value, enumerable: true })
      element.extensions = extensions
    }
  }
  return element
}

/**
 * A node: `192.0.2.43`, `192.0.2.43:47011`, `[2001:db8::17]`, `[2001:db8::17]:47011`, `unknown`, `_hidden`, `_hidden:_port`.
 *
 * @example
 * ```ts
 * import { Forwarded } from "@sluice/core"
 * import { Result } from "effect"
 *
 * console.log(Result.isSuccess(Forwarded.parseNode("[::1]:4711"))) // => true
 * console.log(Result.isSuccess(Forwarded.parseNode("localhost"))) // => false
 * ```
 *
 * @category parsing
 * @since 0.1.0
 */
export const parseNode = (text: string): Parsed<Node> => {
  const node = toNode(text)
  return node === undefined ? invalid("Forwarded", "not a node") : Result.succeed(node)
}

/** RFC 7239, 6: `nodename [ ":" node-port ]`. */
const nodeShape =
  /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)|(unknown)|(_[0-9A-Za-z._-]+))(?::(?:(\d{1,5})|(_[0-9A-Za-z._-]+)))?$/i

const toNode = (text: string): Node | undefined => {
  const match = nodeShape.exec(text)
  if (match === null) return undefined
  const [, v6, v4, unknown, identifier, digits, obfuscatedPort] = match
  // Sound: the expression above lets names through only when they start with an underscore.
  const port = digits === undefined ? obfuscatedPort as `_${string}` | undefined : Number(digits)
  if (typeof port === "number" && port > 65_535) return undefined
  if (unknown !== undefined) return { _tag: "Unknown", port }
  if (identifier !== undefined) return { _tag: "Obfuscated", identifier: identifier as `_${string}`, port }
  const address = canonicalIp(v6 ?? v4)
  return address === undefined ? undefined : { _tag: "Ip", address, port }
}

/**
 * An address in the spelling that this module uses, or `undefined` when it is none: compressed, without a zone, and
 * IPv4-mapped IPv6 as IPv4.
 *
 * @example
 * ```ts
 * import { Forwarded } from "@sluice/core"
 *
 * console.log(Forwarded.canonicalIp("::ffff:192.0.2.1")) // => 192.0.2.1
 * console.log(Forwarded.canonicalIp("FE80:0::1%eth0")) // => fe80::1
 * console.log(Forwarded.canonicalIp("192.0.2.1:80")) // => undefined
 * ```
 *
 * @category parsing
 * @since 0.1.0
 */
export const canonicalIp = (text: string): string | undefined => {
  if (ipv4.test(text)) return text
  const zone = text.indexOf("%")
  if (zone !== -1 && (zone === text.length - 1 || !text.slice(0, zone).includes(":"))) return undefined
  const result = NetAddress.ipFromString(zone === -1 ? text : text.slice(0, zone))
  return Result.isSuccess(result) ? NetAddress.formatIp(NetAddress.toCanonical(result.success)) : undefined
}

/** An IPv4 address, which has one spelling only, is most of what is met: it need not be taken apart. */
const ipv4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/

/** RFC 3986, 3.1. */
const schemeShape = /^[a-z][a-z0-9+.-]*$/i

const isScheme = (text: string): boolean => schemeShape.test(text)

const hostShape = /^(?:\[([0-9a-f:.]+)\]|[a-z0-9._~-]+)(?::(\d{1,5}))?$/i

/**
 * Whether a text is a host with an optional port, as `Host` has it (RFC 9110, 7.2), in the characters that names use.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isHost = (text: string): boolean => {
  const match = hostShape.exec(text)
  if (match === null || Number(match[2] ?? 0) > 65_535) return false
  return match[1] === undefined || Result.isSuccess(NetAddress.ipv6FromString(match[1]))
}

/**
 * The entries of a comma-separated field over all its lines, trimmed, without empty ones. They are not checked: entries
 * that a client may have made up need not even be looked at.
 *
 * @category parsing
 * @since 0.1.0
 */
export const entries = (
  fields: Fields.Fields,
  name: "X-Forwarded-For" | "X-Forwarded-Proto" | "X-Forwarded-Host"
): ReadonlyArray<string> =>
  Fields.getAll(fields, name).flatMap((line) => line.split(",")).map((entry) => entry.trim()).filter((entry) =>
    entry !== ""
  )

/**
 * One entry of `X-Forwarded-For`: a node whose IPv6 address may stand without brackets, and then without a port.
 *
 * @example
 * ```ts
 * import { Forwarded } from "@sluice/core"
 * import { Result } from "effect"
 *
 * const node = Result.getOrThrow(Forwarded.parseFor("2001:DB8::1"))
 * console.log(Forwarded.formatNode(node)) // => [2001:db8::1]
 * console.log(Result.isFailure(Forwarded.parseFor("<script>"))) // => true
 * ```
 *
 * @category parsing
 * @since 0.1.0
 */
export const parseFor = (entry: string): Parsed<Node> => {
  const bare = entry.startsWith("[") ? undefined : canonicalIp(entry)
  const node: Node | undefined = bare === undefined ? toNode(entry) : { _tag: "Ip", address: bare, port: undefined }
  return node === undefined ? invalid("X-Forwarded-For", "not an address") : Result.succeed(node)
}

/**
 * One entry of `X-Forwarded-Proto`: a scheme, in lower case.
 *
 * @category parsing
 * @since 0.1.0
 */
export const parseProto = (entry: string): Parsed<string> =>
  isScheme(entry) ? Result.succeed(entry.toLowerCase()) : invalid("X-Forwarded-Proto", "not a scheme")

/**
 * One entry of `X-Forwarded-Host`.
 *
 * @category parsing
 * @since 0.1.0
 */
export const parseHost = (entry: string): Parsed<string> =>
  isHost(entry) ? Result.succeed(entry) : invalid("X-Forwarded-Host", "not a host")

/**
 * A node as `Forwarded` has it, before quoting.
 *
 * @category formatting
 * @since 0.1.0
 */
export const formatNode = (node: Node): string => {
  const port = node.port === undefined ? "" : `:${node.port}`
  if (node._tag === "Unknown") return `unknown${port}`
  if (node._tag === "Obfuscated") return `${node.identifier}${port}`
  return node.address.includes(":") ? `[${node.address}]${port}` : `${node.address}${port}`
}

/**
 * A value for `Forwarded`: parameters in the order for, by, host, proto, extensions; quoted where they must be.
 *
 * **Details** Throws a `RangeError` for what no header field can carry: control characters, or an extension whose name is
 * no token.
 *
 * @example
 * ```ts
 * import { Forwarded } from "@sluice/core"
 *
 * const element: Forwarded.Element = { for: { _tag: "Ip", address: "::1", port: 4711 }, proto: "https" }
 * console.log(Forwarded.format([element])) // => for="[::1]:4711";proto=https
 * ```
 *
 * @category formatting
 * @since 0.1.0
 */
export const format = (elements: ReadonlyArray<Element>): string => elements.map(formatElement).join(", ")

const formatElement = (element: Element): string => {
  const out: Array<string> = []
  if (element.for !== undefined) out.push(`for=${quote(formatNode(element.for))}`)
  if (element.by !== undefined) out.push(`by=${quote(formatNode(element.by))}`)
  if (element.host !== undefined) out.push(`host=${quote(element.host)}`)
  if (element.proto !== undefined) out.push(`proto=${quote(element.proto)}`)
  for (const [name, value] of Object.entries(element.extensions ?? {})) {
    if (!token.test(name)) throw new RangeError(`Forwarded: ${JSON.stringify(name)} is not a parameter name`)
    out.push(`${name}=${quote(value)}`)
  }
  return out.length === 0 ? ";" : out.join(";")
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

const quotable = /^[\t \x21-\x7e\x80-\xff]*$/

const quote = (value: string): string => {
  if (token.test(value)) return value
  if (!quotable.test(value)) throw new RangeError(`Forwarded: ${JSON.stringify(value)} can't stand in a header field`)
  return `"${value.replaceAll(/["\\]/g, "\\$&")}"`
}
