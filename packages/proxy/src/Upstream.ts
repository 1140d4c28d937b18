/**
 * An upstream as a service: what a route proxies to is in its handler's `R`, and a layer says where that is.
 *
 * **When to use** Declare one class for each thing you proxy to. In production provide `layer`, in tests `layerMock`; routes
 * don't change.
 *
 * **Details** `layer` talks HTTP/1 over TCP or TLS with a connection pool of its own; `layerTransport` uses the `Transport` that
 * is provided. Several targets are taken in turn. One that has no address, no connection in time or none to spare is passed over
 * for the next, until each was tried once: nothing of the request has left by then, so this is for every method and its
 * body. What the last fails with is the error. What fails later is not sent again.
 *
 * @since 0.1.0
 */
import type * as Fields from "@sluice/core/Fields"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { ConnectionOptions } from "node:tls"
import type * as Body from "./Body.ts"
import { resolveClocks } from "./internal/clocks.ts"
import { type MockRequest, mockUpstream } from "./internal/mockUpstream.ts"
import type * as ProxyError from "./ProxyError.ts"
import * as Target from "./Target.ts"
import * as Transport from "./Transport.ts"
import * as Http1 from "./transport/Http1.ts"

export type { MockRequest } from "./internal/mockUpstream.ts"

/**
 * A request on its way to an upstream, before a target is chosen.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly method: string
  readonly target: Target.Target
  readonly targetOptions: Target.Options | undefined
  /** End-to-end fields, without `Host` and without framing. */
  readonly fields: Fields.Fields
  /** The `Host` to send when the upstream preserves it, or when `direct` set one. */
  readonly host: { readonly value: string; readonly forced: boolean }
  readonly body: Body.Body
  readonly upgrade: string | undefined
  /** Whether the body is held back until the upstream asks for it; `fields` say `Expect` then. */
  readonly expectContinue: boolean
  readonly onInformational: ((status: number, fields: Fields.Fields) => void) | undefined
}

/**
 * What a proxy needs of an upstream.
 *
 * @category models
 * @since 0.1.0
 */
export interface Upstream {
  /** The service's key; reports and logs call it that. */
  readonly name: string
  /** Sends a request to one of the targets and waits for the response head. The scope ends the exchange. */
  readonly send: (
    request: Request
  ) => Effect.Effect<Transport.UpstreamResponse, ProxyError.Uncommitted, Scope.Scope>
  /** The same for a caller that bounds the exchange itself; where the transport has it. */
  readonly start?: (
    request: Request,
    clock: Clock.Clock,
    consumer: Transport.ResponseConsumer<ProxyError.Uncommitted>
  ) => Transport.Started
}

/**
 * How long an upstream may take, and what a request fails with when it takes longer.
 *
 * @category models
 * @since 0.1.0
 */
export type Clocks = Transport.Clocks

/**
 * Settings of an upstream.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** `http:` or `https:` URLs; a path in one is put before the request's. At least one. */
  readonly targets: ReadonlyArray<string | URL>
  /**
   * The `Host` that the upstream sees: its own, or the client's. The client's is in `X-Forwarded-Host` in either case.
   * @default "target"
   */
  readonly host?: "target" | "preserve"
  readonly clocks?: Clocks
  /** TLS settings of `https:` targets. @default Node's: certificates are verified */
  readonly tls?: ConnectionOptions
}

/**
 * Settings of an upstream and of the transport that it brings.
 *
 * @example
 * ```ts
 * import { Upstream } from "@sluice/proxy"
 *
 * class Orders extends Upstream.Service<Orders>()("shop/Orders") {}
 *
 * // At most 100 connections; at most 200 requests wait for one, and none of them for longer than 2 seconds.
 * const Production = Orders.layer({
 *   targets: ["http://127.0.0.1:9001"],
 *   clocks: { queue: "2 seconds" },
 *   http1: { maxConnectionsPerEndpoint: 100, maxQueued: 200 }
 * })
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface LayerOptions extends Options {
  /** The limits and lifetimes of its connections. Each target has as many as they allow. */
  readonly http1?: Http1.Options
}

