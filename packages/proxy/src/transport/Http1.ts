/**
 * HTTP/1.1 to upstreams, over `node:net` and `node:tls`: a strict client of its own for the `Transport` port.
 *
 * **When to use** Provide {@link layer} in production. One layer is one set of connections: share it among upstreams, for
 * they are kept apart by address and TLS settings.
 *
 * **Details** Responses are read strictly: what could be understood in two ways (RFC 9112, 6.3 and 11) fails with
 * `UpstreamResponseInvalid` instead of being guessed at. Interim responses other than 100 and 101 go to
 * `onInformational`. Bodies stream both ways with backpressure, and a body that ends early never looks complete: a
 * close-delimited one that is reset is truncated.
 *
 * A connection is used again only after a complete response to a completely sent request, with no byte left over, and when
 * the upstream allows it. When a reused connection turns out to be dead before the first byte of a response, the request
 * is sent once more on a fresh one if it is idempotent, or if none of it had left (RFC 9112, 9.3.1). Nothing else is
 * retried here.
 *
 * The number of connections to an endpoint can be limited; requests then wait in line, and leave it when their scope closes.
 *
 * **Gotchas** Chunks lie in pooled buffers: see `Transport.BodyConsumer`. The chunks of a Node request's body are emptied once
 * they are written, unless somebody listened to its `data` before the exchange began. Endpoints with the same address and
 * TLS settings are one endpoint, for limits as well, in this transport alone: two layers have twice the connections. TLS
 * settings are part of a connection's identity by reference: use the same object for every request.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { Exchange, type Shared } from "../internal/http1/exchange.ts"
import { Pool } from "../internal/http1/pool.ts"
import type * as ProxyError from "../ProxyError.ts"
import * as Transport from "../Transport.ts"

/**
 * Limits and lifetimes.
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
   * How long an idle connection is kept. An upstream's `Keep-Alive: timeout`, less one second, shortens it.
   * @default "90 seconds"
   */
  readonly idleTimeout?: Duration.Input
  /**
   * Idle connections that are kept for each endpoint; 0 never uses one again.
   * @default 256
   */
  readonly maxIdlePerEndpoint?: number
  /**
   * Connections to each endpoint, whether idle, in use, being made or tunnels; beyond it, requests wait for one. A positive
   * integer or `Infinity`.
   * @default Infinity
   */
  readonly maxConnectionsPerEndpoint?: number
  /**
   * Requests that wait for a connection to each endpoint, the first come the first served: `UpstreamSaturated`, 503, beyond it;
   * `QueueTimeout`, 503, for one that waits for longer than the `queue` clock. 0 lets none wait.
   * @default 1024
   */
  readonly maxQueued?: number
  /**
   * The size of the buffer that each plain connection reads into, in bytes. The default takes a head and 64 KiB of body in one
   * read.
   * @default 69632
   */
  readonly readBufferBytes?: number
  /**
   * How much memory unused read buffers may hold, in bytes.
   * @default 16777216
   */
  readonly bufferPoolBytes?: number
}

