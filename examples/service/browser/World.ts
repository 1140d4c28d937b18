import type { Effect, Scope } from "effect"
import type { Page } from "playwright-core"

/** What the cases work with. */
export interface World {
  /** The service. */
  readonly url: string
  /** The same through a relay that loses its connections when it is told to. */
  readonly relayed: { readonly url: string; readonly cut: Effect.Effect<void> }
  /** A page of the same site on another port, which the service lets call it. */
  readonly friend: string
  /** A page of another site, which it does not. */
  readonly stranger: string
  readonly ann: string
  /** A page that nobody has used: no cookies, no cache. */
  readonly freshPage: Effect.Effect<Page, never, Scope.Scope>
  /** Waits for the next line like this in the service's log. A line is seen by one case only. */
  readonly logged: (pattern: RegExp) => Effect.Effect<unknown>
}
