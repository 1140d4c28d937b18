import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Fields from "@sluice/core/Fields"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Body from "../Body.ts"
import * as HopByHop from "../HopByHop.ts"
import type { Incoming } from "../Incoming.ts"
import type { FieldPatch, Forward, Options, ResponseHead } from "../Proxy.ts"
import type * as ProxyError from "../ProxyError.ts"
import * as Rewrite from "../Rewrite.ts"
import * as Target from "../Target.ts"
import type { UpstreamResponse } from "../Transport.ts"
import type { Request } from "../Upstream.ts"
import * as Via from "../Via.ts"
import { requireSize } from "./options.ts"
import { bodyOf } from "./requestBody.ts"
import { type RequestTrailers, requestTrailers, requireTrailerNames } from "./requestTrailers.ts"

/** What a proxy does to every request, decided once. */
export interface Plan {
  readonly forwarding: (fiber: Fiber.Fiber<unknown, unknown>) => Forwarding
  readonly via: string | undefined
  readonly target: Target.Options | undefined
  /** In bytes. */
  readonly maxRequestBody: number
  /** Whether a request is sent once its whole body is there. */
  readonly buffers: boolean
  readonly cleanQuery: boolean
  /** Lower-cased names. */
  readonly requestTrailers: ReadonlySet<string> | undefined
  readonly rewrite: ((fields: Fields.Fields) => Fields.Fields) | undefined
}

type Forwarding = ReturnType<typeof TrustedPeers.outgoing>

/** A request that passed the proxy's checks. */
export interface Draft {
  readonly plan: Plan
  readonly incoming: Incoming
  readonly target: Target.Target
  readonly fiber: Fiber.Fiber<unknown, unknown>
}

/** Whoever is trusted is looked up for each request, but what follows from that is worked out once. */
export const forwarding = (
  trust: TrustedPeers.TrustedPeers | undefined,
  options: TrustedPeers.OutgoingOptions
): Plan["forwarding"] => {
  if (trust !== undefined) {
    const fixed = TrustedPeers.outgoing(trust, options)
    return () => fixed
  }
  let known: { readonly trust: TrustedPeers.TrustedPeers; readonly forwarding: Forwarding } | undefined
  return (fiber) => {
    const trust = fiber.getRef(TrustedPeers.TrustedPeers)
    if (known?.trust !== trust) known = { trust, forwarding: TrustedPeers.outgoing(trust, options) }
    return known.forwarding
  }
}

type MessagePlan = Pick<Plan, "maxRequestBody" | "buffers" | "cleanQuery" | "requestTrailers" | "rewrite">

type MessageOptions = Pick<
  Options<never, never, never, never>,
  "bufferRequestBody" | "maxRequestBody" | "query" | "requestTrailers" | "rewrite" | "stripPrefix"
>

/** What is decided about messages once; bad options are refused here. */
export const messagePlan = (options: MessageOptions): MessagePlan => {
  const { bufferRequestBody, query, requestTrailers, rewrite, stripPrefix } = options
  if (bufferRequestBody !== undefined && requestTrailers !== undefined) {
    throw new TypeError(
      "requestTrailers and bufferRequestBody exclude each other: nothing follows a body with a length"
    )
  }
  return {
    maxRequestBody: Math.min(
      requireSize("maxRequestBody", options.maxRequestBody ?? Infinity),
      requireSize("bufferRequestBody", bufferRequestBody ?? Infinity)
    ),
    buffers: bufferRequestBody !== undefined,
    cleanQuery: query === "clean",
    requestTrailers: requestTrailers === undefined ? undefined : requireTrailerNames(requestTrailers),
    rewrite: rewrite === undefined
      ? undefined
      : Rewrite.fields(stripPrefix === undefined ? rewrite : { to: stripPrefix, ...rewrite })
  }
}

type Refusal = ProxyError.RequestRejected | ProxyError.MethodNotProxied | ProxyError.LoopDetected

