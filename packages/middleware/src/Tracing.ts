/**
 * A server span for every request, in W3C Trace Context: continues the trace of the request, and carries it on to the calls
 * that are made for it.
 *
 * **When to use** At the server's edge, above whatever logs, reports or makes calls. Where spans go is Effect's `Tracer`:
 * `Otlp.layerJson`, or any other. Give {@link layer} to the server, so that Effect makes no span of its own.
 *
 * **Details** A `traceparent` is continued when it is well formed and not all zero; of a version that is not known yet, the
 * first four fields count. Without one a new trace begins. Its `tracestate` goes on to the next service, 32 members at most,
 * and so does `baggage` where it is asked for. The span is called `GET /orders/:id`, or `GET` when no route matched; it ends
 * when the exchange has ended, with the status that was on the wire, and has failed when that is a 5xx or the response broke
 * off. Attributes are OpenTelemetry's; neither query nor fields are among them.
 *
 * Calls through a client of `OutgoingFields.withClient` and through the proxy carry `traceparent`, `tracestate` and
 * `baggage`. Where Effect's client makes a span of its own, that span is the parent which the next service sees. The proxy
 * relays neither `traceparent` nor `tracestate` of the client's own, nor `b3`. Its `baggage` it relays, like any other
 * field, only where the trace is continued and {@link Options.baggage} is off.
 *
 * **Gotchas** `Route.below(Tracing.make())` traces the matched route only. A request that never reaches a pipeline
 * (malformed, over a limit) has no span. With `continue: "always"`, which is the default, clients choose trace ids and
 * sampling: at a public edge take `"trusted"` or `"never"`.
 *
 * @see https://www.w3.org/TR/trace-context/
 * @see https://opentelemetry.io/docs/specs/semconv/http/http-spans/
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import * as RequestService from "@sluice/core/RequestService"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Layer from "effect/Layer"
import * as Tracer from "effect/Tracer"
import { traceKey } from "./internal/attributes.ts"
import { clientAddress } from "./internal/clientAddress.ts"
import { errorTypeOf, methodOf, schemeOf, versionOf } from "./internal/httpAttributes.ts"
import { requireOneOf } from "./internal/options.ts"
import { pathOf } from "./internal/requestPath.ts"
import * as traceContext from "./internal/traceContext.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Whose trace is continued: everybody's, that of the application's `TrustedPeers`, nobody's. @default "always" */
  readonly continue?: "always" | "trusted" | "never"
  /** Whether a new trace is linked to the one that was not continued. @default false */
  readonly link?: boolean
  /** Whether `baggage` is read and carried on, of those whose trace is continued. @default false */
  readonly baggage?: boolean
}

/**
 * Where the request stands in its trace.
 *
 * @category services
 * @since 0.1.0
 */
export class TraceContext extends RequestService.Service<TraceContext, {
  /** 32 hexadecimal digits; those of the client where the trace was continued. */
  readonly traceId: string
  /** The server span's, 16 hexadecimal digits. */
  readonly spanId: string
  readonly sampled: boolean
  /** What vendors said, as it is sent on; empty when there is nothing. */
  readonly tracestate: string
  /** Decoded; empty unless {@link Options.baggage} asks for it. */
  readonly baggage: ReadonlyMap<string, string>
}>()("@sluice/middleware/TraceContext") {}

/**
 * Says that Effect leaves the spans of requests to this module.
 *
 * @category services
 * @since 0.1.0
 */
export class ServerSpans extends Context.Service<ServerSpans, {
  readonly by: "Tracing"
}>()("@sluice/middleware/Tracing/ServerSpans") {}

