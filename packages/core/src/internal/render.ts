import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Cancellation from "../Cancellation.ts"
import * as Problem from "../Problem.ts"

type Response = HttpServerResponse.HttpServerResponse

/** The response for a pipeline's failure. It never fails, and never tells more than an error's own response does. */
export const render = (cause: Cause.Cause<unknown>): Effect.Effect<Response> => {
  for (const reason of cause.reasons) {
    if (Cause.isDieReason(reason) && HttpServerResponse.isHttpServerResponse(reason.defect)) {
      return Effect.succeed(reason.defect)
    }
  }
  const reason = cause.reasons.find(Cause.isFailReason) ?? cause.reasons.find(Cause.isDieReason)
  if (reason === undefined) return Effect.succeed(renderInterruption(cause))
  return Cause.isFailReason(reason) ? renderError(reason.error) : renderDefect(reason.defect)
}

const renderError = (error: unknown): Effect.Effect<Response> => {
  if (HttpServerError.isHttpServerError(error)) return Effect.succeed(renderServerError(error))
  if (Schema.isSchemaError(error)) return Effect.succeed(Problem.toResponse({ status: 400 }))
  if (Cause.isNoSuchElementError(error)) return Effect.succeed(Problem.toResponse({ status: 404 }))
  return renderDefect(error)
}

const renderDefect = (defect: unknown): Effect.Effect<Response> =>
  HttpServerRespondable.isRespondable(defect)
    ? Effect.catchCause(HttpServerRespondable.toResponse(defect), () => Effect.succeed(internalServerError()))
    : Effect.succeed(internalServerError())

const internalServerError = (): Response => Problem.toResponse({ status: 500 })

/** Effect's own errors have empty responses; ours have a problem body. */
const renderServerError = ({ reason }: HttpServerError.HttpServerError): Response => {
  switch (reason._tag) {
    case "RouteNotFound":
      return Problem.toResponse({ status: 404 })
    case "RequestParseError":
      return Problem.toResponse({ status: reason.reason === "BodyTooLarge" ? 413 : 400 })
    default:
      return internalServerError()
  }
}

/** nginx's status for a client that left: nobody reads it, but logs and metrics of Effect's own do. */
const clientClosedRequest = 499

const renderInterruption = (cause: Cause.Cause<unknown>): Response => {
  const cancellation = Option.getOrUndefined(Cancellation.of(cause))
  if (cancellation?._tag === "ClientAborted") return HttpServerResponse.empty({ status: clientClosedRequest })
  return Problem.toResponse(
    { status: 503 },
    cancellation?._tag === "Draining" ? { connection: "close" } : undefined
  )
}
