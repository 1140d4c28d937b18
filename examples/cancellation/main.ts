import { NodeRuntime } from "@effect/platform-node"
import { Cancellation, NodeServer, Route, Server } from "@sluice/core"
import { Console, Context, Deferred, Effect, Layer } from "effect"
import { Archive, Journal, Routes } from "./routes.ts"

const listen = <E>(server: Layer.Layer<Server.Server, E, NodeServer.NodeServer>) =>
  Effect.map(Layer.build(Layer.provide(server, NodeServer.layer({ port: 0 }))), Context.get(Server.Server))

const program = Effect.gen(function*() {
  const asked = yield* Deferred.make<void>()
  const stopped = yield* Deferred.make<void>()

  /** An upstream that never answers. */
  const hanging = Effect.gen(function*() {
    yield* Console.log("  upstream: asked")
    yield* Deferred.succeed(asked, undefined)
    return yield* Effect.never
  })
  const Hanging = Route.all(
    "/*",
    Cancellation.onCancel(
      hanging,
      ({ _tag }) => Effect.andThen(Console.log(`  upstream: cancelled: ${_tag}`), Deferred.succeed(stopped, undefined))
    )
  )
  const upstream = yield* listen(Server.layer(Hanging))

  const { url } = yield* listen(
    Server.layer(Routes).pipe(
      Layer.provide(Archive.layer({ targets: [upstream.url] })),
      Layer.provide(Layer.succeed(Journal)({ write: (_, ending) => Console.log(`  finalizer: ${ending}`) }))
    )
  )

  for (const path of ["/refuse", "/answer", "/cancel"]) {
    yield* Console.log(`GET ${path}`)
    const response = yield* Effect.promise(() => fetch(url + path))
    yield* Console.log(`  client: ${response.status} ${(yield* Effect.promise(() => response.text())).trim()}`)
  }

  yield* Console.log("GET /leave")
  const client = new AbortController()
  const response = fetch(`${url}/leave`, { signal: client.signal }).then(() => "answered", () => "left")
  yield* Deferred.await(asked)
  client.abort()
  yield* Console.log(`  client: ${yield* Effect.promise(() => response)}`)
  yield* Deferred.await(stopped)
})

NodeRuntime.runMain(Effect.scoped(program))
