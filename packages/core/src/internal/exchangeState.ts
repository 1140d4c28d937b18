import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { ServerResponse } from "node:http"
import * as Cancellation from "../Cancellation.ts"
import type { Ended, Exchange, Outcome, Phase, Rewrite } from "../Exchange.ts"
import * as Fields from "../Fields.ts"
import * as Problem from "../Problem.ts"
import type { HeadEdit } from "../ResponseHead.ts"
import type { BodyGate } from "./bodyGate.ts"

/** What an observer runs, with the services it was registered with. */
export interface Observer {
  readonly observe: (exchange: Ended, context: Context.Context<never>) => Effect.Effect<void> | undefined
  readonly context: Context.Context<never>
}

/** What is known of a request when its exchange begins. */
export interface Arrival {
  readonly method: string
  readonly target: string
  readonly httpVersion: string
  readonly secure: boolean
  readonly peerAddress: string | undefined
  readonly requestFields: Fields.Fields
  /** Monotonic milliseconds. */
  readonly now: () => number
  readonly wallNow: () => number
}

/** Whoever keeps account of exchanges. */
export interface Keeper {
  /** Called once, after the observers were started, with the fiber of the request. */
  ended(
    exchange: ExchangeState,
    observing: Fiber.Fiber<void> | undefined,
    fiber: Fiber.Fiber<unknown, unknown> | undefined
  ): void
}

const completed: Outcome = { _tag: "Completed" }
const noop = (): void => {}
const noAttributes: ReadonlyMap<string, unknown> = new Map()

/**
 * The mutable record behind `Exchange`. Only the server, the adapters and the writers of responses touch it; whoever
 * else has one sees the read-only interface.
 */
export class ExchangeState implements Exchange {
  readonly arrival: Arrival
  readonly startedMonotonic: number
  route: string | undefined = undefined
  status: number | undefined = undefined
  bytesIn = 0
  bytesOut = 0
  firstByteAfter: number | undefined = undefined
  duration: number | undefined = undefined
  outcome: Outcome | undefined = undefined
  cause: Cause.Cause<unknown> | undefined = undefined
  /** Somebody between the handler and the wire reads or replaces the response's value. */
  valueNeeded = false
  /** The response's bytes are written by the handler itself; the value it returns is only a receipt. */
  direct = false
  headEdits: Array<HeadEdit> | undefined = undefined
  /** The server has refused the request with this status; no pipeline runs for it. */
  rejectedWith: number | undefined = undefined
  /** What carries the response: a Node response, or the socket of an upgrade; none where a value is all there is. */
  carrier: { shouldKeepAlive?: boolean; destroy(): unknown } | undefined = undefined
  /** Whether the carrier is a Node response that applies the head edits and records what it writes. */
  wire = false
  /** Gives the connection of a request that asked to switch this response instead, once. */
  refuseUpgrade: ((response: ServerResponse) => void) | undefined = undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** Told of the end. */
  keeper: Keeper | undefined = undefined
  /** What still runs after the end. */
  remainder: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** Its neighbours among the exchanges of its server. */
  previous: ExchangeState | undefined = undefined
  next: ExchangeState | undefined = undefined
  writtenFields: (() => Fields.Fields) | undefined = undefined
  /** What may replace the response's value when it leaves; the one that was registered last runs first. */
  rewrites: Array<Rewrite> | undefined = undefined
  /** Set once somebody watches the request's body. */
  requestBody: BodyGate | undefined = undefined

  private wallStart: number | undefined = undefined
  private headListeners: Set<() => void> | undefined = undefined
  private endListeners: Set<() => void> | undefined = undefined
  private observers: Array<Observer> | undefined = undefined
  private notes: Map<string, unknown> | undefined = undefined
  private decided: Outcome | undefined = undefined
  private isCutOff = false
  private isDraining = false
  private drainListener: (() => void) | undefined = undefined

  constructor(arrival: Arrival) {
    this.arrival = arrival
    this.startedMonotonic = arrival.now()
  }

  /** The wall clock is read only when somebody asks. */
  get startedAt(): number {
    const { now, wallNow } = this.arrival
    return this.wallStart ??= Math.round(wallNow() - (now() - this.startedMonotonic))
  }