/**
 * Takes the spans of requests over from Effect's server, which would make one of its own around ours.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<ServerSpans> = Layer.merge(
  Layer.succeed(ServerSpans, { by: "Tracing" }),
  Layer.succeed(HttpMiddleware.TracerDisabledWhen, () => true)
)

/**
 * Makes the server span and provides {@link TraceContext}.
 *
 * **Details** Where `Tracing` stands above already, its span is the one. So is Effect's own, where {@link ServerSpans} came
 * from somewhere else than {@link layer}: it then ends when Effect wants it to.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { Tracing } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const handler = Effect.map(Tracing.TraceContext, ({ traceId }) => HttpServerResponse.text(traceId))
 * const Hello = Route.get("/", Tracing.make(), handler)
 *
 * const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hello)
 *   const request = new Request("http://localhost/", { headers: { traceparent } })
 *   return yield* Effect.promise(() => fetch(request).then((response) => response.text()))
 * })
 * const traceId = await Effect.runPromise(Effect.provide(Effect.scoped(program), Tracing.layer))
 * console.log(traceId) // => 4bf92f3577b34da6a3ce929d0e0e4736
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<TraceContext, never, ServerSpans | HttpServerRequest> => {
  const settings: Settings = {
    continue: requireOneOf("continue", options.continue ?? "always", ["always", "trusted", "never"]),
    link: options.link ?? false,
    baggage: options.baggage ?? false
  }
  return Middleware.named(
    "Tracing",
    Middleware.compose(
      Middleware.observeUnsafe<ServerSpans>("end", endSpan),
      Middleware.make<TraceContext, never, ServerSpans | HttpServerRequest>(
        "begin",
        (handler) =>
          Effect.withFiber((fiber) => {
            const exchange = Exchange.currentUnsafe(fiber)
            const known = knownTrace(exchange)
            return known === undefined
              ? Effect.flatMap(begun(exchange, fiber, settings), (trace) => within(handler, trace))
              : within(handler, known)
          }),
        { response: "none" }
      )
    )
  )
}

type Settings = Required<Options>

/** What an exchange carries from its begin to its end. */
interface Trace {
  readonly span: Tracer.Span
  /** Whether the span is ours to end. */
  readonly own: boolean
  readonly context: TraceContext["Service"]
  /** What is sent on. */
  readonly fields: Fields.Fields
  readonly withheld: ReadonlySet<string>
  /** For reports and log lines. */
  readonly traceId: string
  readonly spanId: string
  readonly sampled: boolean
}

const knownTrace = (exchange: Exchange.Exchange): Trace | undefined =>
  // Sound: nothing else writes under this key.
  exchange.attributes.get(traceKey) as Trace | undefined

/** What the exchange has from now on. */
const begun = (
  exchange: Exchange.Exchange,
  fiber: Fiber.Fiber<unknown, unknown>,
  settings: Settings
): Effect.Effect<Trace> => {
  const peers = fiber.getRef(TrustedPeers.TrustedPeers)
  const sent = traceContext.read(exchange.requestFields, settings.baggage)
  const continued = settings.continue === "always" ||
    (settings.continue === "trusted" && peers.peer(exchange.peerAddress).trusted)
  const incoming: Incoming = continued ? sent : nothing
  const made = Context.getOrUndefined(fiber.context, Tracer.ParentSpan)
  const begin = (span: Tracer.Span): Trace => {
    const trace = toTrace(span, span !== made, incoming, !continued || settings.baggage)
    describe(span, exchange, peers)
    if (!trace.own) Exchange.onHead(exchange, () => rename(span, exchange))
    Exchange.annotateUnsafe(exchange, traceKey, trace)
    return trace
  }
  return made?._tag === "Span" && made.kind === "server"
    ? Effect.succeed(begin(made))
    : Effect.map(Effect.makeSpan(methodOf(exchange), spanOptions(settings, continued, incoming, sent)), begin)
}

const spanOptions = (
  settings: Settings,
  continued: boolean,
  incoming: Incoming,
  sent: Incoming
): Tracer.SpanOptions => ({
  kind: "server",
  ...(incoming.parent === undefined ? { root: true } : { parent: Tracer.externalSpan(incoming.parent) }),
  links: settings.link && !continued && sent.parent !== undefined
    ? [{ span: Tracer.externalSpan(sent.parent), attributes: {} }]
    : []
})

interface Incoming {
  readonly parent: traceContext.Parent | undefined
  readonly tracestate: string
  readonly baggage: traceContext.Baggage
}

const nothing: Incoming = { parent: undefined, tracestate: "", baggage: traceContext.noBaggage }

const toTrace = (
  span: Tracer.Span,
  own: boolean,
  { baggage, parent, tracestate }: Incoming,
  withholdBaggage: boolean
): Trace => {
  const { sampled, spanId, traceId } = span
  const fields: Array<string> = []
  const add = (name: string, value: string | undefined): void => {
    if (value !== undefined && value !== "") fields.push(name, value)
  }
  // Where tracing is switched off, no span of ours stands between the client's and the next service's.
  add(
    "traceparent",
    traceContext.formatTraceparent(span) ?? (parent === undefined ? undefined : traceContext.formatTraceparent(parent))
  )
  add("tracestate", tracestate)
  add("baggage", baggage.text)
  return {
    span,
    own,
    context: { traceId, spanId, sampled, tracestate, baggage: baggage.entries },
    fields,
    withheld: withholdBaggage ? withheld.withBaggage : withheld.always,
    traceId,
    spanId,
    sampled
  }
}

