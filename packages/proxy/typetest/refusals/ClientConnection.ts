import * as Route from "@sluice/core/Route"
import * as Effect from "effect/Effect"
import type { Duplex, Readable } from "node:stream"
import * as ClientConnection from "../../src/ClientConnection.ts"
import type * as ConnectionEnd from "../../src/ConnectionEnd.ts"

declare const duplex: Duplex
declare const readable: Readable
declare const connection: ClientConnection.ClientConnection
declare const ended: ConnectionEnd.ConnectionEnded
declare const end: ConnectionEnd.ConnectionEnd

const request: ClientConnection.Request = { method: "GET", target: "/", fields: [] }

// a connection and an exchange live in a scope
const runPromise = (_: Effect.Effect<unknown>): void => {}
runPromise(Effect.scoped(ClientConnection.make(duplex)))
runPromise(ClientConnection.make(duplex)) // error: Type 'Scope' is not assignable to type 'never'
const response = connection.exchange(request)
runPromise(Effect.ignore(response)) // error: Type 'Scope' is not assignable to type 'never'
runPromise(Effect.ignore(Effect.scoped(response)))

// both ways are needed
ClientConnection.make(readable) // error: is missing the following properties from type 'Duplex'

// every failure says whether the request may be sent again
Effect.mapError(response, (error): string => error.retryable)

// that a connection has ended is no response: say what the client gets
Route.get("/", Effect.fail(ended)) // error: "these errors have no response": ConnectionEnded

// an end says its reason, and what broke the connection is an error with a tag
export const told = (): string => end._tag === "PipelineBroken" ? end.cause._tag : end.reason
end.reason // error: Property 'reason' does not exist on type 'PipelineBroken'
