/**
 * A reverse proxy as a handler: its failures are typed, its cancellation is an interruption, and what it relays stays what
 * it was.
 *
 * **When to use** Mount {@link forward} with `Route` like any other handler. With `direct` it decides, request by request, to
 * forward (with changes), to answer itself, to fail with an error of its own or to cancel; with `mapResponse` it decides
 * about the response.
 *
 * **Details** When nothing in the stack needs the response's value, head and body go from the upstream's socket to the
 * client's in one turn, with backpressure and without a copy; otherwise the response is a value with a streaming body. Both
 * look the same on the wire. Once the head is out there is no way to render an error: the connection is aborted, so that
 * no client takes a truncated body for a whole one, and the exchange ends `Failed` in phase `responseBody`.
 *
 * Bytes are written as they come, both ways, so `X-Accel-Buffering: no` and `Incremental: ?1` ask for what happens anyway. A
 * redirect is relayed, never followed. `OPTIONS` with `Max-Forwards: 0` is answered with 204 (RFC 9110, 7.6.2); `TRACE` and
 * `CONNECT` are not proxied.
 *
 * **Gotchas** What the client says of itself (`X-Forwarded-*`, `Forwarded`) is believed only from trusted peers; by default
 * there are none.
 *
 * @since 0.1.0
 */
import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Fields from "@sluice/core/Fields"
import type { Handler } from "@sluice/core/Handler"
import type * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Upgrade from "@sluice/core/Upgrade"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Incoming from "./Incoming.ts"
import { bufferBody } from "./internal/bufferBody.ts"
import { outgoingOf } from "./internal/outgoing.ts"
import {
  type Draft,
  endsHere,
  forwarding,
  inspect,
  messagePlan,
  type Plan,
  responseHead,
  toRequest
} from "./internal/prepare.ts"
import * as Clocks_ from "./internal/proxyClocks.ts"
import { exchangeAndRelay, relay } from "./internal/relay.ts"
import { requestIdle } from "./internal/requestIdle.ts"
import { headTimeout, start as startClock, type TotalClock } from "./internal/totalClock.ts"
import { upgradeRequest } from "./internal/upgradeRequest.ts"
import * as ProxyError from "./ProxyError.ts"
import type * as Rewrite from "./Rewrite.ts"
import type * as Target from "./Target.ts"
import type { BodyConsumer, UpstreamResponse } from "./Transport.ts"
import { tunnel } from "./Tunnel.ts"
import type { Request, Upstream } from "./Upstream.ts"

/**
 * Changes to fields: those in `remove` go, then those in `set` replace whatever has their name. A list is a line for each
 * of its members, as `Set-Cookie` needs it.
 *
 * @category models
 * @since 0.1.0
 */
export interface FieldPatch {
  readonly set?: Readonly<Record<string, string | ReadonlyArray<string>>>
  readonly remove?: ReadonlyArray<string>
}

/**
 * Forward the request, with changes. What `set` sets can be neither forged nor stripped by the client.
 *
 * @category models
 * @since 0.1.0
 */
export interface Forward extends FieldPatch {
  readonly _tag: "Forward"
  readonly method?: string
  /** The escaped path to join to the target's; `stripPrefix` does not apply to it. */
  readonly path?: string
  /** With or without its `?`, sent byte for byte. */
  readonly query?: string
  /** The `Host` to send. */
  readonly host?: string
}

/**
 * Answer without the upstream (or, in `mapResponse`, instead of it).
 *
 * @category models
 * @since 0.1.0
 */
export interface Respond {
  readonly _tag: "Respond"
  readonly response: HttpServerResponse.HttpServerResponse
}

/**
 * Relay the upstream's response, with changes to its head.
 *
 * @category models
 * @since 0.1.0
 */
export interface Relay extends FieldPatch {
  readonly _tag: "Relay"
  readonly status?: number
}

