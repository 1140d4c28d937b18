import * as Detached from "@sluice/core/Detached"
import * as Exchange from "@sluice/core/Exchange"
import type { Handler } from "@sluice/core/Handler"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Scope from "effect/Scope"
import { hasCredentials } from "./attributes.ts"
import { buffer, type StoredResponse } from "./storedResponse.ts"

/** A response that can only be sent once: it is for whoever takes it first, with the scope that holds its body. */
export interface Live {
  readonly _tag: "Live"
  readonly response: HttpServerResponse
  readonly scope: Scope.Closeable
  taken: boolean
}

/** What came of a run: a response for everybody, or for one. */
export type Outcome<A> = { readonly _tag: "Shared"; readonly stored: StoredResponse; readonly value: A } | Live

/** Settings of a run. */
export interface Settings<A> {
  /** The largest body that is shared, in bytes. */
  readonly limit: number
  /**
   * Whether a response is for everybody, by its head and by whether the request had credentials (`hasCredentials`): what it
   * is shared with, or `undefined` when it is not.
   */
  readonly share: (response: HttpServerResponse, credentials: boolean) => A | undefined
  /** Names of request fields that the handler does not see. */
  readonly without: ReadonlyArray<string>
}

/** Runs the handler apart from the request that asks, and reads the body of a response that is for everybody. */
export const sharedRun = <E, R, A>(
  handler: Handler<E, R>,
  { limit, share, without }: Settings<A>
): Effect.Effect<Outcome<A>, E, R | HttpServerRequest> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Scope.make(), (scope) => {
      const live = (response: HttpServerResponse): Live => ({ _tag: "Live", response, scope, taken: false })
      const run = Effect.gen(function*() {
        let credentials = false
        // Asked of the run's own exchange, and after it: a scheme may stand further in.
        const seen = Effect.tap(handler, () =>
          Effect.map(Exchange.current, (exchange) => {
            credentials = hasCredentials(exchange)
          }))
        const response = yield* Detached.run(seen, { scope, without })
        const value = share(response, credentials)
        if (value === undefined) return live(response)
        const buffered = yield* buffer(response, limit, scope)
        if (buffered._tag === "Live") return live(buffered.response)
        return { _tag: "Shared", stored: buffered.stored, value } satisfies Outcome<A>
      })
      return Effect.onExit(restore(run), (exit) =>
        Exit.isSuccess(exit) && exit.value._tag === "Live" ? Effect.void : Scope.close(scope, exit))
    })
  )

/** Gives a live response to the request of this fiber, which then holds its scope; `undefined` when another one has it. */
export const takeLive = (live: Live): Effect.Effect<HttpServerResponse | undefined> =>
  Effect.withFiber(({ context }) => {
    if (live.taken) return Effect.undefined
    live.taken = true
    // Every request has a scope.
    const scope = Context.getUnsafe(context as Context.Context<Scope.Scope>, Scope.Scope)
    return Effect.as(Scope.addFinalizerExit(scope, (exit) => Scope.close(live.scope, exit)), live.response)
  })

/** Lets go of a live response that nobody took, so that nobody takes it later. */
export const abandon = (outcome: Outcome<unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (outcome._tag === "Shared" || outcome.taken) return Effect.void
    outcome.taken = true
    return Scope.close(outcome.scope, Exit.void)
  })
