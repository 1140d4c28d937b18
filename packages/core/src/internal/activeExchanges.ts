import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Cancellation from "../Cancellation.ts"
import type { ExchangeState, Keeper } from "./exchangeState.ts"

const drained = Cause.annotate(Cause.interrupt(), Cancellation.annotations(Cancellation.draining))

/** The exchanges that a server is busy with, until their observers are done too. */
export class ActiveExchanges implements Keeper {
  private readonly exchanges = new Set<ExchangeState>()
  private waiting: Array<() => void> = []
  private draining = false

  get size(): number {
    return this.exchanges.size
  }

  add(exchange: ExchangeState): void {
    this.exchanges.add(exchange)
    if (this.draining) exchange.drain()
    exchange.keeper = this
  }

  /** Called once, after the observers were started. */
  ended(exchange: ExchangeState, observing: Fiber.Fiber<void> | undefined): void {
    if (observing === undefined || observing.pollUnsafe() !== undefined) this.remove(exchange)
    else observing.addObserver(() => this.remove(exchange))
  }

  private remove(exchange: ExchangeState): void {
    this.exchanges.delete(exchange)
    if (this.exchanges.size > 0) return
    const waiting = this.waiting
    this.waiting = []
    for (const resume of waiting) resume()
  }

  /** No connection is used again after the response it carries now. */
  closeAfterResponse(): void {
    for (const { carrier } of this.exchanges) {
      if (carrier !== undefined && "shouldKeepAlive" in carrier) carrier.shouldKeepAlive = false
    }
  }

  /** Tells what would go on for ever (event streams, tunnels) to come to an end. */
  notifyDrain(): void {
    this.draining = true
    for (const exchange of this.exchanges) exchange.drain()
  }

  /** Interrupts what is left, saying why. */
  interruptAll(): void {
    for (const exchange of this.exchanges) {
      const { committed, fiber } = exchange
      if (fiber === undefined || fiber.pollUnsafe() !== undefined) continue
      // Before the body's stream says that it was aborted, which is only what follows.
      if (committed) exchange.cutOff(drained)
      Cancellation.interrupt(fiber, Cancellation.draining)
    }
  }

  readonly empty: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.exchanges.size === 0) return resume(Effect.void)
    const done = () => resume(Effect.void)
    this.waiting.push(done)
    return Effect.sync(() => {
      this.waiting = this.waiting.filter((other) => other !== done)
    })
  })
}
