/**
 * Tells clients that a resource is deprecated, when it will be gone, and where to read about it.
 *
 * **When to use** On the routes of an API that has a successor. The counter {@link requests} says, by route, who still calls.
 *
 * **Details** `Deprecation` is the time since which the resource is deprecated, which may be in the future (RFC 9745);
 * `Sunset` is the time at which it is expected to stop working (RFC 8594). Fields that a handler or an upstream has set
 * stay as they are; links are added to those that are there. Nothing else changes: after its sunset the resource works as
 * before, until somebody removes its route.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9745
 * @see https://www.rfc-editor.org/rfc/rfc8594
 * @since 0.1.0
 */
import * as Middleware from "@sluice/core/Middleware"
import * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"

/**
 * Settings of {@link make}: at least one of the two times.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Since when, or from when on, the resource is deprecated; whole seconds are sent. @default no `Deprecation` */
  readonly deprecation?: DateTime.DateTime.Input
  /** When it is expected to be gone: not before `deprecation`. @default no `Sunset` */
  readonly sunset?: DateTime.DateTime.Input
  /** Where to read more: URLs by their relation. @default none */
  readonly links?: {
    /** About the deprecation, and how to migrate. */
    readonly deprecation?: string
    /** About the sunset: a policy, or this very one. */
    readonly sunset?: string
    /** What replaces the resource. */
    readonly "successor-version"?: string
  }
}

/**
 * Requests for deprecated resources, by the attribute `route`, which is the route's template, or `none`:
 * `sluice_deprecated_requests_total`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const requests = (route: string): Metric.Counter<number> =>
  Metric.counter("sluice_deprecated_requests_total", {
    description: "Requests for resources that are deprecated",
    incremental: true,
    attributes: { route }
  })

/**
 * Adds the fields and counts the requests.
 *
 * **Details** Throws a `RangeError` that names the option for a time or a URL that is none, for a sunset before the
 * deprecation, and when there is neither time.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Sunset } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const sunset = Sunset.make({
 *   deprecation: "2023-06-30T23:59:59Z",
 *   sunset: "2024-06-30T23:59:59Z",
 *   links: { deprecation: "https://developer.example.com/deprecation" }
 * })
 * const Old = Route.get("/v1", sunset, Effect.succeed(HttpServerResponse.text("old")))
 *
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Old)
 *   const { headers } = yield* Effect.promise(() => fetch(new Request("http://localhost/v1")))
 *   return `${headers.get("deprecation")} ${headers.get("sunset")}`
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => @1688169599 Sun, 30 Jun 2024 23:59:59 GMT
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Middleware.Middleware<never, never, HttpServerRequest> => {
  const fields = fieldsOf(options)
  const links = linksOf(options.links ?? {})
  const head = Middleware.head("Sunset", (head) => {
    for (const [name, value] of fields) {
      if (head.get(name) === undefined) head.set(name, value)
    }
    if (links.length === 0) return
    const there = head.getAll("link")
    for (const link of links) {
      if (!there.includes(link)) head.append("link", link)
    }
  })
  const counters = new Map<string, Effect.Effect<void>>()
  const counterOf = (route: string): Effect.Effect<void> => {
    const known = counters.get(route)
    if (known !== undefined) return known
    const counter = Metric.update(requests(route), 1)
    counters.set(route, counter)
    return counter
  }
  const count = Middleware.observe("Sunset", ({ route = "none" }) => counterOf(route))
  return Middleware.named("Sunset", Middleware.stack(count, head))
}

const fieldsOf = (options: Options): ReadonlyArray<readonly [name: string, value: string]> => {
  const deprecation = options.deprecation === undefined ? undefined : requireTime("deprecation", options.deprecation)
  const sunset = options.sunset === undefined ? undefined : requireTime("sunset", options.sunset)
  if (deprecation === undefined && sunset === undefined) throw new RangeError("deprecation or sunset must be given")
  if (deprecation !== undefined && sunset !== undefined && sunset < deprecation) {
    throw new RangeError("sunset must not be before deprecation")
  }
  return [
    ...(deprecation === undefined ? [] : [["deprecation", `@${Math.trunc(deprecation / 1000)}`] as const]),
    ...(sunset === undefined ? [] : [["sunset", new Date(sunset).toUTCString()] as const])
  ]
}

const requireTime = (name: string, value: DateTime.DateTime.Input): number => {
  const time = Option.getOrUndefined(DateTime.make(value))
  if (time !== undefined) return DateTime.toEpochMillis(time)
  throw new RangeError(`${name} must be a time, got ${JSON.stringify(value)}`)
}

/** @see https://www.rfc-editor.org/rfc/rfc8288#section-3 */
const linksOf = (links: NonNullable<Options["links"]>): ReadonlyArray<string> =>
  Object.entries(links).map(([relation, url]) => {
    if (!/^[!#-;=?-Z[\]_a-z~]+$/.test(url) || !URL.canParse(url, "https://base.invalid")) {
      throw new RangeError(`links.${relation} must be a URL, got ${JSON.stringify(url)}`)
    }
    return `<${url}>; rel="${relation}"`
  })
