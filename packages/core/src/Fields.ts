/**
 * Raw header fields: order, case, repeats and bytes as they were on the wire.
 *
 * **When to use** Effect's `Headers` is a record: it lower-cases names and joins repeated lines, so a proxy that goes
 * through it can't relay what it received. `Fields` is the lossless form, in the layout that Node uses for `rawHeaders`
 * (name, value, name, value, …).
 *
 * **Details** Values are Latin-1 strings, as Node's parser yields and its writer takes them, so any byte survives.
 * Every function returns new fields; nothing is mutated. Names are compared without regard to case (RFC 9110, 5.1).
 *
 * @since 0.1.0
 */
import * as Headers from "effect/http/Headers"

/**
 * Header fields in wire order: `[name, value, name, value, …]`.
 *
 * @category models
 * @since 0.1.0
 */
export type Fields = ReadonlyArray<string>

/**
 * Who put a field on a message. A client's `Connection` field may only nominate `client` fields (RFC 9110, 7.6.1).
 *
 * @category models
 * @since 0.1.0
 */
export type Provenance = "client" | "proxy" | "config"

/**
 * The fields of one outgoing message, kept apart by who put them there until the message is written.
 *
 * @category models
 * @since 0.1.0
 */
export type Sourced = { readonly [P in Provenance]: Fields }

/**
 * No fields.
 *
 * @category constructors
 * @since 0.1.0
 */
export const empty: Fields = []

/**
 * Fields from name and value pairs, in the order given.
 *
 * @example
 * ```ts
 * import { Fields } from "@sluice/core"
 *
 * console.log(Fields.make(["Accept", "text/html"], ["accept", "text/plain"]).length) // => 4
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (...pairs: ReadonlyArray<readonly [name: string, value: string]>): Fields => pairs.flat()

const same = (a: string, lower: string): boolean => a.length === lower.length && a.toLowerCase() === lower

/**
 * The first value of a field, or `undefined`.
 *
 * @example
 * ```ts
 * import { Fields } from "@sluice/core"
 *
 * const fields = Fields.make(["Set-Cookie", "a=1"], ["set-cookie", "b=2"])
 * console.log(Fields.get(fields, "SET-COOKIE")) // => a=1
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const get = (self: Fields, name: string): string | undefined => {
  const lower = name.toLowerCase()
  for (let i = 0; i < self.length; i += 2) {
    if (same(self[i], lower)) return self[i + 1]
  }
  return undefined
}

/**
 * Every value of a field, in order.
 *
 * @category getters
 * @since 0.1.0
 */
export const getAll = (self: Fields, name: string): ReadonlyArray<string> => {
  const lower = name.toLowerCase()
  const out: Array<string> = []
  for (let i = 0; i < self.length; i += 2) {
    if (same(self[i], lower)) out.push(self[i + 1])
  }
  return out
}

/**
 * Whether a field is present.
 *
 * @category getters
 * @since 0.1.0
 */
export const has = (self: Fields, name: string): boolean => get(self, name) !== undefined

/**
 * The members of a comma-separated list field over all its lines: trimmed, lower-cased, without empty members
 * (RFC 9110, 5.6.1). Use it for token lists such as `Connection` and `TE`, whose members have no quoted commas.
 *
 * @example
 * ```ts
 * import { Fields } from "@sluice/core"
 *
 * const fields = Fields.make(["Connection", ""], ["connection", "Close, , X-Foo"])
 * console.log(Fields.tokens(fields, "connection").join(" ")) // => close x-foo
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const tokens = (self: Fields, name: string): ReadonlyArray<string> =>
  getAll(self, name).flatMap((value) => value.split(",")).map((token) => token.trim().toLowerCase()).filter((token) =>
    token !== ""
  )

/**
 * The fields whose lower-cased name satisfies the predicate.
 *
 * @category combinators
 * @since 0.1.0
 */
export const filter = (self: Fields, predicate: (lowerName: string) => boolean): Fields => {
  const out: Array<string> = []
  for (let i = 0; i < self.length; i += 2) {
    if (predicate(self[i].toLowerCase())) out.push(self[i], self[i + 1])
  }
  return out
}

/**
 * Without any line of the named field.
 *
 * @category combinators
 * @since 0.1.0
 */
export const remove = (self: Fields, name: string): Fields => {
  const lower = name.toLowerCase()
  return filter(self, (other) => other !== lower)
}

/**
 * With exactly one line of the named field: the first line's place is kept, further lines go.
 *
 * @category combinators
 * @since 0.1.0
 */
export const set = (self: Fields, name: string, value: string): Fields => {
  const lower = name.toLowerCase()
  const out: Array<string> = []
  let placed = false
  for (let i = 0; i < self.length; i += 2) {
    if (!same(self[i], lower)) out.push(self[i], self[i + 1])
    else if (!placed) {
      out.push(self[i], value)
      placed = true
    }
  }
  if (!placed) out.push(name, value)
  return out
}

/**
 * With one more line at the end.
 *
 * @category combinators
 * @since 0.1.0
 */
export const append = (self: Fields, name: string, value: string): Fields => [...self, name, value]

/**
 * One message's fields: what the configuration sets replaces what the proxy or the client sent under that name, and
 * what the proxy sets replaces what the client sent.
 *
 * @example
 * ```ts
 * import { Fields } from "@sluice/core"
 *
 * const merged = Fields.merge({
 *   client: ["X-Request-Id", "forged", "Accept", "text/html"],
 *   proxy: ["X-Request-Id", "7f3a"],
 *   config: []
 * })
 * console.log(merged.join(" ")) // => Accept text/html X-Request-Id 7f3a
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const merge = (self: Sourced): Fields => {
  if (self.config.length === 0 && self.proxy.length === 0) return self.client
  const config = names(self.config)
  const proxy = names(self.proxy)
  return [
    ...filter(self.client, (name) => !config.has(name) && !proxy.has(name)),
    ...filter(self.proxy, (name) => !config.has(name)),
    ...self.config
  ]
}

const names = (self: Fields): ReadonlySet<string> => {
  const out = new Set<string>()
  for (let i = 0; i < self.length; i += 2) out.add(self[i].toLowerCase())
  return out
}

/**
 * Effect's record form: names lower-cased, repeated lines joined with `", "`. `Set-Cookie` lines can't be joined
 * (RFC 9110, 5.3), so only the last one survives; read those with {@link getAll}.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toHeaders = (self: Fields): Headers.Headers => {
  // Without a prototype: a field may be called `constructor`.
  const record: Record<string, string> = Object.create(null)
  for (let i = 0; i < self.length; i += 2) {
    const name = self[i].toLowerCase()
    const before = record[name]
    record[name] = before === undefined || name === "set-cookie" ? self[i + 1] : `${before}, ${self[i + 1]}`
  }
  return Headers.fromRecordUnsafe(record)
}

/**
 * Fields from Effect's record form.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromHeaders = (headers: Headers.Headers): Fields => Object.entries(headers).flat()
