/**
 * Fastify. Of the stack, request ids are its `genReqId` and a hook that sends them, the access log its pino with one line a
 * request (its own two are turned off), the timeout its `handlerTimeout`, reporting its error handler, metrics hooks with
 * `prom-client`; CORS, bearer authentication and rate limit are its plugins.
 */
import bearerAuth from "@fastify/bearer-auth"
import { fastifyCors } from "@fastify/cors"
import { fastifyRateLimit } from "@fastify/rate-limit"
import { fastify, type FastifyInstance, LogController } from "fastify"
import { randomUUID } from "node:crypto"
import { ended, started } from "./prometheus.ts"
import * as Shared from "./shared.ts"

const listen = async (app: FastifyInstance): Promise<number> =>
  Number(new URL(await app.listen({ host: "127.0.0.1", port: 0 })).port)

const hello = (_: unknown, reply: { readonly send: (text: string) => void }): void => reply.send(Shared.text)

export const service: Shared.Service = {
  hello: () => {
    const app = fastify()
    app.get("/", hello)
    return listen(app)
  },
  json: () => {
    const app = fastify()
    app.post("/", { schema: { body: Shared.orderSchema, response: { 200: Shared.orderSchema } } }, (request, reply) => {
      reply.send(request.body)
    })
    return listen(app)
  },
  stack: async () => {
    const app = fastify({
      logger: { stream: { write: Shared.sink } },
      logController: new LogController({ disableRequestLogging: true }),
      genReqId: () => randomUUID(),
      handlerTimeout: Shared.timeout
    })
    app.addHook("onRequest", (request, reply, done) => {
      started(request.method)
      reply.header("x-request-id", request.id)
      done()
    })
    app.addHook("onResponse", (request, reply, done) => {
      const { headers, method } = request
      const sent = Number(reply.getHeader("content-length") ?? 0)
      ended(
        { method, route: request.routeOptions.url, status: reply.statusCode },
        { seconds: reply.elapsedTime / 1000, received: Number(headers["content-length"] ?? 0), sent }
      )
      request.log.info({
        method,
        path: request.url,
        route: request.routeOptions.url,
        status: reply.statusCode,
        bytes: sent,
        duration: reply.elapsedTime,
        address: request.ip,
        userAgent: headers["user-agent"]
      }, "request completed")
      done()
    })
    app.setErrorHandler((error, _, reply) => {
      Shared.report(error)
      reply.send(error)
    })
    await app.register(fastifyCors, { origin: [Shared.origin] })
    await app.register(fastifyRateLimit, { max: Shared.limit, timeWindow: Shared.window })
    await app.register(bearerAuth, { keys: new Set([Shared.token]) })
    app.get("/", hello)
    return listen(app)
  }
}
