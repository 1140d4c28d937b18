import type * as Middleware from "@sluice/core/Middleware"
import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import { App, RawClient } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Scope from "effect/Scope"

/** The principal of these tests. */
export interface Person {
  readonly name: string
  readonly scope?: string
}

export class User extends RequestService.Service<User, Person>()("test/User") {}

/** A handler that says whose request it is. */
export const whoami = Effect.map(User, ({ name }) => HttpServerResponse.text(name))

/** What came back: status, challenges and body. */
export interface Reply {
  readonly status: number
  readonly challenge: string | undefined
  readonly retryAfter: string | undefined
  readonly body: string
}

/** Sends raw field lines to a port, and reads the whole answer. */
export const ask = (port: number, fields: ReadonlyArray<string> = [], target = "/"): Effect.Effect<Reply> =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* RawClient.connect(port)
    yield* client.send(
      [`GET ${target} HTTP/1.1`, "Host: a", ...fields, "Connection: close", "", ""].join("\r\n")
    )
    const text = (yield* client.ended).unread
    const [head, body] = text.split("\r\n\r\n", 2)
    return {
      status: Number(head.split(" ")[1]),
      challenge: /^www-authenticate: (.*)$/im.exec(head)?.[1],
      retryAfter: /^retry-after: (.*)$/im.exec(head)?.[1],
      body
    }
  })).pipe(Effect.orDie)

/** A server whose only route is `whoami` below a scheme. */
export const guarded = <X extends { readonly _tag: string }, Q>(
  scheme: Middleware.Middleware<User, X, Q>
): Effect.Effect<number, never, Scope.Scope | Exclude<Q, HttpServerRequest>> =>
  // Sound: every error of these tests has a response, and what the scheme needs is asked of the test.
  Effect.map(
    App.listen(Route.get("/", scheme as unknown as Middleware.Middleware<User, never, HttpServerRequest>, whoami)),
    ({ port }) => port
  ).pipe(Effect.orDie) as Effect.Effect<number, never, Scope.Scope | Exclude<Q, HttpServerRequest>>
