import * as Timer from "@sluice/core/Timer"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Readable } from "node:stream"
import type * as Body from "../Body.ts"
import * as ProxyError from "../ProxyError.ts"
import { watchChunks } from "./chunkWatchers.ts"
import { IdleClock } from "./idleClock.ts"

/** Bounds, in milliseconds, how long a client may be silent within a request body that is waited for. */
export const requestIdle = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  body: Body.Body,
  limit: number
): Effect.Effect<A, E, R | Scope.Scope> => {
  if (body._tag !== "OneShot" || limit === Infinity) return self
  const watch = Effect.sync(() => new Watch(body.stream, limit))
  return Effect.andThen(Effect.acquireRelease(watch, (watch) => Effect.sync(watch.stop)), self)
}

/** Counts only while the stream flows: a body that is not asked for, or that an upstream doesn't take, is not late. */
class Watch {
  private readonly stream: Readable
  private readonly limit: number
  private readonly clock = Timer.currentClock()
  private idle: IdleClock | undefined
  private unwatch: (() => void) | undefined

  constructor(stream: Readable, limit: number) {
    this.stream = stream
    this.limit = limit
    stream.on("resume", this.onResume).once("end", this.stop).once("close", this.stop).once("error", this.stop)
  }

  /** Not before the stream flows: to listen for data is to ask for it. */
  private readonly onResume = (): void => {
    if (this.idle !== undefined) return this.idle.touch()
    const flows = () => this.stream.readableFlowing === true
    this.idle = new IdleClock(this.clock, this.limit, this.onIdle, flows)
    this.unwatch = watchChunks(this.stream, this.idle.touch)
  }

  /** Whoever reads the stream must hear of it, but to destroy it would be to close the connection before the answer. */
  private readonly onIdle = (): void => {
    this.stream.emit("error", new ProxyError.RequestBodyTimeout())
  }

  readonly stop = (): void => {
    this.stream.off("resume", this.onResume).off("end", this.stop).off("close", this.stop)
    this.idle?.stop()
    this.unwatch?.()
    this.unwatch = undefined
  }
}
