import * as RequestService from "@sluice/core/RequestService"
import * as Route from "@sluice/core/Route"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Accept from "../../src/Accept.ts"
import * as BodyLimit from "../../src/BodyLimit.ts"
import * as Timeout from "../../src/Timeout.ts"

class Format extends RequestService.Service<Format, "text/csv" | "text/html">()("typetest/Format") {}

// a handler that asks for the media type needs the middleware that chooses it
const chosen = Effect.map(Accept.MediaType, (type) => HttpServerResponse.text(type))
Route.get("/", Accept.make(["text/plain"]), chosen)
Route.get("/", chosen) // error: "no middleware provides": MediaType

// a list has only types that the service has
Accept.provide(Format, ["text/html"])
Accept.provide(Format, ["text/plain"]) // error: is not assignable to type

// limits and clocks say what they fail with
const limit: typeof BodyLimit.none = BodyLimit.make(1) // error: BodyTooLarge
const clock: typeof BodyLimit.none = Timeout.requestBody({ idle: "1 second" }) // error: RequestBodyTimeout
const silent: typeof BodyLimit.none = Timeout.responseBody({ idle: "1 second" })
