import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import * as UrlParams from "effect/http/UrlParams"

const names = { header: new Set<string>(), query: new Set<string>() }

/**
 * Tells `Reporting` what to blank in every report, whatever its name. Not by exchange: a scheme may run on another one (that
 * of a shared run of the handler) than the report is of, or not at all.
 */
export const noteSecretName = (place: keyof typeof names, name: string): void => void names[place].add(name)

/** Runs what writes about a request with the names that are secret. */
export const withSecretNames = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  self.pipe(
    Effect.updateService(Headers.CurrentRedactedNames, (known) => [...known, ...names.header]),
    Effect.updateService(UrlParams.CurrentRedactedNames, (known) => [...known, ...names.query])
  )
