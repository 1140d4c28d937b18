import * as Fields from "@sluice/core/Fields"
import * as OutgoingFields from "@sluice/core/OutgoingFields"
import type * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as HopByHop from "../HopByHop.ts"
import type { Incoming } from "../Incoming.ts"
import type { FieldPatch, Forward, ResponseHead } from "../Proxy.ts"
import type * as ProxyError from "../ProxyError.ts"
import * as Target from "../Target.ts"
import type { UpstreamResponse } from "../Transport.ts"
import type { Request } from "../Upstream.ts"
import * as Via from "../Via.ts"
import { bodyOf } from "./requestBody.ts"

/** What a proxy does to every request, decided once. */
export interface Plan {
  readonly forwarding: ReturnType<typeof TrustedPeers.outgoing>
  readonly via: string | undefined
  readonly target: Target.Options | undefined
}

/** A request that passed the proxy's checks, before its director has spoken. */
export interface Draft {
  readonly toRequest: (
    changes: Forward
  ) => Effect.Effect<Request, ProxyError.RequestRejected | ProxyError.MethodNotProxied | ProxyError.RequestBodyError>
  readonly responseHead: (response: UpstreamResponse) => ResponseHead
}

type Refusal = ProxyError.RequestRejected | ProxyError.MethodNotProxied | ProxyError.LoopDetected

export const prepare = (incoming: Incoming, plan: Plan): Effect.Effect<Draft, Refusal> =>
  Effect.suspend((): Effect.Effect<Draft, Refusal> => {
    const target = Target.parse(incoming.method, incoming.target)
    if (Result.isFailure(target)) return Effect.fail(target.failure)
    const loop = plan.via === undefined ? undefined : Via.check(incoming.fields, plan.via)
    if (loop !== undefined) return Effect.fail(loop)
    return Effect.succeed<Draft>({
      toRequest: (changes) => toRequest(incoming, plan, target.success, changes),
      responseHead: (response) => responseHead(response, plan)
    })
  })

/** Never relayed: `Host` is chosen by the upstream, framing by the transport, and `Expect` is answered by the server. */
const rewritten: ReadonlySet<string> = new Set(["host", "content-length", "expect"])

const toRequest = (
  incoming: Incoming,
  plan: Plan,
  target: Target.Target,
  changes: Forward
): ReturnType<Draft["toRequest"]> =>
  Effect.withFiber((fiber) => {
    const body = bodyOf(incoming)
    if (Result.isFailure(body)) return Effect.fail(body.failure)
    const upgrade = HopByHop.upgrade(incoming.fields)
    const host = target.authority ?? incoming.host ?? ""
    const forwarded = plan.forwarding({ peer: incoming.peerAddress, tls: incoming.secure, host }, incoming.fields)
    const client = Fields.filter(
      HopByHop.request(incoming.fields),
      (name) => !rewritten.has(name) && !forwarded.drop(name)
    )
    const merged = Fields.merge({
      client,
      proxy: [...forwarded.set, ...fiber.getRef(OutgoingFields.Current)],
      config: []
    })
    const fields = plan.via === undefined
      ? merged
      : Via.append(merged, plan.via, incoming.httpVersion === "1.0" ? "1.0" : "1.1")
    return Effect.succeed({
      method: changes.method ?? incoming.method,
      target: retarget(target, changes),
      targetOptions: changes.path === undefined ? plan.target : undefined,
      fields: patch(fields, changes),
      host: { value: changes.host ?? host, forced: changes.host !== undefined },
      body: body.success,
      upgrade: upgrade === undefined || upgrade.toLowerCase() === "h2c" ? undefined : upgrade,
      onInformational: undefined
    })
  })

const retarget = (target: Target.Target, { path, query }: Forward): Target.Target => {
  if (path === undefined && query === undefined) return target
  const mark = query === undefined || query === "" || query.startsWith("?") ? "" : "?"
  return { ...target, path: path ?? target.path, query: query === undefined ? target.query : mark + query }
}

/** The changes of a director or of `mapResponse`. */
export const patch = (fields: Fields.Fields, { remove, set }: FieldPatch): Fields.Fields => {
  if (remove === undefined && set === undefined) return fields
  const gone = new Set([...(remove ?? []), ...Object.keys(set ?? {})].map((name) => name.toLowerCase()))
  return [...Fields.filter(fields, (name) => !gone.has(name)), ...Object.entries(set ?? {}).flat()]
}

const responseHead = (response: UpstreamResponse, plan: Plan): ResponseHead => {
  const { status } = response
  const endToEnd = HopByHop.response(response.fields)
  const fields = hasNoLength(status) ? Fields.remove(endToEnd, "content-length") : endToEnd
  return {
    status,
    reason: response.reason,
    fields: plan.via === undefined ? fields : Via.append(fields, plan.via, response.httpVersion)
  }
}

/** RFC 9110, 8.6: a server must not send `Content-Length` with these. */
const hasNoLength = (status: number): boolean => status === 204 || status === 205
