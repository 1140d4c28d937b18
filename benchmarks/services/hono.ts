/**
 * Hono on its Node server. Of the stack, request ids, timeout, CORS and bearer authentication are its own middleware, the
 * rate limit is `hono-rate-limiter`, reporting `app.onError`, metrics a middleware with `prom-client`. Its own logger writes
 * two short lines a request; one with the data that the others have is written by hand.
 */
import { type HttpBindings, serve } from "@hono/node-server"
import { getConnInfo } from "@hono/node-server/conninfo"
import { sValidator } from "@hono/standard-validator"
import { Schema } from "effect"
import { type Context, Hono, type MiddlewareHandler } from "hono"
import { rateLimiter } from "hono-rate-limiter"
import { bearerAuth } from "hono/bearer-auth"
import { cors } from "hono/cors"
import { HTTPException } from "hono/http-exception"
import { requestId, type RequestIdVariables } from "hono/request-id"
import { timeout } from "hono/timeout"
import { ended, started } from "./prometheus.ts"
import * as Shared from "./shared.ts"

type Env = { readonly Variables: RequestIdVariables; readonly Bindings: HttpBindings }

const listen = (app: { readonly fetch: Parameters<typeof serve>[0]["fetch"] }): Promise<number> =>
  new Promise((resolve) => {
    serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, ({ port }) => resolve(port))
  })

const encode = Schema.encodeSync(Shared.Order)

const addressOf = (c: Context): string => getConnInfo(c).remote.address ?? ""

const log: MiddlewareHandler<Env> = async (c, next) => {
  const from = performance.now()
  await next()
  Shared.sink(JSON.stringify({
    level: "info",
    time: Date.now(),
    requestId: c.get("requestId"),
    method: c.req.method,
    path: c.req.path,
    status: c.res.status,
    bytes: Number(c.res.headers.get("content-length") ?? 0),
    duration: performance.now() - from,
    address: addressOf(c),
    userAgent: c.req.header("user-agent"),
    message: "request completed"
  }))
}

const metrics: MiddlewareHandler<Env> = async (c, next) => {
  const { method } = c.req
  const from = performance.now()
  started(method)
  await next()
  ended({ method, route: "/", status: c.res.status }, {
    seconds: (performance.now() - from) / 1000,
    received: Number(c.req.header("content-length") ?? 0),
    sent: Number(c.res.headers.get("content-length") ?? 0)
  })
}

export const service: Shared.Service = {
  hello: () => listen(new Hono().get("/", (c) => c.text(Shared.text))),
  json: () =>
    listen(
      new Hono().post("/", sValidator("json", Schema.toStandardSchemaV1(Shared.Order)), (c) =>
        c.json(encode(c.req.valid("json"))))
    ),
  stack: () => {
    const app = new Hono<Env>()
    app.onError((error, c) => {
      if (error instanceof HTTPException) return error.getResponse()
      Shared.report(error)
      return c.body(null, 500)
    })
    app.use(log, metrics, requestId(), timeout(Shared.timeout), cors({ origin: [Shared.origin] }))
    app.use(rateLimiter({ limit: Shared.limit, windowMs: Shared.window, keyGenerator: addressOf }))
    app.use(bearerAuth({ verifyToken: Shared.isToken }))
    app.get("/", (c) => c.text(Shared.text))
    return listen(app)
  }
}