  get method(): string {
    return this.arrival.method
  }
  get target(): string {
    return this.arrival.target
  }
  get path(): string {
    const query = this.arrival.target.indexOf("?")
    return query === -1 ? this.arrival.target : this.arrival.target.slice(0, query)
  }
  get httpVersion(): string {
    return this.arrival.httpVersion
  }
  get secure(): boolean {
    return this.arrival.secure
  }
  get peerAddress(): string | undefined {
    return this.arrival.peerAddress
  }
  get requestFields(): Fields.Fields {
    return this.arrival.requestFields
  }
  get responseFields(): Fields.Fields {
    return this.writtenFields?.() ?? Fields.empty
  }
  get attributes(): ReadonlyMap<string, unknown> {
    return this.notes ?? noAttributes
  }
  /** Whether a response head is on the wire. */
  get committed(): boolean {
    return this.status !== undefined
  }
  get phase(): Phase {
    return this.status === undefined ? "handler" : this.status === 101 ? "tunnel" : "responseBody"
  }

  annotate(key: string, value: unknown): void {
    this.notes ??= new Map()
    this.notes.set(key, value)
  }

  noteCause(cause: Cause.Cause<unknown>): void {
    this.cause = cause
  }

  addHeadEdit(edit: HeadEdit): void {
    if (this.headEdits === undefined) this.headEdits = [edit]
    else this.headEdits.push(edit)
  }

  addRewrite(rewrite: Rewrite): void {
    if (this.rewrites === undefined) this.rewrites = [rewrite]
    else this.rewrites.push(rewrite)
  }

  /** Each observer sees an exchange once, also when the pipeline and then the server register it. */
  addObserver(observer: Observer): void {
    if (this.observers === undefined) this.observers = [observer]
    else if (!this.observers.some(({ observe }) => observe === observer.observe)) this.observers.push(observer)
  }

  /** Calls back when the head is written, at once when it has been; returns what takes that back. */
  onHead(callback: () => void): () => void {
    if (this.committed) {
      callback()
      return noop
    }
    const listeners = this.headListeners ??= new Set()
    listeners.add(callback)
    return () => void listeners.delete(callback)
  }

  /** Calls back once when the server starts to drain, at once when it has. A later callback takes the place of an earlier one. */
  onDrain(callback: () => void): void {
    if (this.isDraining) callback()
    else this.drainListener = callback
  }

  /** The server drains: what would otherwise go on for ever is told to come to an end. */
  drain(): void {
    this.isDraining = true
    const listener = this.drainListener
    this.drainListener = undefined
    listener?.()
  }

  /** Calls back when the exchange ends, at once when it has; returns what takes that back. */
  onEnded(callback: () => void): () => void {
    if (this.outcome !== undefined) {
      callback()
      return noop
    }
    const listeners = this.endListeners ??= new Set()
    listeners.add(callback)
    return () => void listeners.delete(callback)
  }

  /** The head is on its way out; called by whoever writes it. */
  headWritten(status: number, fields: () => Fields.Fields): void {
    this.status = status
    this.writtenFields = fields
    this.firstByteAfter = this.arrival.now() - this.startedMonotonic
    const listeners = this.headListeners
    if (listeners === undefined) return
    this.headListeners = undefined
    for (const listener of listeners) listener()
  }

  /** Says how the exchange will end, unless something later cuts it off. */
  decide(outcome: Outcome): void {
    this.decided = outcome
  }

  /** The pipeline failed with this cause before a response was written. */
  failed(cause: Cause.Cause<unknown>, status: number): void {
    this.noteCause(cause)
    const outcome = outcomeOf(cause, status, "handler")
    if (outcome !== undefined) this.decide(outcome)
  }

  /** The response was cut off by this cause after its head was written. What follows from that is not its cause. */
  cutOff(cause: Cause.Cause<unknown>): void {
    if (this.isCutOff || this.decided?._tag === "ClientAborted") return
    this.isCutOff = true
    this.noteCause(cause)
    this.decide(outcomeOf(cause, 500, this.phase) ?? { _tag: "Failed", phase: this.phase })
  }

