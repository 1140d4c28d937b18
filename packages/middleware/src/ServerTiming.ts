/**
 * Tells a client's developer tools what the server spent its time on: `Server-Timing: db;dur=4.1, total;dur=12.3`.
 *
 * **When to use** Near the edge, so that `total` holds what stands below it. Handlers mark what they like through the
 * service {@link ServerTiming}.
 *
 * **Details** `total` is the time from the arrival of the request head to the moment when the response head is written; what
 * is measured later is lost. Metrics come in the order in which they were marked, 64 at most. What can't stand in a name
 * becomes `_`; descriptions are quoted strings, in which characters other than printable ASCII become `?`. Entries that an
 * upstream or the handler has sent stay.
 *
 * Timings tell an attacker about caches, users and secrets that are compared slowly. So they are shown to trusted peers
 * only, which is nobody unless a `TrustedPeers` layer says otherwise.
 *
 * @see https://www.w3.org/TR/server-timing/
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import * as RequestService from "@sluice/core/RequestService"
import type { ResponseHead } from "@sluice/core/ResponseHead"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { requireOneOf } from "./internal/options.ts"
import { provided } from "./internal/provided.ts"

/**
 * What is said of a metric, but for its name.
 *
 * @category models
 * @since 0.1.0
 */
export interface Mark {
  /** How long it took. @default none */
  readonly duration?: Duration.Input
  /** What developer tools show instead of the name. @default none */
  readonly description?: string
}

/**
 * The timings of the request that is being handled.
 *
 * @category services
 * @since 0.1.0
 */
export class ServerTiming extends RequestService.Service<ServerTiming, {
  /** Adds a metric, such as `("cache", { description: "hit" })`. */
  readonly mark: (name: string, mark?: Mark) => Effect.Effect<void>
  /** Adds the time that an effect takes, also when it fails. */
  readonly measure: (
    name: string,
    description?: string
  ) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}>()("@sluice/middleware/ServerTiming") {}

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Who is shown the timings. @default "trusted", the peers of the application's `TrustedPeers` */
  readonly show?: "trusted" | "always" | "never" | ((exchange: Exchange.Exchange) => boolean)
  /** Origins whose scripts may read them, as `Timing-Allow-Origin`: a list, or `*`. @default none, the field is not sent */
  readonly allowOrigin?: "*" | ReadonlyArray<string>
}

/**
 * Provides {@link ServerTiming} and sends what was marked.
 *
 * **Details** Throws a `RangeError` when `allowOrigin` holds what is no origin.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { ServerTiming } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const handler = Effect.gen(function*() {
 *   const timing = yield* ServerTiming.ServerTiming
 *   yield* timing.mark("cache", { description: "hit" })
 *   const rows = yield* Effect.succeed(3).pipe(timing.measure("db", "orders"))
 *   return HttpServerResponse.text(`${rows} orders`)
 * })
 * const Orders = Route.get("/orders", ServerTiming.make({ show: "always" }), handler)
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Orders)
 *   const { headers } = yield* Effect.promise(() => fetch(new Request("http://localhost/orders")))
 *   return headers.get("server-timing")?.replaceAll(/dur=[\d.]+/g, "dur=…")
 * })
 * const timings = await Effect.runPromise(Effect.scoped(program))
 * console.log(timings) // => cache;desc="hit", db;dur=…;desc="orders", total;dur=…
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Middleware.Middleware<ServerTiming, never, HttpServerRequest> => {
  const shows = showsOf(options.show ?? "trusted")
  const origins = options.allowOrigin === undefined ? undefined : originsOf(options.allowOrigin)
  const begin = Effect.flatMap(
    Exchange.current,
    (exchange) => Effect.flatMap(shows(exchange), (shown) => shown ? showing(exchange, origins) : hidden)
  )
  return Middleware.make<ServerTiming, never, HttpServerRequest>(
    "ServerTiming",
    (handler) => Effect.flatMap(begin, (timing) => provided(handler, ServerTiming, timing)),
    { response: "head" }
  )
}

const showsOf = (show: NonNullable<Options["show"]>): (exchange: Exchange.Exchange) => Effect.Effect<boolean> => {
  if (typeof show === "function") return (exchange) => Effect.sync(() => show(exchange))
  if (requireOneOf("show", show, ["trusted", "always", "never"]) === "trusted") {
    return (exchange) => Effect.map(TrustedPeers.TrustedPeers, (peers) => peers.peer(exchange.peerAddress).trusted)
  }
  return () => Effect.succeed(show === "always")
}

const hidden: Effect.Effect<ServerTiming["Service"]> = Effect.succeed({
  mark: () => Effect.void,
  measure: () => (self) => self
})

/** More would only fill the head. */
const most = 64

const showing = (
  exchange: Exchange.Exchange,
  origins: string | undefined
): Effect.Effect<ServerTiming["Service"], never, HttpServerRequest> =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const entries: Array<string> = []
    const nanos = (): bigint => clock.currentTimeNanosUnsafe()
    const add = (name: string, millis: number | undefined, description: string | undefined): void => {
      if (entries.length < most) entries.push(entry(name, millis, description))
    }
    const edit = (head: ResponseHead): void => {
      const total = clock.currentTimeMillisUnsafe() - exchange.startedAt
      head.append("server-timing", [...entries, entry("total", total, undefined)].join(", "))
      if (origins !== undefined && head.get("timing-allow-origin") === undefined) {
        head.set("timing-allow-origin", origins)
      }
    }
    const timing: ServerTiming["Service"] = {
      mark: (name, { description, duration } = {}) =>
        Effect.sync(() => add(name, duration === undefined ? undefined : Duration.toMillis(duration), description)),
      measure: (name, description) => (self) =>
        Effect.suspend(() => {
          const start = nanos()
          return Effect.ensuring(self, Effect.sync(() => add(name, Number(nanos() - start) / 1e6, description)))
        })
    }
    return Effect.as(Exchange.editHead(edit), timing)
  })

/** @see https://www.w3.org/TR/server-timing/#the-server-timing-header-field */
const entry = (name: string, millis: number | undefined, description: string | undefined): string => {
  const token = name === "" ? "_" : name.replaceAll(/[^\w!#$%&'*+.^`|~-]/g, "_")
  const duration = millis === undefined || !Number.isFinite(millis) ? "" : `;dur=${Math.round(millis * 1000) / 1000}`
  return token + duration + (description === undefined ? "" : `;desc=${quoted(description)}`)
}

/** @see https://www.rfc-editor.org/rfc/rfc9110#section-5.6.4 */
const quoted = (text: string): string => `"${text.replaceAll(/[^ -~]/g, "?").replaceAll(/["\\]/g, "\\$&")}"`

/** @see https://www.w3.org/TR/resource-timing/#sec-timing-allow-origin */
const originsOf = (origins: "*" | ReadonlyArray<string>): string => {
  if (origins === "*") return origins
  const invalid = origins.find((origin) => origin !== "null" && URL.parse(origin)?.origin !== origin)
  if (invalid === undefined && origins.length > 0) return origins.join(", ")
  throw new RangeError(`allowOrigin must be * or origins such as https://example.com, got ${invalid ?? "none"}`)
}
