import * as Exchange from "@sluice/core/Exchange"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { InvalidCredentials, MalformedCredentials, MissingCredentials } from "../Authentication.ts"
import { challenge, credentialsIn, isToken68 } from "./authorization.ts"

/** What may be wrong with a token before anybody has looked into it, and after. */
export type BearerError = MissingCredentials | MalformedCredentials | InvalidCredentials

/** Reads the one token of a request, and says what is wrong with it in the words of RFC 6750, section 3.1. */
export interface Bearer {
  /** Goes on with the token, which is a secret. */
  readonly withToken: <A, E, R>(
    f: (token: string) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | MissingCredentials | MalformedCredentials, R | HttpServerRequest>
  readonly invalid: (detail: string) => InvalidCredentials
}

export const bearer = (realm: string): Bearer => {
  const challenges = [challenge("Bearer", { realm })]
  const refusal = (error: string, detail: string) => ({
    challenges: [challenge("Bearer", { realm, error, error_description: detail })],
    detail
  })
  const malformed = (detail: string) => Effect.fail(new MalformedCredentials(refusal("invalid_request", detail)))
  return {
    withToken: <A, E, R>(f: (token: string) => Effect.Effect<A, E, R>) =>
      Effect.withFiber<A, E | MissingCredentials | MalformedCredentials, R>((fiber) => {
        const exchange = Exchange.currentUnsafe(fiber)
        const token = credentialsIn(exchange.requestFields, "bearer")
        if (token === undefined) return Effect.fail(new MissingCredentials({ challenges }))
        if (!isToken68(token)) return malformed("The Authorization field must hold one token")
        // Two methods at once; a token in the query alone is not looked at.
        if (/[?&]access_token=/.test(exchange.target)) return malformed("The request holds more than one token")
        return f(token)
      }),
    invalid: (detail) => new InvalidCredentials(refusal("invalid_token", detail))
  }
}
