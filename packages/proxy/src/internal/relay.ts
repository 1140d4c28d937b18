import * as DirectResponse from "@sluice/core/DirectResponse"
import * as Timer from "@sluice/core/Timer"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Scope from "effect/Scope"
import * as ProxyError from "../ProxyError.ts"
import type { ResponseConsumer, Started, UpstreamResponse } from "../Transport.ts"
import type { Outgoing } from "./outgoing.ts"
import { asValue } from "./valueRelay.ts"
import { Writer } from "./writer.ts"

type Response = HttpServerResponse.HttpServerResponse
type Needs = HttpServerRequest.HttpServerRequest | Scope.Scope

/** Sends a response to the client: straight to its connection when nothing needs the value. */
export const relay = (outgoing: Outgoing): Effect.Effect<Response, never, Needs> =>
  Effect.flatMap(
    DirectResponse.take,
    (direct) => direct === undefined ? asValue(outgoing) : write(direct, outgoing)
  )

const write = (direct: DirectResponse.DirectResponse, outgoing: Outgoing): Effect.Effect<Response> =>
  Effect.callback((resume) => {
    const done = () => resume(Effect.succeed(DirectResponse.receipt(outgoing.status)))
    const writer = new Writer(direct, outgoing, Timer.currentClock(), done)
    writer.start()
    return Effect.sync(() => writer.cancel())
  })

/** Begins an exchange with an upstream, and tells the consumer what becomes of it. */
type Begin = (consumer: ResponseConsumer<ProxyError.Uncommitted>) => Started

/**
 * Sends a request and relays its response in one go: the fiber waits once, for the end of it all, and whatever happens
 * until then happens in the transport's own callbacks.
 */
export const exchangeAndRelay = (
  fiber: Fiber.Fiber<unknown, unknown>,
  begin: Begin,
  outgoing: (response: UpstreamResponse) => Outgoing
): Effect.Effect<Response, ProxyError.Uncommitted, Needs> =>
  Effect.callback((resume) => {
    const relay = new DirectRelay(fiber, outgoing, resume)
    relay.begin(begin)
    return Effect.sync(() => relay.cancel())
  })

class DirectRelay implements ResponseConsumer<ProxyError.Uncommitted> {
  private readonly fiber: Fiber.Fiber<unknown, unknown>
  private readonly outgoing: (response: UpstreamResponse) => Outgoing
  private readonly resume: (effect: Effect.Effect<Response, ProxyError.Uncommitted, Needs>) => void
  private started: Started | undefined
  private writer: Writer | undefined
  private failed = false

  constructor(
    fiber: Fiber.Fiber<unknown, unknown>,
    outgoing: (response: UpstreamResponse) => Outgoing,
    resume: (effect: Effect.Effect<Response, ProxyError.Uncommitted, Needs>) => void
  ) {
    this.fiber = fiber
    this.outgoing = outgoing
    this.resume = resume
  }

  begin(begin: Begin): void {
    this.started = begin(this)
    // It may have called back by now.
    if (this.failed) this.started.abort()
  }

  onResponse(response: UpstreamResponse): void {
    if (response.tunnel !== undefined) return this.refuse()
    try {
      this.write(this.outgoing(response))
    } catch (defect) {
      // Nobody else would see it: this runs in a socket's callback.
      this.failed = true
      this.started?.abort()
      this.resume(Effect.die(defect))
    }
  }

  onFailure(error: ProxyError.Uncommitted): void {
    this.resume(Effect.fail(error))
  }

  /** Nobody has asked to switch. */
  private refuse(): void {
    this.failed = true
    this.started?.abort()
    this.onFailure(new ProxyError.UpstreamResponseInvalid({ reason: "UnsolicitedSwitch" }))
  }

  private write(outgoing: Outgoing): void {
    const direct = DirectResponse.takeUnsafe(this.fiber)
    if (direct === undefined) return this.resume(this.value(outgoing))
    const { fiber, resume } = this
    const done = () => resume(Effect.succeed(DirectResponse.receipt(outgoing.status)))
    this.writer = new Writer(direct, outgoing, fiber.getRef(Clock.Clock), done)
    this.writer.start()
  }

  /** While the request was on its way, somebody came to need the value. */
  private value(outgoing: Outgoing): Effect.Effect<Response, never, Needs> {
    return Effect.andThen(Effect.addFinalizer(() => Effect.sync(() => this.started?.abort())), asValue(outgoing))
  }

  cancel(): void {
    if (this.writer === undefined) this.started?.abort()
    else this.writer.cancel()
  }
}