/**
 * The head of an upstream's response, end-to-end fields only.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResponseHead {
  readonly status: number
  readonly reason: string
  readonly fields: Fields.Fields
}

/**
 * How long a client, and an exchange or a tunnel as a whole, may take; how long an upstream may is for
 * {@link Upstream.Clocks} to say. `"Infinity"` turns a clock off.
 *
 * @category models
 * @since 0.1.0
 */
export interface Clocks {
  /**
   * From sending the request to the last byte of the response: then 504 before the head is out, an abort afterwards. A
   * tunnel is not bounded by it.
   * @default no limit
   */
  readonly total?: Duration.Input
  /**
   * Between two reads of the request body, while the upstream takes it: then 408 and a close before the head is out, an
   * abort afterwards. The upstream's request is aborted in either case. The server's own `clocks.request`, for the whole
   * of a request, goes on besides; whichever is up first answers.
   * @default "60 seconds"
   */
  readonly requestBodyIdle?: Duration.Input
  /**
   * While the client's connection takes nothing of the response that waits for it: then an abort. It is looked at once a
   * period, so it may be up to two of them. On a Node server only.
   * @default "60 seconds"
   */
  readonly writeIdle?: Duration.Input
  /** While no byte goes through a tunnel, either way: then both sides are closed. @default "1 hour" */
  readonly tunnelIdle?: Duration.Input
  /** Of a tunnel, from the switch on: then both sides are closed. @default no limit */
  readonly tunnelMaxDuration?: Duration.Input
}

/**
 * Settings of {@link forward}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<E, R, E2, R2> extends Target.Options, TrustedPeers.OutgoingOptions {
  /** Looks at the request before anything is sent. @default forwards everything */
  readonly direct?: (incoming: Incoming.Incoming) => Effect.Effect<Forward | Respond, E, R>
  /** Looks at the response's head before anything is written. @default relays everything */
  readonly mapResponse?: (response: ResponseHead) => Effect.Effect<Relay | Respond, E2, R2>
  /**
   * Who may say what the client is.
   * @default the `TrustedPeers` reference of the request: nobody, unless a layer or a middleware sets it
   */
  readonly trust?: TrustedPeers.TrustedPeers
  /**
   * The name in `Via`, both ways, by which loops are detected (508); `false` sends none and detects none.
   * @default "sluice"
   */
  readonly via?: string | false
  /** How long clients and tunnels may take. @default see each of them */
  readonly clocks?: Clocks
  /**
   * What a request body may have, in bytes: 413 beyond it. With a `Content-Length` the upstream is not contacted; without,
   * its request is aborted. @default no limit
   */
  readonly maxRequestBody?: number
  /**
   * Reads a request's body of up to so many bytes into memory before the upstream is contacted, and sends it with its
   * `Content-Length`: 413 beyond it. For upstreams that can't read chunks, and for bodies that are to be sent again. A
   * client that expects a 100 gets it from the proxy. @default bodies are relayed as they come
   */
  readonly bufferRequestBody?: number
  /**
   * The names of trailer fields of a chunked request that are relayed; all others are dropped (RFC 9110, 6.5.1). Fields
   * that frame, route, authenticate or modify a request are refused with a `TypeError`, and so is the option together with
   * `bufferRequestBody`, for nothing follows a body with a length. @default none
   */
  readonly requestTrailers?: ReadonlyArray<string>
  /**
   * Whether the client's query goes on byte for byte, or as `Target.cleanQuery` makes it: without what some recipients
   * read otherwise than the proxy's own checks did. What `direct` sets is sent as it is. @default "preserve"
   */
  readonly query?: "preserve" | "clean"
  /**
   * Puts the upstream's redirects and cookies into the client's terms, before `mapResponse` sees them. `to` is `stripPrefix`
   * unless it says otherwise. @default nothing is rewritten
   */
  readonly rewrite?: Rewrite.Options
}

/**
 * Forwards the request, with the changes given.
 *
 * @example
 * ```ts
 * import { Proxy } from "@sluice/proxy"
 *
 * console.log(Proxy.proceed({ set: { "x-tenant": "acme" } })._tag) // => Forward
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const proceed = (changes: Omit<Forward, "_tag"> = {}): Forward => ({ _tag: "Forward", ...changes })

/**
 * Answers without the upstream.
 *
 * @category constructors
 * @since 0.1.0
 */
