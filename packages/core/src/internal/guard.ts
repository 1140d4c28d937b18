import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Stream from "effect/Stream"
import { Readable } from "node:stream"
import type { Rewrite } from "../Exchange.ts"
import * as Problem from "../Problem.ts"
import { exchangeOf } from "./attach.ts"
import type { ExchangeState } from "./exchangeState.ts"
import { takePreResponseHook } from "./preResponse.ts"
import { render } from "./render.ts"
import { takeResponse } from "./takeResponse.ts"
import { withBody, writeValue } from "./valueResponse.ts"

type Response = HttpServerResponse.HttpServerResponse
type Request = HttpServerRequest.HttpServerRequest

/**
 * The outermost layer of every app: runs the pipeline interruptibly, turns any failure into a response, runs Effect's
 * pre-response hooks so that a failing one is answered too, and watches the body so that a response that is cut off is
 * known by its cause.
 */
export const guard = <E, R>(app: Effect.Effect<Response, E, R>): Effect.Effect<Response, never, R | Request> => {
  const pipeline = Effect.interruptible(app)
  return Effect.withFiber((fiber) => {
    const request = Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
    const exchange = exchangeOf(request, fiber, true)
    if (exchange.rejectedWith !== undefined) return Effect.succeed(refusal(exchange.rejectedWith))
    exchange.fiber = fiber
    const { context } = fiber
    return Effect.matchCauseEffect(pipeline, {
      onSuccess: (response) => leave(exchange, request, context, response),
      onFailure: (cause) => fail(exchange, request, context, cause)
    })
  })
}

const refusal = (status: number): Response => Problem.toResponse({ status }, { connection: "close" })

const fail = (
  exchange: ExchangeState,
  request: Request,
  context: Context.Context<never>,
  cause: Cause.Cause<unknown>
): Effect.Effect<Response> => {
  if (exchange.committed && !isReceipt(cause)) return abort(exchange, cause)
  return Effect.flatMap(render(cause), (response) => {
    exchange.failed(cause, response.status)
    return leave(exchange, request, context, response)
  })
}

/** A response thrown as a defect is a way to answer, not a failure. */
const isReceipt = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => Cause.isDieReason(reason) && HttpServerResponse.isHttpServerResponse(reason.defect))

/** The head is out, so no response can be rendered any more: the peer must see that this one is not whole. */
const abort = (exchange: ExchangeState, cause: Cause.Cause<unknown>): Effect.Effect<Response> =>
  Effect.suspend(() => {
    const tunnel = exchange.phase === "tunnel" && !exchange.direct
    exchange.cutOff(cause)
    // An upgraded socket is closed by its own scope, which tells the peer why (a WebSocket's Close) if it hears it.
    // Sound: nobody above handles failures, and the request's scope takes any.
    if (tunnel) return Effect.failCause(cause as Cause.Cause<never>)
    exchange.carrier?.destroy()
    return Effect.succeed(HttpServerResponse.empty({ status: exchange.status ?? 500 }))
  })

const leave = (
  exchange: ExchangeState,
  request: Request,
  context: Context.Context<never>,
  response: Response
): Effect.Effect<Response> => {
  if (exchange.refuseUpgrade !== undefined) takeResponse(exchange, request)
  const hook = takePreResponseHook(context)
  const { rewrites } = exchange
  if (exchange.committed || hook === undefined && rewrites === undefined) {
    return Effect.succeed(watch(exchange, response))
  }
  const rewritten = rewrites === undefined ? Effect.succeed(response) : rewrite(response, rewrites)
  const last = hook === undefined ? rewritten : Effect.flatMap(rewritten, (response) => hook(request, response))
  return Effect.matchCauseEffect(last, {
    onSuccess: (response) => Effect.succeed(watch(exchange, response)),
    onFailure: (cause) =>
      Effect.map(render(cause), (response) => {
        exchange.failed(cause, response.status)
        return watch(exchange, response)
      })
  })
}

/** As responses travel: from the inside out. */
const rewrite = (response: Response, rewrites: ReadonlyArray<Rewrite>): Effect.Effect<Response> =>
  rewrites.reduceRight<Effect.Effect<Response>>((self, one) => Effect.flatMap(self, one), Effect.succeed(response))

const watch = (exchange: ExchangeState, response: Response): Response => {
  if (!exchange.committed && !isFinal(response.status)) {
    exchange.failed(Cause.die(new RangeError(`a response can't have status ${response.status}`)), 500)
    return watch(exchange, Problem.toResponse({ status: 500 }))
  }
  const watched = watchBody(exchange, response)
  return exchange.wire ? watched : writeValue(exchange, watched)
}

const isFinal = (status: number): boolean => Number.isInteger(status) && status >= 200 && status <= 599

const watchBody = (exchange: ExchangeState, response: Response): Response => {
  const body = response.body
  if (body._tag === "Stream") {
    const source = isEventStream(body.contentType) ? untilDrained(exchange, body.stream) : body.stream
    const stream = Stream.onError(source, (cause) => Effect.sync(() => exchange.cutOff(cause)))
    return withBody(response, HttpBody.stream(stream, body.contentType, body.contentLength))
  }
  if (body._tag === "Raw" && body.body instanceof Readable) {
    body.body.once("error", (error) => exchange.cutOff(Cause.die(error)))
  }
  return response
}

const isEventStream = (contentType: string): boolean => contentType.toLowerCase().startsWith("text/event-stream")

/** An event stream would hold a draining server for ever; it ends cleanly, and its client reconnects elsewhere. */
const untilDrained = <E>(exchange: ExchangeState, stream: Stream.Stream<Uint8Array, E>): Stream.Stream<Uint8Array, E> =>
  Stream.interruptWhen(
    stream,
    Effect.callback<void>((resume) => {
      exchange.onDrain(() => resume(Effect.void))
    })
  )
