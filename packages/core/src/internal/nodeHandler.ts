import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { IncomingMessage, type ServerResponse } from "node:http"
import * as BatchedWrites from "../BatchedWrites.ts"
import type { NodeHandler } from "../Handler.ts"
import * as Problem from "../Problem.ts"
import { exchangeOf } from "./attach.ts"
import { takeResponse } from "./takeResponse.ts"

/** Where a request that came from Express keeps the way back to it. */
export const nextKey: unique symbol = Symbol.for("@sluice/core/next") as never

/**
 * Runs a Node handler until its response is written, and returns a receipt of it; `undefined` when it called `next()`.
 */
export const runNode = (
  handler: NodeHandler
): Effect.Effect<HttpServerResponse.HttpServerResponse | undefined, never, HttpServerRequest.HttpServerRequest> =>
  Effect.withFiber((fiber) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
      if (!(request.source instanceof IncomingMessage)) {
        return Effect.die(new Error("a Node handler needs a Node server: this request came through fetch"))
      }
      const exchange = exchangeOf(request, fiber)
      exchange.direct = true
      // What listens to the end of its response may want the context in which that was written.
      BatchedWrites.disable(request.source.socket)
      return call(handler, request.source, takeResponse(exchange, request))
    })
  )

const call = (
  handler: NodeHandler,
  request: IncomingMessage,
  response: ServerResponse
): Effect.Effect<HttpServerResponse.HttpServerResponse | undefined> =>
  Effect.callback((resume) => {
    const onClose = () => resume(Effect.sync(() => HttpServerResponse.empty({ status: response.statusCode })))
    const next = (error?: unknown) => {
      response.off("close", onClose)
      resume(error === undefined || error === "route" || error === "router" ? Effect.undefined : failed(error))
    }
    const onError = (error: unknown) => next(error)
    response.once("close", onClose)
    keepMethods(request, response)
    try {
      const returned = handler(request, response, next)
      if (returned instanceof Promise) returned.then(undefined, onError)
    } catch (error) {
      next(error)
    }
    return Effect.sync(() => response.off("close", onClose))
  })

/** Express gives both messages other prototypes; what our classes do on the way must survive that. */
const keepMethods = (request: IncomingMessage, response: ServerResponse): void => {
  Object.assign(request, { _read: request._read, push: request.push })
  Object.assign(response, { writeHead: response.writeHead, write: response.write, end: response.end })
}

/** An error that has a response keeps it. The convention of `http-errors`: one may say its own status. */
const failed = (error: unknown): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
  if (HttpServerRespondable.isRespondable(error)) return Effect.die(error)
  const { status, statusCode } = error as { readonly status?: unknown; readonly statusCode?: unknown }
  const code = typeof status === "number" ? status : statusCode
  return typeof code === "number" && code >= 400 && code < 500
    ? Effect.succeed(Problem.toResponse({ status: code }))
    : Effect.die(error)
}
