/**
 * A per-request notebook: what a handler or a middleware knows about a failure that the failure itself doesn't say.
 *
 * **When to use** A handler that answers 502 by itself, or a middleware that turns an error into a response, leaves no
 * cause behind. It writes the cause (and anything worth knowing) into `Incident`, and whatever is reported for this
 * request carries it.
 *
 * **Details** It is a per-request service: a route whose handler uses it without a middleware above that provides it does
 * not compile. Writing never fails and reports nothing by itself.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as RequestService from "./RequestService.ts"

/**
 * The notebook of the request that is being handled.
 *
 * @example
 * ```ts
 * import { Incident } from "@sluice/core"
 * import { Cause, Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const handler = Effect.gen(function*() {
 *   const incident = yield* Incident.Incident
 *   yield* incident.note({ sku: "a-1" })
 *   yield* incident.cause(Cause.fail("the warehouse is closed"))
 *   return HttpServerResponse.empty({ status: 502 })
 * })
 *
 * const notebook = Incident.make()
 * Effect.runSync(Effect.provideService(handler, Incident.Incident, notebook.incident))
 * console.log(notebook.read().notes["sku"]) // => a-1
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Incident extends RequestService.Service<Incident, {
  /** Adds to the notes; a later value of the same name wins. */
  readonly note: (notes: Readonly<Record<string, unknown>>) => Effect.Effect<void>
  /** Says why the response is what it is. The last cause wins: after retries it is the one that decided. */
  readonly cause: (cause: Cause.Cause<unknown>) => Effect.Effect<void>
}>()("@sluice/core/Incident") {}

/**
 * What has been written into a notebook.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entries {
  readonly cause: Cause.Cause<unknown> | undefined
  readonly notes: Readonly<Record<string, unknown>>
}

/**
 * A notebook: the side that is provided to handlers, and the side that whoever reports reads.
 *
 * @category models
 * @since 0.1.0
 */
export interface Notebook {
  readonly incident: Incident["Service"]
  /** What has been written up to now. */
  readonly read: () => Entries
}

/**
 * An empty notebook for one request.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (): Notebook => {
  let entries: Entries = { cause: undefined, notes: {} }
  return {
    incident: {
      note: (notes) =>
        Effect.sync(() => {
          entries = { cause: entries.cause, notes: { ...entries.notes, ...notes } }
        }),
      cause: (cause) =>
        Effect.sync(() => {
          entries = { cause, notes: entries.notes }
        })
    },
    read: () => entries
  }
}