const within = <E, R>(handler: Handler<E, R>, trace: Trace): Handler<E, Exclude<R, TraceContext>> =>
  // Sound: what is added is what the handler no longer asks for. One update instead of four: this is on every request.
  Effect.updateContext(handler, (before: Context.Context<never>) =>
    before.pipe(
      Context.add(TraceContext, trace.context),
      Context.add(Tracer.ParentSpan, trace.span),
      Context.add(OutgoingFields.Current, merged(Context.get(before, OutgoingFields.Current), trace.fields)),
      Context.add(OutgoingFields.Withheld, union(Context.get(before, OutgoingFields.Withheld), trace.withheld))
    ) as Context.Context<R>) as Handler<E, Exclude<R, TraceContext>>

const merged = (before: Fields.Fields, own: Fields.Fields): Fields.Fields =>
  before.length === 0 ? own : Fields.merge({ client: before, proxy: own, config: Fields.empty })

const union = (before: ReadonlySet<string>, own: ReadonlySet<string>): ReadonlySet<string> =>
  before.size === 0 ? own : new Set([...before, ...own])

/** What the proxy does not relay of the client's. */
const withheld = {
  always: new Set(["traceparent", "tracestate", ...traceContext.foreign]),
  withBaggage: new Set(["traceparent", "tracestate", "baggage", ...traceContext.foreign])
}

/** What is known when the request has come. */
const describe = (span: Tracer.Span, exchange: Exchange.Exchange, peers: TrustedPeers.TrustedPeers): void => {
  const attribute = (name: string, value: string | undefined): void => {
    if (value !== undefined && value !== "") span.attribute(name, value)
  }
  const method = methodOf(exchange)
  attribute("http.request.method", method)
  if (method !== exchange.method) attribute("http.request.method_original", exchange.method)
  attribute("url.path", pathOf(exchange))
  attribute("url.scheme", schemeOf(exchange))
  attribute("network.protocol.version", versionOf(exchange))
  attribute("client.address", clientAddress(exchange, peers))
  attribute("user_agent.original", Fields.get(exchange.requestFields, "user-agent"))
  rename(span, exchange)
}

/** The route is known only when it has been found, which may be after the span has begun. */
const rename = (span: Tracer.Span, exchange: Exchange.Exchange): void => {
  const method = methodOf(exchange)
  const name = method === "_OTHER" ? "HTTP" : method
  const full = exchange.route === undefined ? name : `${name} ${exchange.route}`
  if (exchange.route !== undefined) span.attribute("http.route", exchange.route)
  if (span.name === full) return
  // Effect's spans have no operation for it: theirs are objects whose name is read when they have ended. A span of
  // OpenTelemetry's own API, as `@effect/opentelemetry` wraps one, has to be told.
  Reflect.set(span, "name", full)
  const { span: wrapped } = span as { readonly span?: { readonly updateName?: (name: string) => unknown } }
  wrapped?.updateName?.(full)
}

const endSpan = (exchange: Exchange.Ended, context: Context.Context<never>): undefined => {
  const trace = knownTrace(exchange)
  if (trace === undefined || trace.span.status._tag === "Ended") return undefined
  const { span } = trace
  rename(span, exchange)
  if (exchange.status !== undefined) span.attribute("http.response.status_code", exchange.status)
  const errorType = errorTypeOf(exchange)
  if (errorType !== undefined) span.attribute("error.type", errorType)
  if (trace.own) span.end(Context.get(context, Clock.Clock).currentTimeNanosUnsafe(), exitOf(exchange, errorType))
  return undefined
}

const exitOf = (exchange: Exchange.Ended, errorType: string | undefined): Exit.Exit<unknown, unknown> => {
  if (errorType === undefined) return Exit.void
  if (exchange.outcome._tag === "ClientAborted") return Exit.interrupt()
  return exchange.cause === undefined ? Exit.fail(new Error(errorType)) : Exit.failCause(exchange.cause)
}