export const respond = (response: HttpServerResponse.HttpServerResponse): Respond => ({ _tag: "Respond", response })

/**
 * Relays the upstream's response, with the changes given.
 *
 * @category constructors
 * @since 0.1.0
 */
export const relayed = (changes: Omit<Relay, "_tag"> = {}): Relay => ({ _tag: "Relay", ...changes })

/**
 * A handler that proxies to the upstream.
 *
 * **Details** Fails with what `direct` and `mapResponse` fail with, and with {@link ProxyError.Uncommitted}, each of which has
 * its response (502, 503, 504, …) with a `Proxy-Status` field (RFC 9209). When the client leaves, the upstream call is
 * interrupted and its connection closed.
 *
 * @example
 * ```ts
 * import { Problem, Route } from "@sluice/core"
 * import { Proxy, Upstream } from "@sluice/proxy"
 * import { Effect } from "effect"
 *
 * class Orders extends Upstream.Service<Orders>()("shop/Orders") {}
 * class Frozen extends Problem.TaggedError<Frozen>()("Frozen", { status: 423 }) {}
 *
 * const Routes = Route.all("/orders/*", Proxy.forward(Orders, {
 *   stripPrefix: "/orders",
 *   direct: (incoming) =>
 *     incoming.method === "DELETE" ? Effect.fail(new Frozen({})) : Effect.succeed(Proxy.proceed())
 * }))
 * ```
 *
 * @example
 * ```ts
 * import { Route } from "@sluice/core"
 * import { Proxy, Upstream } from "@sluice/proxy"
 *
 * class Shop extends Upstream.Service<Shop>()("shop/Shop") {}
 *
 * // An old upstream that knows itself by another name, and an uploader that signs its bodies.
 * const Routes = Route.all("/shop/*", Proxy.forward(Shop, {
 *   stripPrefix: "/shop",
 *   rewrite: { from: ["http://old.internal.test/v1"], cookieDomain: "", cookiePath: { "/v1": "/shop" } },
 *   requestTrailers: ["x-signature"],
 *   query: "clean"
 * }))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const forward = <I, E = never, R = never, E2 = never, R2 = never>(
  upstream: Context.Key<I, Upstream>,
  options: Options<E, R, E2, R2> = {}
): Handler<ProxyError.Uncommitted | E | E2, I | HttpServerRequest | Scope.Scope | R | R2> => {
  type Answer = Handler<ProxyError.Uncommitted | E | E2, I | HttpServerRequest | Scope.Scope | R | R2>
  const { direct, mapResponse } = options
  const plan: Plan = {
    forwarding: forwarding(options.trust, options),
    via: options.via === undefined ? "sluice" : options.via === false ? undefined : options.via,
    target: options.stripPrefix === undefined ? undefined : { stripPrefix: options.stripPrefix },
    ...messagePlan(options)
  }
  const clocks = Clocks_.resolve(options.clocks)

  const answer = (draft: Draft, response: UpstreamResponse, clock: TotalClock | undefined): Answer => {
    const head = responseHead(response, plan)
    const limits = { total: clock, writeIdle: clocks.writeIdle }
    const relayWith = (changes: Relay) => relay(outgoingOf(response, head, changes, draft.incoming, limits))
    if (mapResponse === undefined) return relayWith(unchangedResponse)
    const discard = Effect.sync(() => response.body.consume(ignored).cancel())
    return Effect.flatMap(
      Effect.onError(mapResponse(head), () => discard),
      (verdict): Answer => verdict._tag === "Respond" ? Effect.as(discard, verdict.response) : relayWith(verdict)
    )
  }

  const noLimits = { total: undefined, writeIdle: clocks.writeIdle }

  /** For an exchange that nobody has to look into or to bound, over a transport that is driven by callbacks. */
  const directly = ({ fiber, incoming }: Draft, request: Request, { start }: Upstream): Answer | undefined => {
    if (start === undefined || mapResponse !== undefined || clocks.total !== Infinity) return undefined
    if (request.upgrade !== undefined || request.body._tag === "OneShot") return undefined
    if (!DirectResponse.isAvailable(incoming.exchange, fiber)) return undefined
    return exchangeAndRelay(
      fiber,
      (consumer) => start(request, fiber.getRef(Clock.Clock), consumer),
      (response) => outgoingOf(response, responseHead(response, plan), unchangedResponse, incoming, noLimits)
    )
  }

  const exchange = (draft: Draft, changes: Forward, client: Switching | undefined): Answer => {
    const request = toRequest(draft, changes, client?.protocol)
    if (Result.isFailure(request)) return Effect.fail(request.failure)
    if (!plan.buffers) return transmit(draft, request.success, client)
    const buffered = requestIdle(bufferBody(request.success), request.success.body, clocks.requestBodyIdle)
    return Effect.flatMap(buffered, (request) => transmit(draft, request, client))
  }

  const transmit = (draft: Draft, request: Request, client: Switching | undefined): Answer => {
    const { fiber } = draft
    // Sound: the upstream is in the requirements, so whoever runs this has put one into the context.
    const service = Context.get(fiber.context as Context.Context<I>, upstream)
    return directly(draft, request, service) ?? throughFiber(draft, request, client, service)
  }

  const throughFiber = (draft: Draft, request: Request, client: Switching | undefined, { send }: Upstream): Answer => {
    const clock = clocks.total === Infinity ? undefined : startClock(clocks.total, draft.fiber)
    const sent = headTimeout(send(request), clock)
    const bounded = requestIdle(sent, request.body, clocks.requestBodyIdle)
    return Effect.flatMap(bounded, (response): Answer => {
      if (response.tunnel === undefined) return answer(draft, response, clock)
      return client === undefined
        ? Effect.fail(new ProxyError.UpstreamResponseInvalid({ reason: "UnsolicitedSwitch" }))
        : tunnel(client.connection, response.tunnel, {
          ...responseHead(response, plan),
          protocol: Fields.get(response.fields, "upgrade") ?? client.protocol
        }, clocks.tunnel)
    })
  }

  /** A request that asks to switch, over a connection that can't, is an ordinary one (RFC 9110, 7.8). */
  const send = (draft: Draft, changes: Forward): Answer => {
    if (endsHere(draft.incoming)) return Effect.succeed(HttpServerResponse.empty())
    const asked = upgradeRequest(draft.incoming)
    if (Result.isFailure(asked)) return Effect.fail(asked.failure)
    const protocol = asked.success
    if (protocol === undefined) return exchange(draft, changes, undefined)
    return Effect.flatMap(
      Upgrade.connection,
      (connection) => exchange(draft, changes, connection === undefined ? undefined : { protocol, connection })
    )
  }

  return Effect.withFiber((fiber): Answer => {
    const incoming = Incoming.currentUnsafe(fiber)
    const target = inspect(incoming, plan)
    if (Result.isFailure(target)) return Effect.fail(target.failure)
    const draft: Draft = { plan, incoming, target: target.success, fiber }
    if (direct === undefined) return send(draft, unchanged)
    return Effect.flatMap(
      direct(incoming),
      (verdict): Answer => verdict._tag === "Respond" ? Effect.succeed(verdict.response) : send(draft, verdict)
    )
  })
}

/** A connection that may switch, and what its client wants it to switch to. */
interface Switching {
  readonly protocol: string
  readonly connection: Upgrade.Upgrade
}

const unchanged: Forward = { _tag: "Forward" }

const unchangedResponse: Relay = { _tag: "Relay" }

/** Takes nothing of a body that is given up. */
const ignored: BodyConsumer = {
  onData: (_, release) => {
    release()
    return false
  },
  onEnd: () => {},
  onError: () => {}
}