/**
 * The class that {@link Service} makes.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServiceClass<Self, Id extends string> extends Context.ServiceClass<Self, Id, Upstream> {
  /** HTTP/1 over TCP or TLS, with connections of its own. Throws a `RangeError` or `TypeError` that names the setting that is wrong. */
  readonly layer: (options: LayerOptions) => Layer.Layer<Self>
  /** The same over the `Transport` that is provided. */
  readonly layerTransport: (options: Options) => Layer.Layer<Self, never, Transport.Transport>
  /** Answers in process: no socket, no port. The handler may fail with any error an upstream can fail with. */
  readonly layerMock: <R = never>(
    handler: (request: MockRequest) => Effect.Effect<HttpServerResponse, ProxyError.Uncommitted, R>
  ) => Layer.Layer<Self, never, R>
}

/**
 * Declares an upstream.
 *
 * @example
 * ```ts
 * import { Proxy, Upstream } from "@sluice/proxy"
 * import { Route } from "@sluice/core"
 *
 * class Orders extends Upstream.Service<Orders>()("shop/Orders") {}
 *
 * const Routes = Route.all("/orders/*", Proxy.forward(Orders, { stripPrefix: "/orders" }))
 * const Production = Orders.layer({ targets: ["http://127.0.0.1:9001", "http://127.0.0.1:9002"] })
 * console.log(Orders.key) // => shop/Orders
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service = <Self>() => <const Id extends string>(id: Id): ServiceClass<Self, Id> => {
  const Class = Context.Service<Self, Upstream>()(id)
  const layerTransport = (options: Options): Layer.Layer<Self, never, Transport.Transport> => {
    const resolved = resolve(options)
    return Layer.effect(Class)(Effect.map(Transport.Transport, (transport) => make(id, transport, resolved)))
  }
  // Sound: these are the members that the interface adds to the class.
  return Object.assign(Class, {
    layerTransport,
    layer: (options: LayerOptions) => Layer.provide(layerTransport(options), Layer.fresh(Http1.layer(options.http1))),
    layerMock: <R>(handler: (request: MockRequest) => Effect.Effect<HttpServerResponse, ProxyError.Uncommitted, R>) =>
      Layer.effect(Class)(Effect.map(Effect.context<R>(), (context) => mockUpstream(id, handler, context)))
  })
}

interface ResolvedTarget {
  readonly endpoint: Transport.Endpoint
  readonly base: Target.Base
  /** `host[:port]`, without a default port. */
  readonly authority: string
}

interface Resolved {
  readonly targets: ReadonlyArray<ResolvedTarget>
  readonly preserveHost: boolean
  readonly clocks: Transport.Clocks
}

const resolve = (options: Options): Resolved => {
  if (options.targets.length === 0) throw new RangeError("targets must name at least one upstream URL")
  return {
    targets: options.targets.map((url) => resolveTarget(url, options.tls)),
    preserveHost: options.host === "preserve",
    clocks: resolveClocks(options.clocks)
  }
}

const resolveTarget = (input: string | URL, tls: ConnectionOptions | undefined): ResolvedTarget => {
  const url = new URL(input)
  const base = Target.base(url)
  const secure = url.protocol === "https:"
  return {
    base,
    authority: url.host,
    endpoint: {
      protocol: secure ? "https:" : "http:",
      hostname: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port === "" ? (secure ? 443 : 80) : Number(url.port),
      ...(secure && tls !== undefined ? { tls } : undefined)
    }
  }
}

