/** `Upstream.send` over a transport that answers at once: what choosing a target costs, with the effect around it. */
import { Fields } from "@sluice/core"
import { Body, Target as RequestTarget, Transport, Upstream } from "@sluice/proxy"
import { Context, Effect, Layer, Result } from "effect"
import type { Case } from "../micro.ts"

class Target extends Upstream.Service<Target>()("benchmarks/Target") {}

const answered = Effect.succeed<Transport.UpstreamResponse>({
  status: 200,
  reason: "OK",
  httpVersion: "1.1",
  fields: Fields.empty,
  body: {
    length: 0,
    consume: (consumer) => {
      consumer.onEnd(Fields.empty)
      return { resume: () => {}, cancel: () => {} }
    }
  }
})

const AtOnce = Layer.succeed(Transport.Transport)({ exchange: () => answered })

const request: Upstream.Request = {
  method: "GET",
  target: Result.getOrThrow(RequestTarget.parse("GET", "/orders?page=2")),
  targetOptions: undefined,
  fields: Fields.make(["Accept", "*/*"]),
  host: { value: "shop.example", forced: false },
  body: Body.empty,
  upgrade: undefined,
  expectContinue: false,
  onInformational: undefined
}

const over = (count: number): Case => {
  const targets = Array.from({ length: count }, (_, i) => `http://127.1.${i >> 8}.${i & 255}:8080`)
  const built = Layer.build(Layer.provide(Target.layerTransport({ targets }), AtOnce))
  const upstream = Effect.runSync(Effect.scoped(Effect.map(built, Context.get(Target))))
  return {
    name: `Upstream.send, ${count === 1 ? "one target" : `in turns over ${count}`}`,
    run: () => Effect.runSync(Effect.scoped(upstream.send(request)))
  }
}

/** What the effect around it costs. */
const nothing: Case = { name: "an effect in a scope, nothing else", run: () => Effect.runSync(Effect.scoped(answered)) }

export const balancing: ReadonlyArray<Case> = [nothing, over(1), over(10), over(1000)]
