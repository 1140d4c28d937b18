/**
 * An HTTP/1.1 client connection as a value, over any stream: a TCP or TLS socket, a Unix socket, a tunnel, an in-memory pair.
 *
 * **When to use** For one connection that you hold in your hand: to test a server without a port (`Server.serveConnection`
 * is the other end), to speak HTTP through a tunnel, to pipeline, or to take the stream over after some exchanges. To call
 * upstreams use `Http1`, which pools connections, dials and has clocks.
 *
 * **Details** Exchanges are answered in the order in which they were started. While one is going on, others wait; with
 * `pipelining` those are sent ahead that may be. Responses are read as strictly as by `Http1`: what could be understood in
 * two ways fails with `UpstreamResponseInvalid`, and a body that was cut off never looks complete.
 *
 * An exchange ends when its response has come in whole. Interrupting it, or closing its scope, before that ends the
 * connection, for the rest of the response would be taken for the next one; those that were sent before it still get
 * their responses. An exchange that still waits in the queue can be interrupted at no cost. So read each body to its end,
 * or close the connection.
 *
 * **Gotchas** There are no clocks but the one for a 100: put `Effect.timeout` around an exchange, and around reading its
 * body. No request is sent again by itself; see `retryable` of the errors.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9112#section-9
 * @since 0.1.0
 */
import type * as Fields from "@sluice/core/Fields"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Duplex } from "node:stream"
import type * as Body from "./Body.ts"
import type * as ConnectionEnd from "./ConnectionEnd.ts"
import { Pipeline, type Settings } from "./internal/clientConnection/pipeline.ts"
import type * as ProxyError from "./ProxyError.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * The size of a response head, and of a trailer section, in bytes: `UpstreamResponseInvalid` (`HeadTooLarge`) beyond it.
   * @default 65536
   */
  readonly maxHeadBytes?: number
  /**
   * The number of field lines in a head or trailer section: `UpstreamResponseInvalid` (`TooManyFields`) beyond it.
   * @default 1000
   */
  readonly maxFields?: number
  /**
   * Whether a request is sent while others wait for their responses (RFC 9112, 9.3.2). Only requests with an idempotent
   * method, without body, upgrade and expectation are, behind such requests alone, and once a response has shown that the
   * peer keeps the connection.
   * @default false
   */
  readonly pipelining?: boolean
}

/**
 * What is sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  /** Any but `CONNECT`. */
  readonly method: string
  /** The request target, written byte for byte. */
  readonly target: string
  /**
   * End-to-end fields. Those of framing and of the connection are left out, the connection writes them. Without `Host` an
   * empty one is sent, which stands for a target without authority (RFC 9112, 3.2).
   *
   * With `Expect: 100-continue` the body is held back until the peer asks for it.
   */
  readonly fields: Fields.Fields
  /** @default none */
  readonly body?: Body.Body
  /** The protocol to switch to: sends `Connection: upgrade` and `Upgrade`. */
  readonly upgrade?: string
  /** How long a body that is held back waits for a 100 before it is sent all the same. @default "1 second" */
  readonly continue?: Duration.Input
  /** Called for each 1xx that comes before the final response, except 100 and 101. */
  readonly onInformational?: (status: number, fields: Fields.Fields) => void
}

/**
 * A stream that was given away.
 *
 * @category models
 * @since 0.1.0
 */
export interface HandOver {
  /** Paused. The scope of the connection still destroys it; its errors are the taker's to hear. */
  readonly duplex: Duplex
  /** Bytes that were read from it, but belong to no response; they come before those that it still has. */
  readonly head: Uint8Array
}

/**
 * A final response head with its body.
 *
 * @category models
 * @since 0.1.0
 */
export interface Response {
  readonly status: number
  readonly reason: string
  readonly httpVersion: "1.0" | "1.1"
  /** As received, in order, hop-by-hop fields included. */
  readonly fields: Fields.Fields
  /** In bytes; 0 when there is no body (also HEAD, 204, 304), `undefined` when the end is not known beforehand. */
  readonly length: number | undefined
  /**
   * The body, without its framing; it can be run once. While nobody takes what has come, no more is read from the
   * connection.
   */
  readonly body: Stream.Stream<Uint8Array, ProxyError.Committed>
  /** Those of a chunked body. Done when the body has come in whole, so somebody must read it. */
  readonly trailers: Effect.Effect<Fields.Fields, ProxyError.Committed>
  /** The stream after a 101; the connection is over then. */
  readonly tunnel?: HandOver
}