/** The request's target, unless the request can't be proxied. */
export const inspect = (incoming: Incoming, plan: Plan): Result.Result<Target.Target, Refusal> => {
  const target = Target.parse(incoming.method, incoming.target)
  if (Result.isFailure(target)) return target
  const loop = plan.via === undefined ? undefined : Via.check(incoming.fields, plan.via)
  if (loop !== undefined) return Result.fail(loop)
  return plan.cleanQuery
    ? Result.succeed({ ...target.success, query: Target.cleanQuery(target.success.query) })
    : target
}

/** Whether the request must not go further than this proxy (RFC 9110, 7.6.2). */
export const endsHere = ({ fields, method }: Incoming): boolean =>
  method === "OPTIONS" && Via.maxForwards(method, fields)._tag === "Answer"

/** The protocol that the client wants to switch to; h2c is never relayed (RFC 9113, 3.1). */
export const wantedProtocol = ({ fields }: Incoming): string | undefined => {
  const protocol = HopByHop.upgrade(fields)
  return protocol?.toLowerCase() === "h2c" ? undefined : protocol
}

export const toRequest = (
  draft: Draft,
  changes: Forward,
  upgrade: string | undefined
): Result.Result<Request, ProxyError.RequestBodyError> => {
  const { incoming, plan, target } = draft
  const bodiless = losesBody(incoming, changes)
  const body = bodiless ? Result.succeed(Body.empty) : bodyOf(incoming, plan.maxRequestBody)
  if (Result.isFailure(body)) return Result.fail(body.failure)
  const trailers = trailersOf(draft, changes, body.success)
  const host = target.authority ?? incoming.host ?? ""
  const forced = changes.host ?? hostIn(changes)
  const fields = patch(fieldsOf(draft, host, bodiless, trailers), changes)
  const expectContinue = body.success._tag === "OneShot" && !plan.buffers && expects(incoming)
  return Result.succeed({
    method: changes.method ?? incoming.method,
    target: retarget(target, changes),
    targetOptions: changes.path === undefined ? plan.target : undefined,
    fields: withExpectation(forced === undefined ? fields : Fields.remove(fields, "host"), expectContinue),
    host: { value: forced ?? host, forced: forced !== undefined },
    body: trailers === undefined ? body.success : { ...trailers.body, trailers: trailers.read },
    upgrade,
    expectContinue,
    onInformational: (status, fields) => DirectResponse.sendInformational(incoming.exchange, status, interim(fields))
  })
}

/** No 1xx may say a length (RFC 9110, 8.6): whoever believed it would take the next response for content. */
const interim = (fields: Fields.Fields): Fields.Fields => Fields.remove(HopByHop.response(fields), "content-length")

/** Whether the client waits for a 100 before it sends its body (RFC 9110, 10.1.1); HTTP/1.0 has no such thing. */
const expects = ({ fields, httpVersion }: Incoming): boolean =>
  httpVersion !== "1.0" && Fields.get(fields, "expect")?.toLowerCase() === "100-continue"

const trailersOf = (draft: Draft, changes: Forward, body: Body.Body): Trailers | undefined => {
  const { fiber, incoming, plan } = draft
  if (plan.requestTrailers === undefined || body._tag !== "OneShot" || body.contentLength !== undefined) {
    return undefined
  }
  const own = fiber.getRef(OutgoingFields.Current)
  const patched = patchedNames(changes)
  return {
    body,
    ...requestTrailers(incoming, plan.requestTrailers, (name) => patched.has(name) || Fields.has(own, name))
  }
}

interface Trailers extends RequestTrailers {
  readonly body: Body.OneShot
}

const withExpectation = (fields: Fields.Fields, expectContinue: boolean): Fields.Fields =>
  expectContinue ? Fields.append(fields, "Expect", "100-continue") : fields

