/**
 * Effect's own router and server. Of the stack, the access log is its `HttpMiddleware.logger`, CORS its
 * `HttpMiddleware.cors`, the timeout `Effect.timeoutOrElse` and the metrics its `Metric`s; the rest is written by hand.
 */
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer, Logger, Metric, type Schema, Scope } from "effect"
import { HttpMiddleware, HttpRouter, type HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http"
import { randomUUID } from "node:crypto"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Shared from "./shared.ts"

type Failure = HttpServerError.HttpServerError | Schema.SchemaError

const start = (
  routes: Layer.Layer<never, never, HttpRouter.HttpRouter | HttpRouter.Request.From<"Error", Failure>>,
  options: { readonly logger?: Logger.Logger<unknown, void> } = {}
): Promise<number> =>
  Effect.runPromise(Effect.gen(function*() {
    const server = createServer()
    // Never closed: it runs as long as the process.
    const scope = yield* Scope.make()
    const built = HttpRouter.serve(routes, { disableLogger: options.logger === undefined, disableListenLog: true })
      .pipe(
        Layer.provide(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" })),
        Layer.provide(options.logger === undefined ? Layer.empty : Logger.layer([options.logger]))
      )
    yield* Layer.buildWithScope(built, scope)
    // Sound: a server that listens on TCP has an address with a port.
    return (server.address() as AddressInfo).port
  }))

const Hello = Effect.succeed(HttpServerResponse.text(Shared.text))

const respond = HttpServerResponse.schemaJson(Shared.Order)
const Echo = Effect.flatMap(HttpServerRequest.schemaBodyJson(Shared.Order), (order) => Effect.orDie(respond(order)))

// -- The stack ---------------------------------------------------------------------------------------------------------

type Handler<E = never> = Effect.Effect<HttpServerResponse.HttpServerResponse, E, HttpServerRequest.HttpServerRequest>

const active = Metric.gauge("http.server.active_requests", {
  attributes: { unit: "{request}", "http.request.method": "GET", "url.scheme": "http" }
})

const instruments = new Map<string, ReadonlyArray<Metric.Histogram<number>>>()

/** One lookup for the three histograms of a method, a route and a status. */
const instrumentsOf = (method: string, status: number): ReadonlyArray<Metric.Histogram<number>> => {
  const key = `${method} ${status}`
  const known = instruments.get(key)
  if (known !== undefined) return known
  const attributes = {
    "http.request.method": method,
    "http.route": "/",
    "http.response.status_code": String(status),
    "url.scheme": "http",
    "network.protocol.version": "1.1"
  }
  const made = [
    Metric.histogram("http.server.request.duration", { boundaries: Shared.durations, attributes }),
    Metric.histogram("http.server.request.body.size", { boundaries: Shared.sizes, attributes }),
    Metric.histogram("http.server.response.body.size", { boundaries: Shared.sizes, attributes })
  ]
  instruments.set(key, made)
  return made
}

const lengthOf = ({ body }: HttpServerResponse.HttpServerResponse): number =>
  "contentLength" in body ? body.contentLength ?? 0 : 0

const measured = <E>(handler: Handler<E>): Handler<E> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const from = performance.now()
    return Effect.contextWith((context) => {
      active.modifyUnsafe(1, context)
      return Effect.onExit(handler, (exit) =>
        Effect.sync(() => {
          active.modifyUnsafe(-1, context)
          const [duration, received, sent] = instrumentsOf(
            request.method,
            exit._tag === "Success" ? exit.value.status : 500
          )
          duration.updateUnsafe((performance.now() - from) / 1000, context)
          received.updateUnsafe(Number(request.headers["content-length"] ?? 0), context)
          sent.updateUnsafe(exit._tag === "Success" ? lengthOf(exit.value) : 0, context)
        }))
    })
  })

const withRequestId = <E>(handler: Handler<E>): Handler<E> =>
  Effect.suspend(() => Effect.map(handler, HttpServerResponse.setHeader("x-request-id", randomUUID())))

const reporting = <E>(handler: Handler<E>): Handler<E> =>
  Effect.tapCause(handler, (cause) => Effect.sync(() => Shared.report(cause)))

const timed = <E>(handler: Handler<E>): Handler<E> =>
  Effect.timeoutOrElse(handler, {
    duration: Shared.timeout,
    orElse: () => Effect.succeed(HttpServerResponse.empty({ status: 503 }))
  })

const cors = HttpMiddleware.cors({ allowedOrigins: [Shared.origin] })

const counts = new Map<string, { count: number; until: number }>()

const limited = <E>(handler: Handler<E>): Handler<E> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const key = request.remoteAddress._tag === "Some" ? request.remoteAddress.value : ""
    const now = performance.now()
    let entry = counts.get(key)
    if (entry === undefined || entry.until <= now) counts.set(key, entry = { count: 0, until: now + Shared.window })
    entry.count++
    if (entry.count > Shared.limit) return Effect.succeed(HttpServerResponse.empty({ status: 429 }))
    const headers = {
      "ratelimit-policy": `"default";q=${Shared.limit};w=${Shared.window / 1000}`,
      ratelimit: `"default";r=${Shared.limit - entry.count};t=${Math.ceil((entry.until - now) / 1000)}`
    }
    return Effect.map(handler, HttpServerResponse.setHeaders(headers))
  })

const unauthorized = HttpServerResponse.empty({
  status: 401,
  headers: { "www-authenticate": "Bearer realm=\"bench\"" }
})

const authorized = <E>(handler: Handler<E>): Handler<E> =>
  Effect.flatMap(
    HttpServerRequest.HttpServerRequest,
    ({ headers: { authorization = "" } }) =>
      authorization.startsWith("Bearer ") && Shared.isToken(authorization.slice(7))
        ? handler
        : Effect.succeed(unauthorized)
  )

const stacked: Handler<HttpServerError.HttpServerError> = measured(
  withRequestId(reporting(timed(cors(limited(authorized(Hello))))))
)

export const service: Shared.Service = {
  hello: () => start(HttpRouter.add("GET", "/", Hello)),
  json: () => start(HttpRouter.add("POST", "/", Echo)),
  stack: () => start(HttpRouter.add("GET", "/", stacked), { logger: Logger.map(Logger.formatJson, Shared.sink) })
}
