/** A real server that proxies to a raw upstream, and cases that run over both ways in which a response can travel. */
import { beforeAll, it } from "@effect/vitest"
import type * as Exchange from "@sluice/core/Exchange"
import * as Middleware from "@sluice/core/Middleware"
import * as Route from "@sluice/core/Route"
import { App, LeakCounter, RawClient, RawServer } from "@sluice/core/testing"
import type { RawConnection } from "@sluice/core/testing"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Proxy from "../../src/Proxy.ts"
import * as Upstream from "../../src/Upstream.ts"

export class Origin extends Upstream.Service<Origin>()("test/Origin") {}

/** `direct` writes to the client in the transport's callbacks; `value` passes a response through the stack. */
export type Path = "direct" | "value"

const through: { readonly [P in Path]: Middleware.Middleware } = {
  direct: Middleware.identity,
  value: Middleware.around("value", (handler) => handler)
}

type Case = (path: Path) => Effect.Effect<unknown, unknown, Scope.Scope>

/** What is not there by now will never be. */
const patience = 5000

const define = (test: typeof it.effect) => (name: string, run: Case): void => {
  for (const path of ["direct", "value"] as const) {
    test(`${name} (${path})`, () => LeakCounter.expectNoLeak(Effect.scoped(run(path))), patience)
  }
}

/** A case over both paths, on the test clock, after which nothing may be left behind. */
export const both = define(it.effect)

/** The same on the real clock. */
export const bothLive = define(it.live)

export interface Setup {
  readonly proxy?: Options
  readonly stack?: Middleware.Middleware<never, never, HttpServerRequest>
  readonly upstream?: Partial<Upstream.LayerOptions>
  /** The path and query of the target's URL. */
  readonly base?: string
  readonly target?: string
  /** Whether the client keeps its side open after the server has ended its own. */
  readonly allowHalfOpen?: boolean
  readonly listen?: App.ListenOptions<Middleware.Middleware, never>
}

type Options = Proxy.Options<Rendered, HttpServerRequest | Scope.Scope, Rendered, HttpServerRequest | Scope.Scope>
type Rendered = HttpServerRespondable.Respondable

/** An app with one route that proxies everything, its upstream, and a client. */
export const proxied = Effect.fnUntraced(function*(path: Path, setup: Setup = {}) {
  const upstream = yield* RawServer.make(() => Effect.void)
  const stack = Middleware.compose(setup.stack ?? Middleware.identity, through[path])
  const targets = [setup.target ?? upstream.url + (setup.base ?? "")]
  const services = yield* Layer.build(Origin.layer({ targets, ...setup.upstream }))
  const routes = Route.all("/*", stack, Proxy.forward(Origin, setup.proxy))
  const serving = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const app = yield* Effect.provideContext(Scope.provide(App.listen(routes, setup.listen), serving), services)
  const connect = RawClient.connect({ port: app.port, allowHalfOpen: setup.allowHalfOpen ?? false })
  /** The next connection to the upstream; it is an error when the exchange ends without one. */
  const origin = Effect.raceFirst(upstream.nextConnection, Effect.flatMap(app.exchange(0), never))
  const drain = Scope.close(serving, Exit.void)
  return { app, upstream, connect, origin, drain, client: yield* connect }
})

const never = ({ cause, status }: Exchange.Ended): Effect.Effect<never> =>
  Effect.die(new Error(`answered with ${status}: ${cause === undefined ? "no cause" : Cause.pretty(cause)}`))

export const raw = (line: string, fields: ReadonlyArray<string> = [], body = ""): string =>
  [`${line} HTTP/1.1`, "Host: shop.test", ...fields, "", body].join("\r\n")

export const get = (path: string, ...fields: ReadonlyArray<string>): string => raw(`GET ${path}`, fields)

export const post = (path: string, body: string, ...fields: ReadonlyArray<string>): string =>
  raw(`POST ${path}`, [`Content-Length: ${body.length}`, ...fields], body)

export const answer = (status: string, fields: ReadonlyArray<string> = [], body = ""): string =>
  [`HTTP/1.1 ${status}`, ...fields, "", body].join("\r\n")

export const ok = answer("200 OK", ["Content-Length: 2"], "ok")

/** Sends a request, answers it, and returns what each side saw. */
export const roundTrip = Effect.fnUntraced(function*(
  path: Path,
  request: string | Buffer,
  response: string = ok,
  setup: Setup = {}
) {
  const parts = yield* proxied(path, setup)
  yield* parts.client.send(request)
  const origin = yield* parts.origin
  const seen = yield* origin.nextRequest
  yield* origin.send(response)
  const got = yield* parts.client.response({ toHead: request.toString().startsWith("HEAD ") })
  return { ...parts, origin, seen, got }
})

// What the process opens once and keeps (its own pipes, Node's clock for `Date`) is no leak of the first case.
beforeAll(() => Effect.runPromise(Effect.asVoid(Effect.scoped(roundTrip("direct", get("/"))))))

/** The lines of a field, in order. */
export const lines = (message: RawConnection.RawMessage, name: string): ReadonlyArray<string> =>
  message.fields.flatMap((field, i) => i % 2 === 0 && field.toLowerCase() === name ? [message.fields[i + 1]] : [])

/** Counts what comes from now on instead of keeping it. */
export const count = (connection: RawConnection.RawConnection): { bytes: number } => {
  const seen = { bytes: 0 }
  connection.socket.removeAllListeners("data")
  connection.socket.on("data", (chunk: Buffer) => {
    seen.bytes += chunk.length
  })
  return seen
}

/** Until the condition holds, looking again on each turn of the event loop. */
export const eventually = (condition: () => boolean): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const look = (): void => {
      if (condition()) resume(Effect.void)
      else handle = setImmediate(look)
    }
    let handle = setImmediate(look)
    return Effect.sync(() => clearImmediate(handle))
  })
