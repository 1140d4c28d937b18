/**
 * Express. Of the stack, the access log is `morgan`, CORS `cors`, the rate limit `express-rate-limit`, reporting an error
 * handler, metrics a middleware with `prom-client`; request ids, timeout and bearer authentication are a few lines each.
 */
import cors from "cors"
import { Schema } from "effect"
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from "express"
import { rateLimit } from "express-rate-limit"
import morgan from "morgan"
import { randomUUID } from "node:crypto"
import type { AddressInfo } from "node:net"
import { ended, started } from "./prometheus.ts"
import * as Shared from "./shared.ts"

const listen = (app: Express): Promise<number> =>
  new Promise((resolve) => {
    const server = app.listen(0, "127.0.0.1", () => {
      // Sound: it listens on TCP.
      resolve((server.address() as AddressInfo).port)
    })
  })

const decode = Schema.decodeUnknownSync(Shared.Order)
const encode = Schema.encodeSync(Shared.Order)

const hello: RequestHandler = (_, response) => {
  response.type("text/plain").send(Shared.text)
}

const log = morgan(
  ":date[iso] :req-id :remote-addr :method :url :status :res[content-length] :response-time \":user-agent\"",
  { stream: { write: Shared.sink } }
)
morgan.token("req-id", (_, response) => String(response.getHeader("x-request-id")))

const metrics: RequestHandler = (request, response, next) => {
  const from = performance.now()
  started(request.method)
  response.once("close", () => {
    ended({ method: request.method, route: request.route?.path, status: response.statusCode }, {
      seconds: (performance.now() - from) / 1000,
      received: Number(request.headers["content-length"] ?? 0),
      sent: Number(response.getHeader("content-length") ?? 0)
    })
  })
  next()
}

const requestId: RequestHandler = (_, response, next) => {
  response.setHeader("x-request-id", randomUUID())
  next()
}

const timed: RequestHandler = (_, response, next) => {
  const timer = setTimeout(() => {
    if (!response.headersSent) response.status(503).end()
  }, Shared.timeout)
  response.once("finish", () => clearTimeout(timer))
  response.once("close", () => clearTimeout(timer))
  next()
}

const authorized: RequestHandler = ({ headers: { authorization = "" } }, response, next) => {
  if (authorization.startsWith("Bearer ") && Shared.isToken(authorization.slice(7))) return next()
  response.status(401).setHeader("www-authenticate", "Bearer realm=\"bench\"").end()
}

// Express knows an error handler by its four parameters.
const failed: ErrorRequestHandler = (error, _request, response, _next) => {
  Shared.report(error)
  response.status(500).end()
}

export const service: Shared.Service = {
  hello: () => listen(express().get("/", hello)),
  json: () =>
    listen(
      express().use(express.json()).post("/", (request, response) => {
        response.json(encode(decode(request.body)))
      })
    ),
  stack: () => {
    const app = express()
    app.use(log, metrics, requestId, timed, cors({ origin: [Shared.origin] }))
    app.use(
      rateLimit({ limit: Shared.limit, windowMs: Shared.window, standardHeaders: "draft-8", legacyHeaders: false })
    )
    app.use(authorized)
    app.get("/", hello)
    app.use(failed)
    return listen(app)
  }
}