/** A method that has become GET or HEAD takes the content away: it would mean nothing, or something else. */
const losesBody = ({ method }: Incoming, changes: Forward): boolean =>
  changes.method !== method && (changes.method === "GET" || changes.method === "HEAD")

const hostIn = ({ set }: FieldPatch): string | undefined =>
  set === undefined ? undefined : Fields.get(linesOf(set), "host")

/** Never relayed: `Host` is chosen by the upstream, framing by the transport, and `Expect` goes on only with a body that waits. */
const isRewritten = (name: string): boolean => name === "host" || name === "content-length" || name === "expect"

const fieldsOf = (
  { fiber, incoming, plan }: Draft,
  host: string,
  bodiless: boolean,
  trailers: Trailers | undefined
): Fields.Fields => {
  const connection = { peer: incoming.peerAddress, tls: incoming.secure, host }
  const { drop, set } = plan.forwarding(fiber)(connection, incoming.fields)
  const own = fiber.getRef(OutgoingFields.Current)
  const withheld = fiber.getRef(OutgoingFields.Withheld)
  const client = forwardedOnce(incoming.method, HopByHop.request(incoming.fields))
  const out: Array<string> = []
  for (let i = 0; i < client.length; i += 2) {
    const name = client[i].toLowerCase()
    if (isRewritten(name) || drop(name) || Fields.has(own, name) || withheld.has(name)) continue
    if (bodiless && name.startsWith("content-")) continue
    out.push(client[i], client[i + 1])
  }
  if (trailers !== undefined && trailers.announced !== "") out.push("Trailer", trailers.announced)
  out.push(...set, ...own)
  if (plan.via !== undefined) out.push("Via", `${incoming.httpVersion} ${plan.via}`)
  return out
}

const forwardedOnce = (method: string, fields: Fields.Fields): Fields.Fields => {
  if (method !== "OPTIONS") return fields
  const forwards = Via.maxForwards(method, fields)
  return forwards._tag === "Forward" ? forwards.fields : fields
}

const retarget = (target: Target.Target, { path, query }: Forward): Target.Target => {
  if (path === undefined && query === undefined) return target
  const mark = query === undefined || query === "" || query.startsWith("?") ? "" : "?"
  return { ...target, path: path ?? target.path, query: query === undefined ? target.query : mark + query }
}

/** The changes of a director or of `mapResponse`. */
export const patch = (fields: Fields.Fields, changes: FieldPatch): Fields.Fields => {
  const { remove, set } = changes
  if (remove === undefined && set === undefined) return fields
  const gone = patchedNames(changes)
  return [...Fields.filter(fields, (name) => !gone.has(name)), ...linesOf(set ?? {})]
}

const patchedNames = ({ remove, set }: FieldPatch): ReadonlySet<string> =>
  new Set([...(remove ?? []), ...Object.keys(set ?? {})].map((name) => name.toLowerCase()))

const linesOf = (set: NonNullable<FieldPatch["set"]>): Fields.Fields =>
  Object.entries(set).flatMap(([name, value]) =>
    typeof value === "string" ? [name, value] : value.flatMap((line) => [name, line])
  )

export const responseHead = (response: UpstreamResponse, { rewrite, via }: Plan): ResponseHead => {
  const endToEnd = HopByHop.response(response.fields)
  const received = rewrite === undefined ? endToEnd : rewrite(endToEnd)
  const fields = response.status === upgradeRequired
    ? withUpgrade(received, Fields.get(response.fields, "upgrade"))
    : received
  return {
    status: response.status,
    reason: response.reason,
    fields: via === undefined ? fields : Via.append(fields, via, response.httpVersion)
  }
}

const upgradeRequired = 426

/** A 426 must say what to switch to (RFC 9110, 15.5.22), and it says so for this hop. */
const withUpgrade = (fields: Fields.Fields, protocol: string | undefined): Fields.Fields =>
  protocol === undefined ? fields : [...fields, "Connection", "Upgrade", "Upgrade", protocol]
