/**
 * Sets, adds, removes and passes on response fields, by rules in order.
 *
 * **When to use** For the fields that belong to the site and not to a handler: `Server` away, a `Cache-Control` where there
 * is none, a correlation id of the request on the response.
 *
 * **Details** It edits the head, so errors, 404s and proxied responses are meant, too, and a proxied body streams on. Each
 * line of a field is its own: {@link set} replaces all lines by one, {@link append} adds one and joins nothing, which is what
 * `Set-Cookie` needs. Interim responses (1xx) and the switch to another protocol (101) stay as they are.
 *
 * **Gotchas** Fields that frame the message or belong to the connection are refused: they are the server's.
 *
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Middleware from "@sluice/core/Middleware"
import type { HeadEdit, ResponseHead } from "@sluice/core/ResponseHead"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { requireFieldName, requireFieldValue } from "./internal/options.ts"

/**
 * What happens to one field.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rule {
  /** How it is called in a printed pipeline. */
  readonly label: string
  readonly apply: (head: ResponseHead, request: Fields.Fields) => void
}

/**
 * Replaces every line of the field by one. Throws a `RangeError` for what can't be a field, as all of these do.
 *
 * @category constructors
 * @since 0.1.0
 */
export const set = (name: string, value: string): Rule => valued("set", name, value, (head) => head.set(name, value))

/**
 * Adds a line to those that are there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const append = (name: string, value: string): Rule =>
  valued("append", name, value, (head) => head.append(name, value))

/**
 * Sets the field where there is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const setIfAbsent = (name: string, value: string): Rule =>
  valued("setIfAbsent", name, value, (head) => {
    if (head.get(name) === undefined) head.set(name, value)
  })

/**
 * Removes every line of the field.
 *
 * @category constructors
 * @since 0.1.0
 */
export const remove = (name: string): Rule => named("remove", name, (head) => head.remove(name))

/**
 * Puts the lines of a request's field on the response, in place of the response's own. Without such a field in the
 * request nothing happens.
 *
 * @category constructors
 * @since 0.1.0
 */
export const propagate = (name: string): Rule =>
  named("propagate", name, (head, request) => {
    const lines = Fields.getAll(request, name)
    if (lines.length > 0) head.remove(name)
    for (const line of lines) head.append(name, line)
  })

/**
 * Applies the rules in their order.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { HeaderRules } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const edge = HeaderRules.make(
 *   HeaderRules.remove("server"),
 *   HeaderRules.setIfAbsent("cache-control", "no-store"),
 *   HeaderRules.propagate("x-correlation-id")
 * )
 * const Hello = Route.get("/", Effect.succeed(HttpServerResponse.text("hello", { headers: { server: "us" } })))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello, { edge })
 *   const request = new Request("http://localhost/", { headers: { "x-correlation-id": "7f3a" } })
 *   const { headers } = yield* Effect.promise(() => fetch(request))
 *   return ["server", "cache-control", "x-correlation-id"].map((name) => headers.get(name))
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => [null, "no-store", "7f3a"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (...rules: ReadonlyArray<Rule>): Middleware.Middleware<never, never, HttpServerRequest> => {
  const edit = (request: Fields.Fields): HeadEdit => (head) => {
    if (head.status < 200) return
    for (const rule of rules) rule.apply(head, request)
  }
  return Middleware.head(
    `HeaderRules(${rules.map((rule) => rule.label).join(", ")})`,
    Effect.map(Exchange.current, (exchange) => edit(exchange.requestFields))
  )
}

const named = (verb: string, name: string, apply: Rule["apply"]): Rule => {
  const lower = requireFieldName("name", name).toLowerCase()
  if (framing.has(lower)) {
    throw new RangeError(`name must not be a field of the connection, got ${JSON.stringify(name)}`)
  }
  return { label: `${verb} ${lower}`, apply }
}

const valued = (verb: string, name: string, value: string, apply: Rule["apply"]): Rule => {
  requireFieldValue("value", value)
  return named(verb, name, apply)
}

/** RFC 9110, 7.6.1, and what says where a message ends. */
const framing: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])
