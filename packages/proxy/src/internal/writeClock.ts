import * as Timer from "@sluice/core/Timer"
import type * as Clock from "effect/Clock"
import type { ServerResponse } from "node:http"

/**
 * Runs while a client is behind with its response. It is started when a write has to wait and looked at when it rings, so
 * that a client that keeps up costs nothing, and one that does not costs one timer a period.
 */
export class WriteClock {
  private readonly node: ServerResponse
  private readonly clock: Clock.Clock
  /** In milliseconds. */
  private readonly limit: number
  private readonly onLate: () => void
  private cancel: Timer.Cancel | undefined
  private watched = false
  /** What the connection had taken when it was last looked at. */
  private taken: number | undefined

  constructor(node: ServerResponse, clock: Clock.Clock, limit: number, onLate: () => void) {
    this.node = node
    this.clock = clock
    this.limit = limit
    this.onLate = onLate
  }

  /** The client is behind. Does nothing when the clock runs already. */
  start(): void {
    if (this.cancel !== undefined || this.node.destroyed) return
    if (!this.watched) {
      this.watched = true
      this.node.once("close", this.stop)
    }
    this.run()
  }

  private run(): void {
    this.taken = takenBy(this.node)
    this.cancel = Timer.start(this.clock, this.limit, this.ring)
  }

  private readonly ring = (): void => {
    this.cancel = undefined
    const { node, taken } = this
    if (node.destroyed || !(node.writableEnded || node.writableNeedDrain)) return
    // Without a socket it is the responses before it that are waited for.
    if (taken !== undefined && taken === takenBy(node)) this.onLate()
    else this.run()
  }

  readonly stop = (): void => {
    this.cancel?.()
    this.cancel = undefined
  }
}

/** Bytes that the system has taken for the client; `undefined` while the response waits for its turn. */
const takenBy = ({ socket }: ServerResponse): number | undefined =>
  socket === null ? undefined : socket.bytesWritten - socket.writableLength
