import * as Exchange from "@sluice/core/Exchange"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as UrlParams from "effect/http/UrlParams"

/** A field or query parameter in which this exchange's client sent a secret. */
export interface SecretName {
  readonly in: "header" | "query"
  readonly name: string
}

const key = "@sluice/middleware/secretNames"

const namesIn = (exchange: Exchange.Exchange): ReadonlyArray<SecretName> =>
  // Sound: nothing else writes under this key.
  exchange.attributes.get(key) as ReadonlyArray<SecretName> | undefined ?? []

/** Tells `Reporting` what to blank in the reports of this exchange, whatever its name. */
export const noteSecretName = (name: SecretName): Effect.Effect<void, never, HttpServerRequest> =>
  Effect.flatMap(Exchange.current, (exchange) => Exchange.annotate(key, [...namesIn(exchange), name]))

/** Runs what writes about an exchange with the names that are secret in it. */
export const withSecretNames = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  exchange: Exchange.Exchange
): Effect.Effect<A, E, R> => {
  const names = namesIn(exchange)
  if (names.length === 0) return self
  const of = (place: SecretName["in"]) => names.filter((name) => name.in === place).map(({ name }) => name)
  return self.pipe(
    Effect.updateService(Headers.CurrentRedactedNames, (known) => [...known, ...of("header")]),
    Effect.updateService(UrlParams.CurrentRedactedNames, (known) => [...known, ...of("query")])
  )
}
