/**
 * Removes the fields that are for one connection only, in both directions (RFC 9110, 7.6.1).
 *
 * **When to use** On every message that is relayed, before fields of one's own are added: only what the client sent may
 * be nominated by the client's `Connection` field, so a forged `Connection: X-Forwarded-For` strips nothing of ours.
 *
 * **Details** Two sets go: a fixed list, and what any of the `Connection` lines nominates. Fields that are meant for every
 * recipient stay although nominated (RFC 9110, 7.6.1: "MUST NOT"): without `Host`, `Content-Length` or `Cookie` the
 * message would mean something else. Framing (`Content-Length`, `Transfer-Encoding`) is written by the transport from the
 * body it has, never from these fields.
 *
 * @since 0.1.0
 */
import * as Fields from "@sluice/core/Fields"
import { nameSet } from "./internal/nameSet.ts"

/**
 * The fields that are never relayed, lower-cased: RFC 9110 7.6.1, its predecessors (RFC 2616, 13.5.1), and fields that
 * describe the connection they came on (`Alt-Svc`, RFC 7838; `ALPN`, RFC 7639; `HTTP2-Settings`, RFC 7540).
 *
 * @category constants
 * @since 0.1.0
 */
export const names: ReadonlySet<string> = new Set([
  "connection",
  "proxy-connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-authentication-info",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "alt-svc",
  "alpn",
  "close"
])

/** Fields for all recipients: a nomination of theirs is void. */
const endToEnd: ReadonlySet<string> = new Set([
  "authorization",
  "cache-control",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "cookie",
  "date",
  "host",
  "set-cookie"
])

/** The lower-cased name when it is on the fixed list. */
const fixed = nameSet(names)

/** Values of `Connection` that nominate nothing beyond the fixed list, as nearly every client sends them. */
const plain: ReadonlySet<string> = new Set(["keep-alive", "Keep-Alive", "close", "Upgrade", "upgrade", ""])

const members = (value: string): ReadonlyArray<string> => value.split(",").map((member) => member.trim().toLowerCase())

const nominate = (value: string, nominated: Set<string> | undefined): Set<string> | undefined => {
  if (plain.has(value)) return nominated
  let out = nominated
  for (const member of members(value)) {
    if (member !== "" && !names.has(member) && !endToEnd.has(member)) (out ??= new Set()).add(member)
  }
  return out
}

interface Stripped {
  /** The very same array when there was nothing to remove. */
  readonly fields: Fields.Fields
  /** Whether a `TE` line asked for trailers. */
  readonly trailers: boolean
}

const strip = (fields: Fields.Fields): Stripped => {
  let out: Array<string> | undefined
  let nominated: Set<string> | undefined
  let trailers = false
  for (let i = 0; i < fields.length; i += 2) {
    const name = fixed(fields[i])
    if (name === undefined) {
      if (out !== undefined) out.push(fields[i], fields[i + 1])
      continue
    }
    out ??= fields.slice(0, i)
    if (name === "connection") nominated = nominate(fields[i + 1], nominated)
    else if (name === "te") trailers ||= members(fields[i + 1]).includes("trailers")
  }
  const kept = out ?? fields
  return { fields: nominated === undefined ? kept : without(kept, nominated), trailers }
}

const without = (fields: Fields.Fields, nominated: ReadonlySet<string>): Fields.Fields => {
  const out: Array<string> = []
  for (let i = 0; i < fields.length; i += 2) {
    if (!nominated.has(fields[i].toLowerCase())) out.push(fields[i], fields[i + 1])
  }
  return out
}

/**
 * The end-to-end fields of a request. `TE` is gone unless it asked for trailers; then there is exactly one line,
 * `TE: trailers`, which the transport nominates in its own `Connection` field (RFC 9110, 10.1.4).
 *
 * @example
 * ```ts
 * import { HopByHop } from "@sluice/proxy"
 *
 * const fields = ["Host", "shop.test", "Connection", "close, X-Foo", "X-Foo", "1", "Keep-Alive", "timeout=5"]
 * console.log(HopByHop.request(fields).join(" ")) // => Host shop.test
 * console.log(HopByHop.request(["TE", "gzip", "te", "deflate, trailers"]).join(" ")) // => TE trailers
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const request = (fields: Fields.Fields): Fields.Fields => {
  const stripped = strip(fields)
  return stripped.trailers ? [...stripped.fields, "TE", "trailers"] : stripped.fields
}

/**
 * The end-to-end fields of a response. `Trailer` goes with the rest: who relays trailers announces them anew.
 *
 * @example
 * ```ts
 * import { HopByHop } from "@sluice/proxy"
 *
 * const fields = ["Date", "now", "Connection", "X-Hop", "X-Hop", "1", "Trailers", "kept: another name"]
 * console.log(HopByHop.response(fields).join(" | ")) // => Date | now | Trailers | kept: another name
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const response = (fields: Fields.Fields): Fields.Fields => strip(fields).fields

/**
 * The fields of a 101 response: as {@link response}, with one `Connection: Upgrade` and the protocol switched to, and
 * without `Content-Length`, which no 1xx may have (RFC 9110, 8.6).
 *
 * @category combinators
 * @since 0.1.0
 */
export const switching = (fields: Fields.Fields, protocol: string): Fields.Fields => [
  ...Fields.remove(response(fields), "content-length"),
  "Connection",
  "Upgrade",
  "Upgrade",
  protocol
]

/**
 * The protocol that a request asks to switch to: the value of `Upgrade` when `Connection` nominates it, else `undefined`
 * and the request is an ordinary one (RFC 9110, 7.8).
 *
 * @example
 * ```ts
 * import { HopByHop } from "@sluice/proxy"
 *
 * console.log(HopByHop.upgrade(["Connection", "keep-alive, Upgrade", "Upgrade", "websocket"])) // => websocket
 * console.log(HopByHop.upgrade(["Upgrade", "websocket"])) // => undefined
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const upgrade = (fields: Fields.Fields): string | undefined => {
  let asked = false
  let protocol: string | undefined
  for (let i = 0; i < fields.length; i += 2) {
    const name = fixed(fields[i])
    if (name === "connection") asked ||= members(fields[i + 1]).includes("upgrade")
    else if (name === "upgrade") protocol = protocol === undefined ? fields[i + 1] : `${protocol}, ${fields[i + 1]}`
  }
  return asked && protocol !== undefined && protocol.trim() !== "" ? protocol.trim() : undefined
}
