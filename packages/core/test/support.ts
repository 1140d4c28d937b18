/** What several tests need. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/** A request head for HTTP/1.1, with whatever fields and body are given. */
export const raw = (line: string, fields: ReadonlyArray<string> = [], body = ""): string =>
  [`${line} HTTP/1.1`, "Host: test", ...fields, "", body].join("\r\n")

export const get = (path: string, ...fields: ReadonlyArray<string>): string => raw(`GET ${path}`, fields)

export const post = (path: string, body: string, ...fields: ReadonlyArray<string>): string =>
  raw(`POST ${path}`, [`Content-Length: ${body.length}`, ...fields], body)

/** Builds something in a scope of its own, and returns how to close it. */
export const closeable = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<readonly [A, close: Effect.Effect<void>], E, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const value = yield* Scope.provide(self, scope)
    return [value, Scope.close(scope, Exit.void)] as const
  })