  /** How a response that was written whole ends the exchange: a failure that somebody turned into a 5xx is one all the same. */
  private answered(): Outcome {
    const { cause, status = 0 } = this
    return (cause === undefined || status < 500 ? undefined : outcomeOf(cause, status, "handler")) ?? completed
  }

  /** The exchange is over: the response is complete, or nothing more will be written. Later calls do nothing. */
  end(complete: boolean): void {
    if (this.outcome !== undefined) return
    this.duration = this.arrival.now() - this.startedMonotonic
    this.outcome = complete
      ? this.decided ?? this.answered()
      : this.decided === undefined || this.decided._tag === "Completed"
      ? { _tag: "ClientAborted", phase: this.phase }
      : this.decided
    const listeners = this.endListeners
    const observing = this.observers === undefined ? undefined : runObservers(this.observers, this as Ended)
    const { fiber, keeper } = this
    this.observers =
      this.headListeners =
      this.endListeners =
      this.headEdits =
      this.rewrites =
      this.carrier =
      this.drainListener =
      this.refuseUpgrade =
      this.fiber =
        undefined
    listeners?.forEach((listener) => listener())
    keeper?.ended(this, observing, fiber)
  }
}

/**
 * Tells them in order, one when the other is done. Most are done at once, and cost no fiber; what the rest have to do
 * is in the fiber that is returned.
 */
const runObservers = (
  observers: ReadonlyArray<Observer>,
  exchange: Ended,
  from = 0
): Fiber.Fiber<void> | undefined => {
  for (let i = from; i < observers.length; i++) {
    const running = tell(observers[i], exchange)
    if (running === undefined || running.pollUnsafe() !== undefined) continue
    return i + 1 === observers.length ? running : Effect.runFork(
      Effect.flatMap(Fiber.await(running), () => {
        const rest = runObservers(observers, exchange, i + 1)
        return rest === undefined ? Effect.void : Effect.asVoid(Fiber.await(rest))
      })
    )
  }
  return undefined
}

const tell = ({ context, observe }: Observer, exchange: Ended): Fiber.Fiber<void> | undefined => {
  let left: Effect.Effect<void> | undefined
  try {
    left = observe(exchange, context)
  } catch (error) {
    left = Effect.die(error)
  }
  return left === undefined ? undefined : Effect.runForkWith(context)(Effect.catchCause(left, complain))
}

const complain = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.logWarning("an observer of an exchange failed", cause)

/** How a cause ends an exchange; `undefined` when it is an answer like any other (a 4xx). */
const outcomeOf = (cause: Cause.Cause<unknown>, status: number, phase: Phase): Outcome | undefined => {
  if (Cause.hasInterruptsOnly(cause)) {
    return Option.match(Cancellation.of(cause), { onNone: () => undefined, onSome: (_) => ofCancellation(_, phase) })
  }
  const error: unknown = Cause.squash(cause)
  const ending = typeof error === "object" && error !== null && Problem.ending in error
    ? error[Problem.ending]
    : undefined
  switch (ending) {
    case "TimedOut":
      return { _tag: "TimedOut", clock: clockOf(error) }
    case "Shed":
      return { _tag: "Shed" }
    case "Drained":
      return { _tag: "Drained", phase }
  }
  return status >= 500 ? { _tag: "Failed", phase } : undefined
}

const ofCancellation = (cancellation: Cancellation.Cancellation, phase: Phase): Outcome => {
  switch (cancellation._tag) {
    case "ClientAborted":
      return { _tag: "ClientAborted", phase }
    case "DeadlineExceeded":
      return { _tag: "TimedOut", clock: cancellation.clock }
    case "Draining":
      return { _tag: "Drained", phase }
    case "HedgeLoser":
      return { _tag: "Cancelled", reason: "another attempt answered first" }
    case "UserCancelled":
      return { _tag: "Cancelled", reason: cancellation.reason }
  }
}

/** An error that ends an exchange by a clock names it; its tag is the next best name. */
const clockOf = (error: unknown): string => {
  const { _tag, clock } = error as { readonly _tag?: string; readonly clock?: unknown }
  return typeof clock === "string" ? clock : _tag ?? "unknown"
}
