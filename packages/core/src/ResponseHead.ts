/**
 * The head of a response at the moment it is written, for edits that must not need the response's value.
 *
 * **When to use** Security headers, CORS, request ids, `Server-Timing`: whatever only adds or changes fields. As an edit it
 * applies to a handler's value, to a proxied response that streams past, and to an error, and it costs no copy.
 *
 * @since 0.1.0
 */
import type { ServerResponse } from "node:http"
import * as Fields from "./Fields.ts"

/**
 * The fields that are about to be written. Names are compared without regard to case.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResponseHead {
  readonly status: number
  /** The first value of a field. */
  readonly get: (name: string) => string | undefined
  /** The values of all lines of a field, in order. */
  readonly getAll: (name: string) => ReadonlyArray<string>
  /** Replaces every line of the field by one. */
  readonly set: (name: string, value: string) => void
  /** Adds a line. */
  readonly append: (name: string, value: string) => void
  /** Removes every line of the field. */
  readonly remove: (name: string) => void
}

/**
 * A synchronous edit of a response head. It must not throw; one that does fails the response.
 *
 * @category models
 * @since 0.1.0
 */
export type HeadEdit = (head: ResponseHead) => void

/**
 * A head over `[name, value, …]`, which is edited in place.
 *
 * @example
 * ```ts
 * import { ResponseHead } from "@sluice/core"
 *
 * const fields = ["Server", "upstream"]
 * ResponseHead.fromFields(200, fields).set("server", "sluice")
 * console.log(fields.join(": ")) // => Server: sluice
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromFields = (status: number, fields: Array<string>): ResponseHead => {
  const find = (lower: string, from: number): number => {
    for (let i = from; i < fields.length; i += 2) {
      if (fields[i].length === lower.length && fields[i].toLowerCase() === lower) return i
    }
    return -1
  }
  const removeFrom = (lower: string, from: number): void => {
    for (let i = find(lower, from); i !== -1; i = find(lower, i)) fields.splice(i, 2)
  }
  return {
    status,
    get: (name) => {
      const at = find(name.toLowerCase(), 0)
      return at === -1 ? undefined : fields[at + 1]
    },
    getAll: (name) => Fields.getAll(fields, name),
    set: (name, value) => {
      const lower = name.toLowerCase()
      const at = find(lower, 0)
      if (at === -1) fields.push(name, value)
      else {
        fields[at + 1] = value
        removeFrom(lower, at + 2)
      }
    },
    append: (name, value) => {
      fields.push(name, value)
    },
    remove: (name) => removeFrom(name.toLowerCase(), 0)
  }
}

/**
 * A head over the fields that were set on a Node response, for code that writes Node's way.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromNodeResponse = (status: number, response: ServerResponse): ResponseHead => ({
  status,
  get: (name) => {
    const value = response.getHeader(name)
    return Array.isArray(value) ? value[0] : value === undefined ? undefined : String(value)
  },
  getAll: (name) => {
    const value = response.getHeader(name)
    return Array.isArray(value) ? value : value === undefined ? [] : [String(value)]
  },
  set: (name, value) => {
    response.setHeader(name, value)
  },
  append: (name, value) => {
    response.appendHeader(name, value)
  },
  remove: (name) => response.removeHeader(name)
})
