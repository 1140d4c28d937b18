import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Cancellation from "../Cancellation.ts"
import type { ExchangeState, Keeper } from "./exchangeState.ts"

const open: Scope.State.Empty = { _tag: "Empty" }
const closed: Scope.State.Closed = { _tag: "Closed", exit: Exit.void }
const drained = Cause.annotate(Cause.interrupt(), Cancellation.annotations(Cancellation.draining))

/**
 * The exchanges that a server is busy with, until their observers and fibers are done too: a list that goes through the exchanges
 * themselves. A `Set` would keep those that have left it: V8 links the table that it has outgrown to the next one, and a young
 * one that hangs on an old one outlives every young collection, with what was in it.
 */
export class ActiveExchanges implements Keeper {
  private first: ExchangeState | undefined = undefined
  private count = 0
  private waiting: Array<() => void> = []
  private draining = false
  private finished = false
  /**
   * For whoever starts the fibers of requests: it holds none of them, since their exchanges do, and after the end it lets none
   * go on.
   */
  readonly scope: Scope.Scope = Object.defineProperty(Scope.makeUnsafe(), "state", {
    get: () => this.finished ? closed : open,
    set: () => {}
  })

  get size(): number {
    return this.count
  }

  add(exchange: ExchangeState): void {
    const { first } = this
    if (first !== undefined) first.previous = exchange
    exchange.next = first
    this.first = exchange
    this.count++
    if (this.draining) exchange.drain()
    exchange.keeper = this
  }

  /** Called once, after the observers were started. */
  ended(
    exchange: ExchangeState,
    observing: Fiber.Fiber<void> | undefined,
    fiber: Fiber.Fiber<unknown, unknown> | undefined
  ): void {
    if (fiber !== undefined && fiber.pollUnsafe() === undefined) {
      exchange.remainder = fiber
      fiber.addObserver(() => {
        exchange.remainder = undefined
        if (exchange.keeper === undefined) this.unlink(exchange)
      })
    }
    if (observing === undefined || observing.pollUnsafe() !== undefined) this.remove(exchange)
    else observing.addObserver(() => this.remove(exchange))
  }

  private remove(exchange: ExchangeState): void {
    exchange.keeper = undefined
    if (exchange.remainder === undefined) this.unlink(exchange)
    if (--this.count > 0) return
    const waiting = this.waiting
    this.waiting = []
    for (const resume of waiting) resume()
  }

  private unlink(exchange: ExchangeState): void {
    const { next, previous } = exchange
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next !== undefined) next.previous = previous
    exchange.previous = exchange.next = undefined
  }

  /** Those of now: what is done to one may make others come and go. */
  private all(): ReadonlyArray<ExchangeState> {
    const all: Array<ExchangeState> = []
    for (let exchange = this.first; exchange !== undefined; exchange = exchange.next) all.push(exchange)
    return all
  }

  /** No connection is used again after the response it carries now. */
  closeAfterResponse(): void {
    for (const { carrier } of this.all()) {
      if (carrier !== undefined && "shouldKeepAlive" in carrier) carrier.shouldKeepAlive = false
    }
  }

  /** Tells what would go on for ever (event streams, tunnels) to come to an end. */
  notifyDrain(): void {
    this.draining = true
    for (const exchange of this.all()) exchange.drain()
  }

  /** Interrupts what is left, saying why. */
  interruptAll(): void {
    for (const exchange of this.all()) {
      const { committed, fiber } = exchange
      if (fiber === undefined || fiber.pollUnsafe() !== undefined) continue
      // Before the body's stream says that it was aborted, which is only what follows.
      if (committed) exchange.cutOff(drained)
      Cancellation.interrupt(fiber, Cancellation.draining)
    }
  }

  /** Interrupts the fibers that are left and waits for them. */
  readonly finish: Effect.Effect<void> = Effect.suspend(() => {
    this.finished = true
    return Fiber.interruptAll(
      this.all().map(({ fiber, remainder }) => fiber ?? remainder).filter((fiber) => fiber !== undefined)
    )
  })

  readonly empty: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.count === 0) return resume(Effect.void)
    const done = () => resume(Effect.void)
    this.waiting.push(done)
    return Effect.sync(() => {
      this.waiting = this.waiting.filter((other) => other !== done)
    })
  })
}