/**
 * What an exchange can fail with. Each of them has `retryable`.
 *
 * @category models
 * @since 0.1.0
 */
export type ExchangeError = ProxyError.TransportError | ConnectionEnd.ConnectionEnded

/**
 * A connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClientConnection {
  /**
   * Sends a request, in its turn, and waits for the head of its response. Once the connection has ended it fails at once
   * with `ConnectionEnded`. A request that can't be written fails with `UpstreamRequestInvalid` and leaves the connection
   * as it is. Closing the scope before the response has come in whole ends the connection.
   */
  readonly exchange: (request: Request) => Effect.Effect<Response, ExchangeError, Scope.Scope>
  /** How many exchanges were started and have no complete response. */
  readonly pending: Effect.Effect<number>
  /** Waits until none is. */
  readonly awaitIdle: Effect.Effect<void>
  /** Waits until the connection is over, and says why. The stream has been destroyed or handed over then. */
  readonly closed: Effect.Effect<ConnectionEnd.ConnectionEnd>
  /**
   * Takes the stream over, with what was read of it after the last response. Such bytes break the connection as soon as
   * another exchange needs it.
   */
  readonly hijack: Effect.Effect<HandOver, ConnectionEnd.ConnectionBusy | ConnectionEnd.ConnectionEnded>
}

/**
 * A client connection over a stream that is connected. Closing the scope destroys the stream, also when it was handed
 * over. Throws a `RangeError` for a limit that is not a positive integer, and a `TypeError` for a stream that is not one of
 * bytes.
 *
 * @example
 * ```ts
 * import { NodeServer, Route, Server } from "@sluice/core"
 * import { ClientConnection } from "@sluice/proxy"
 * import { Effect, Layer, Stream } from "effect"
 * import { HttpServerResponse } from "effect/http"
 * import { duplexPair } from "node:stream"
 *
 * const Hello = Route.get("/", Effect.succeed(HttpServerResponse.text("hello")))
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.Server
 *   const [near, far] = duplexPair()
 *   yield* Effect.forkScoped(server.serveConnection(far))
 *   const connection = yield* ClientConnection.make(near)
 *   const { body, status } = yield* connection.exchange({ method: "GET", target: "/", fields: ["Host", "shop.test"] })
 *   return `${status} ${yield* Stream.mkString(Stream.decodeText(body))}`
 * }).pipe(Effect.scoped, Effect.provide(Server.layer(Hello).pipe(Layer.provide(NodeServer.layer({ port: 0 })))))
 *
 * console.log(await Effect.runPromise(program)) // => 200 hello
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (duplex: Duplex, options: Options = {}): Effect.Effect<ClientConnection, never, Scope.Scope> => {
  const settings = validate(duplex, options)
  return Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Pipeline(duplex, settings)),
      (pipeline) => Effect.sync(() => pipeline.close())
    ),
    describe
  )
}

const describe = (pipeline: Pipeline): ClientConnection => ({
  exchange: exchange(pipeline),
  pending: Effect.sync(() => pipeline.pending),
  awaitIdle: pipeline.awaitIdle,
  closed: Deferred.await(pipeline.ended),
  hijack: Effect.suspend(() => pipeline.hijack())
})

const exchange = (pipeline: Pipeline): ClientConnection["exchange"] => (request) =>
  Effect.gen(function*() {
    const exchange = yield* pipeline.prepare(request, yield* Effect.clockWith(Effect.succeed))
    const abandon = Effect.sync(() => pipeline.abandon(exchange))
    yield* Scope.addFinalizer(yield* Effect.scope, abandon)
    return yield* Effect.callback<Response, ExchangeError>((resume) => {
      pipeline.submit(exchange, resume)
      return abandon
    })
  })

const positive = (name: string, value: number): number => {
  if (Number.isSafeInteger(value) && value > 0) return value
  throw new RangeError(`ClientConnection ${name}: must be a positive integer, got ${value}`)
}

const validate = (duplex: Duplex, options: Options): Settings => {
  if (duplex.readableObjectMode || duplex.writableObjectMode || duplex.readableEncoding !== null) {
    throw new TypeError("ClientConnection duplex: must be a stream of bytes, without object mode and encoding")
  }
  return {
    limits: {
      bytes: positive("maxHeadBytes", options.maxHeadBytes ?? 65_536),
      fields: positive("maxFields", options.maxFields ?? 1000)
    },
    pipelining: options.pipelining ?? false
  }
}