/**
 * A transport whose connections live as long as the scope: closing it destroys them all, those in use as well.
 *
 * **Details** Throws a `RangeError` for a limit that is not a positive integer.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<Transport.Transport["Service"], never, Scope.Scope> => {
  const settings = validate(options)
  return Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const pool = new Pool({ clock, ...settings.pool })
    yield* Effect.addFinalizer(() => Effect.sync(() => pool.close()))
    return service({ pool, limits: settings.limits })
  })
}

/**
 * Provides `Transport` over HTTP/1.1.
 *
 * @example
 * ```ts
 * import { Body, Http1, Transport } from "@sluice/proxy"
 * import { Effect } from "effect"
 *
 * // Effect<number, TransportError>: the status of one exchange
 * const status = Effect.gen(function*() {
 *   const transport = yield* Transport.Transport
 *   const response = yield* transport.exchange({ protocol: "http:", hostname: "127.0.0.1", port: 1 }, {
 *     method: "GET",
 *     target: "/",
 *     fields: ["Host", "shop.test"],
 *     body: Body.empty,
 *     clocks: { connect: "1 second", responseHead: "30 seconds" }
 *   })
 *   return response.status
 * }).pipe(Effect.scoped, Effect.provide(Http1.layer({ idleTimeout: "30 seconds" })))
 *
 * // Nothing listens on port 1.
 * console.log(await Effect.runPromise(Effect.flip(status)).then((error) => error._tag)) // => UpstreamConnectError
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Transport.Transport> =>
  Layer.effect(Transport.Transport, make(options))

const positive = (name: string, value: number, least: number): number => {
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new RangeError(`Http1 ${name}: must be an integer from ${least} on, got ${value}`)
}

const validate = (options: Options) => ({
  limits: {
    bytes: positive("maxHeadBytes", options.maxHeadBytes ?? 65_536, 1),
    fields: positive("maxFields", options.maxFields ?? 1000, 1)
  },
  pool: {
    idleTimeout: Duration.toMillis(options.idleTimeout ?? "90 seconds"),
    maxConnectionsPerEndpoint:
      options.maxConnectionsPerEndpoint === undefined || options.maxConnectionsPerEndpoint === Infinity
        ? Infinity
        : positive("maxConnectionsPerEndpoint", options.maxConnectionsPerEndpoint, 1),
    maxQueued: positive("maxQueued", options.maxQueued ?? 1024, 0),
    maxIdlePerEndpoint: positive("maxIdlePerEndpoint", options.maxIdlePerEndpoint ?? 256, 0),
    readBuffer: positive("readBufferBytes", options.readBufferBytes ?? 69_632, 1),
    bufferPool: positive("bufferPoolBytes", options.bufferPoolBytes ?? 16_777_216, 0)
  }
})

const service = (shared: Shared): Transport.Transport["Service"] => ({
  exchange: (endpoint, request) =>
    Effect.withFiber<Transport.UpstreamResponse, ProxyError.TransportError, Scope.Scope>((fiber) => {
      const waiting = new Waiting()
      const exchange = new Exchange(shared, endpoint, request, fiber.getRef(Clock.Clock), waiting)
      const abort = Effect.sync(() => {
        exchange.abort()
        waiting.interrupt()
      })
      // Sound: the scope is in the requirements, so whoever runs this has put one into the context.
      const scope = Context.get(fiber.context as Context.Context<Scope.Scope>, Scope.Scope)
      return Effect.andThen(
        Scope.addFinalizer(scope, abort),
        Effect.callback<Transport.UpstreamResponse, ProxyError.TransportError>((resume) => {
          if (waiting.begin(resume)) exchange.start()
          return abort
        })
      )
    }),
  start: (endpoint, request, clock, consumer) => {
    const exchange = new Exchange(shared, endpoint, request, clock, consumer)
    exchange.start()
    return exchange
  }
})

type Resume = (effect: Effect.Effect<Transport.UpstreamResponse, ProxyError.TransportError>) => void

/** A fiber that waits for a response. */
class Waiting implements Transport.ResponseConsumer<ProxyError.TransportError> {
  private resume: Resume | undefined
  private interrupted = false

  /** `false` when its scope was closed before it began. */
  begin(resume: Resume): boolean {
    this.resume = resume
    if (this.interrupted) resume(Effect.interrupt)
    return !this.interrupted
  }

  onResponse(response: Transport.UpstreamResponse): void {
    this.resume?.(Effect.succeed(response))
  }

  onFailure(error: ProxyError.TransportError): void {
    this.resume?.(Effect.fail(error))
  }

  /** Its scope was closed from outside: it must not wait for ever. */
  interrupt(): void {
    this.interrupted = true
    this.resume?.(Effect.interrupt)
  }
}
