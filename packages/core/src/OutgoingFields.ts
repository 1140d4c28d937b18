/**
 * Header fields that middleware wants on calls made for a request: to upstreams and through `HttpClient`.
 *
 * **When to use** A request id, a trace context or an identity must travel to the next service. Add it with {@link add} on
 * the way in; `Proxy.forward` and a client wrapped by {@link withClient} send it.
 *
 * **Details** They are the proxy's own fields: a client can't forge them (they replace what it sent under the name) and
 * its `Connection` field can't strip them. A client's own `traceparent` and `tracestate` go on as they are; a middleware that
 * opens a span for the proxy adds the `traceparent` of that span (`HttpTraceContext.toHeaders`), and so replaces it. A fiber that was started outside the request does not have them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Fields from "./Fields.ts"

/**
 * The fields of the running fiber.
 *
 * @category services
 * @since 0.1.0
 */
export const Current: Context.Reference<Fields.Fields> = Context.Reference<Fields.Fields>(
  "@sluice/core/OutgoingFields",
  { defaultValue: () => Fields.empty }
)

/**
 * Runs an effect with one more outgoing field; it replaces one of the same name that was added further out.
 *
 * @example
 * ```ts
 * import { OutgoingFields } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * const program = OutgoingFields.add(OutgoingFields.Current, "X-Request-Id", "7f3a")
 * console.log(Effect.runSync(program).join(": ")) // => X-Request-Id: 7f3a
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const add: {
  (name: string, value: string): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string, value: string): Effect.Effect<A, E, R>
} = dual(
  3,
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string, value: string): Effect.Effect<A, E, R> =>
    Effect.updateService(self, Current, (fields) => Fields.set(fields, name, value))
)

/**
 * The names, in lower case, of fields that the proxy keeps to itself when the client sends them.
 *
 * @category services
 * @since 0.1.0
 */
export const Withheld: Context.Reference<ReadonlySet<string>> = Context.Reference<ReadonlySet<string>>(
  "@sluice/core/OutgoingFields/Withheld",
  { defaultValue: () => new Set() }
)

/**
 * Runs an effect in which the proxy relays none of these fields of the client. One that was added is sent all the same.
 *
 * @example
 * ```ts
 * import { OutgoingFields } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * const program = OutgoingFields.withhold(OutgoingFields.Withheld, ["Tracestate"])
 * console.log([...Effect.runSync(program)]) // => ["tracestate"]
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withhold: {
  (names: ReadonlyArray<string>): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, names: ReadonlyArray<string>): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, names: ReadonlyArray<string>): Effect.Effect<A, E, R> =>
    Effect.updateService(
      self,
      Withheld,
      (before): ReadonlySet<string> => new Set([...before, ...names.map((name) => name.toLowerCase())])
    )
)

/**
 * A client that sends the outgoing fields of the fiber that calls it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withClient = <E, R>(client: HttpClient.HttpClient.With<E, R>): HttpClient.HttpClient.With<E, R> =>
  HttpClient.mapRequestEffect(
    client,
    (request) => Effect.map(Current, (fields) => HttpClientRequest.setHeaders(request, Fields.toHeaders(fields)))
  )