const make = (name: string, transport: Transport.Transport["Service"], settings: Resolved): Upstream => {
  const { clocks, preserveHost, targets } = settings
  let turn = 0

  const address = (
    target: ResolvedTarget,
    request: Request
  ): Result.Result<Transport.OutgoingRequest, ProxyError.RequestRejected> => {
    const path = Target.join(target.base, request.target, request.targetOptions)
    if (Result.isFailure(path)) return Result.fail(path.failure)
    const host = request.host.forced || preserveHost ? request.host.value : target.authority
    return Result.succeed({
      method: request.method,
      target: path.success,
      fields: ["Host", host, ...request.fields],
      body: request.body,
      clocks,
      expectContinue: request.expectContinue,
      ...(request.upgrade === undefined ? undefined : { upgrade: request.upgrade }),
      ...(request.onInformational === undefined ? undefined : { onInformational: request.onInformational })
    })
  }

  const sendTo = (target: ResolvedTarget, request: Request): ReturnType<Upstream["send"]> => {
    const addressed = address(target, request)
    return Result.isFailure(addressed)
      ? Effect.fail(addressed.failure)
      : transport.exchange(target.endpoint, addressed.success)
  }

  const sendFrom = (at: number, request: Request, others: number): ReturnType<Upstream["send"]> => {
    const sent = sendTo(targets[at % targets.length], request)
    if (others === 0) return sent
    return Effect.catchIf(sent, notSent, () => sendFrom(at + 1, request, others - 1))
  }

  const startWith = (start: Start): NonNullable<Upstream["start"]> => {
    const startTo = (target: ResolvedTarget, request: Request, clock: Clock.Clock, consumer: Consumer) => {
      const addressed = address(target, request)
      if (Result.isSuccess(addressed)) return start(target.endpoint, addressed.success, clock, consumer)
      consumer.onFailure(addressed.failure)
      return ended
    }
    const startFrom = (at: number, request: Request, clock: Clock.Clock, consumer: Consumer, others: number) => {
      const target = targets[at % targets.length]
      if (others === 0) return startTo(target, request, clock, consumer)
      const next = () => startFrom(at + 1, request, clock, consumer, others - 1)
      const attempt = new Attempt(consumer, next)
      attempt.begin(startTo(target, request, clock, attempt))
      return attempt
    }
    return targets.length === 1
      ? (request, clock, consumer) => startTo(targets[0], request, clock, consumer)
      : (request, clock, consumer) => startFrom(turn++ % targets.length, request, clock, consumer, targets.length - 1)
  }

  return {
    name,
    send: targets.length === 1
      ? (request) => sendTo(targets[0], request)
      : (request) => Effect.suspend(() => sendFrom(turn++ % targets.length, request, targets.length - 1)),
    ...(transport.start === undefined ? undefined : { start: startWith(transport.start) })
  }
}

type Start = NonNullable<Transport.Transport["Service"]["start"]>
type Consumer = Transport.ResponseConsumer<ProxyError.Uncommitted>

const ended: Transport.Started = { abort: () => {} }

/** One target's turn, after which the next one has its own. */
class Attempt implements Consumer, Transport.Started {
  private readonly consumer: Consumer
  private readonly next: () => Transport.Started
  private current: Transport.Started | undefined

  constructor(consumer: Consumer, next: () => Transport.Started) {
    this.consumer = consumer
    this.next = next
  }

  begin(started: Transport.Started): void {
    // It may have failed by now, and the next one may have begun.
    this.current ??= started
  }

  onResponse(response: Transport.UpstreamResponse): void {
    this.consumer.onResponse(response)
  }

  onFailure(error: ProxyError.Uncommitted): void {
    if (notSent(error)) this.current = this.next()
    else this.consumer.onFailure(error)
  }

  abort(): void {
    this.current?.abort()
  }
}

/** Whether the same request may go elsewhere whatever it is, body and all, because nothing of it has left. */
const notSent = ({ retryable }: ProxyError.Uncommitted): boolean =>
  retryable === "always" || retryable === "otherUpstream"
