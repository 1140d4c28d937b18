/**
 * Ours, with the settings that a user gets. The stack logs what `AccessLog` logs by default, as lines of JSON; `effectLogger`
 * does so through Effect's own JSON logger, and `jsonLines` has the middleware write the line itself.
 */
import { Middleware, Reporter, RequestService, Route, Server } from "@sluice/core"
import * as M from "@sluice/middleware"
import { Effect, Layer, Logger, Option, Redacted } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { serve } from "../serve.ts"
import { isToken, limit, Order, origin, report, type Service, sink, text, timeout, window } from "./shared.ts"

const Hello = Effect.succeed(HttpServerResponse.text(text))

const respond = HttpServerResponse.schemaJson(Order)
const Echo = Effect.flatMap(HttpServerRequest.schemaBodyJson(Order), (order) => Effect.orDie(respond(order)))

class Caller extends RequestService.Service<Caller, { readonly id: string }>()("bench/Caller") {}
const caller = Option.some({ id: "bench" })

const eight = (log: M.AccessLog.Options) =>
  Middleware.stack(
    M.AccessLog.make(log),
    M.Metrics.make(),
    M.RequestId.make(),
    M.Reporting.make(),
    M.Timeout.make(timeout),
    M.Cors.make({ origins: [origin] }),
    M.RateLimit.make({ limit, window }),
    M.BearerAuth.make(Caller, {
      realm: "bench",
      verify: (token) => Effect.sync(() => isToken(Redacted.value(token)) ? caller : Option.none())
    })
  )

const Reported = Reporter.layer(Effect.succeed((batch) => Effect.sync(() => report(batch))))

const stack = (log: M.AccessLog.Options, logger: Logger.Logger<unknown, void>) =>
  serve(Layer.provide(Server.layer(Route.get("/", eight(log), Hello)), [
    M.RateLimitStore.layerMemory(),
    Reported,
    Logger.layer([logger])
  ]))

export const service: Service = {
  hello: () => serve(Server.layer(Route.get("/", Hello))),
  json: () => serve(Server.layer(Route.post("/", Echo))),
  stack: () => stack({}, Logger.map(M.JsonLogger.format, sink))
}

export const effectLogger = () => stack({}, Logger.map(Logger.formatJson, sink))

export const jsonLines = () => stack({ format: "json" }, Logger.make(({ message }) => sink(String(message))))
