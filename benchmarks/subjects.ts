/** The servers that are looked at. They live as long as their scope. */
import { ClientAddress, Exchange, Middleware, NodeServer, Problem, Reporter, Route, Server } from "@sluice/core"
import { AccessLog, Recover, Reporting, RequestId, SecureHeaders, Timeout } from "@sluice/middleware"
import { Proxy, Upstream } from "@sluice/proxy"
import { Context, Effect, Layer, Logger } from "effect"
import { type HttpServerRequest, HttpServerResponse } from "effect/http"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import * as Http from "node:http"
import type { AddressInfo, Socket } from "node:net"

/** A server on a free port. */
export const listen = <E>(layer: Layer.Layer<Server.Server, E, NodeServer.NodeServer>) =>
  Layer.build(Layer.provide(layer, NodeServer.layer({ port: 0, clocks: { keepAlive: "10 minutes" } }))).pipe(
    Effect.map(Context.get(Server.Server))
  )

const Hello = Effect.succeed(HttpServerResponse.text("hello\n"))

/** One route, and nothing around it. */
export const hello = listen(Server.layer(Route.get("/", Hello)))

class Unlucky extends Problem.TaggedError<Unlucky>()("Unlucky", { status: 418 }) {}

export const ten = Middleware.stack(
  AccessLog.make(),
  Reporting.make(),
  RequestId.make(),
  SecureHeaders.make(),
  Recover.make(),
  Middleware.provide(ClientAddress.ClientAddress, ClientAddress.fromRequest),
  Middleware.head("served-by", (head) => head.set("served-by", "bench")),
  Middleware.handle(Unlucky, () => Effect.succeed(HttpServerResponse.empty({ status: 404 }))),
  Middleware.around<never, HttpServerRequest.HttpServerRequest>(
    "tenant",
    (handler) => Effect.andThen(Exchange.annotate("tenant", "bench"), handler),
    { response: "none" }
  ),
  Timeout.make("5 seconds")
)

let entries = 0
const Counting = Logger.layer([Logger.make(() => {
  entries++
})])

/** How many log entries there were. */
export const logged = (): number => entries

/** The same route through {@link ten} middleware. */
export const helloThroughTen = listen(
  Server.layer(Route.get("/", ten, Hello)).pipe(Layer.provide([Reporter.layerNoop, Counting]))
)

class Target extends Upstream.Service<Target>()("benchmarks/Target") {}

const block = Buffer.alloc(16_384, "x")

/** Never answers, never stops answering, reads whatever it gets, or says hello. */
const moods: Readonly<Record<string, Http.RequestListener>> = {
  "/hang": () => {},
  "/endless": (_, response) => {
    const more = () => {
      while (!response.destroyed && response.write(block));
    }
    response.on("drain", more)
    more()
  },
  "/upload": (request, response) => {
    request.resume().once("end", () => response.end("thanks\n"))
  },
  "/": (_, response) => {
    response.end("hello\n")
  }
}

const moody = Effect.acquireRelease(
  Effect.callback<Http.Server>((resume) => {
    const server = Http.createServer((request, response) => {
      request.on("error", () => {})
      response.on("error", () => {})
      moods[request.url ?? "/"](request, response)
    })
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) =>
    Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeAllConnections()
    })
)

/** What the example of that name has, in front of an upstream of moods. */
export const reverseProxy = Effect.gen(function*() {
  const upstream = yield* moody
  // Sound: a server that listens on TCP has an address with a port.
  const { port } = upstream.address() as AddressInfo
  return yield* listen(
    Server.layer(Route.all("/*", Proxy.forward(Target)), { health: false }).pipe(
      Layer.provide(Target.layer({ targets: [`http://127.0.0.1:${port}`] }))
    )
  )
})

/** The server and the socket of the next request that arrives anywhere in this process. */
export const nextConnection = (): Promise<{ readonly server: Http.Server; readonly socket: Socket }> =>
  new Promise((resolve) => {
    const channel = "http.server.request.start"
    const onRequest = (message: unknown) => {
      unsubscribe(channel, onRequest)
      // Sound: these are members of the channel's messages.
      resolve(message as { readonly server: Http.Server; readonly socket: Socket })
    }
    subscribe(channel, onRequest)
  })
