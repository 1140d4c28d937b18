/** The far end of an in-memory pair, as a server that a test writes by hand. */
import * as Effect from "effect/Effect"
import { type Duplex, duplexPair } from "node:stream"

export interface Peer {
  /** The end for a client. */
  readonly near: Duplex
  readonly far: Duplex
  /** Everything that has come. */
  readonly received: () => string
  /** Done once the predicate holds of everything that has come. */
  readonly until: (predicate: (text: string) => boolean) => Effect.Effect<void>
  /** Done once `count` request heads have come. */
  readonly heads: (count: number) => Effect.Effect<void>
  readonly send: (bytes: string) => Effect.Effect<void>
}

export const peer = (): Peer => {
  const [near, far] = duplexPair()
  let text = ""
  const checks = new Set<() => void>()
  far.on("error", () => {})
  far.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1")
    for (const check of checks) check()
  })
  const until: Peer["until"] = (predicate) =>
    Effect.callback((resume) => {
      const check = () => {
        if (!predicate(text)) return
        checks.delete(check)
        resume(Effect.void)
      }
      checks.add(check)
      check()
    })
  return {
    near,
    far,
    received: () => text,
    until,
    heads: (count) => until((received) => received.split("\r\n\r\n").length > count),
    send: (bytes) => Effect.sync(() => far.write(bytes, "latin1"))
  }
}
