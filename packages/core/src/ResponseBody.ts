/**
 * The body of a response as it goes out on its connection, whoever writes it.
 *
 * **When to use** To write middleware that bound it: `Timeout.responseBody` of `@sluice/middleware` does.
 *
 * **Details** A body is watched where it is written, so a value that streams, a proxied response and an Express app are all the
 * same. A response that only becomes a value (a `fetch` handler, a test) has no connection and is not watched.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type { ServerResponse } from "node:http"
import * as Exchange from "./Exchange.ts"
import type { ExchangeState } from "./internal/exchangeState.ts"

/**
 * What is told of a body. The callbacks run inside the writes: they must be short and must not throw.
 *
 * @category models
 * @since 0.1.0
 */
export interface Watcher {
  /** A chunk was written. */
  readonly onWrite: () => void
  /** The response is complete, or its connection is gone. */
  readonly onEnd: () => void
}

/**
 * A body that is going out.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResponseBody {
  /** How many bytes wait because the client doesn't read. */
  readonly unsent: () => number
  /** Ends the connection so that its client sees that the response is not whole, and says why to the observers. */
  readonly cutOff: (cause: Cause.Cause<unknown>) => void
}

/**
 * Calls `begin` after the head of the response was written, to watch what follows it; not for a response that is complete by
 * then, as most are.
 *
 * @category combinators
 * @since 0.1.0
 */
export const watch = (exchange: Exchange.Exchange, begin: (body: ResponseBody) => Watcher): void => {
  // Sound: `Exchange.current` is where an exchange comes from, and it hands out the state itself.
  const state = exchange as ExchangeState
  Exchange.onHead(exchange, () => {
    if (!state.wire || state.carrier === undefined) return
    // Sound: `wire` says that the carrier is a Node response.
    const node = state.carrier as ServerResponse
    setImmediate(() => {
      if (!node.writableFinished && !node.destroyed) attach(state, node, begin)
    })
  })
}

const attach = (state: ExchangeState, node: ServerResponse, begin: (body: ResponseBody) => Watcher): void => {
  const watcher = begin({
    unsent: () => unsent(node),
    cutOff: (cause) => {
      state.cutOff(cause)
      node.destroy()
    }
  })
  const { write } = node
  node.write = ((...args: Parameters<ServerResponse["write"]>) => {
    watcher.onWrite()
    return write.apply(node, args)
  }) as ServerResponse["write"]
  node.once("close", watcher.onEnd)
}

/** What this process holds, and what the operating system has not taken yet. */
const unsent = ({ socket, writableLength }: ServerResponse): number => {
  const { _handle: handle } = (socket ?? {}) as { readonly _handle?: { readonly writeQueueSize?: number } | null }
  return writableLength + (socket?.writableLength ?? 0) + (handle?.writeQueueSize ?? 0)
}
