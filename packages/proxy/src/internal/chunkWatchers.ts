import type { Readable } from "node:stream"

const known = new WeakSet<object>()

/** Calls back with every chunk, for one who keeps nothing of it. What it returns ends that. */
export const watchChunks = (stream: Readable, onChunk: () => void): () => void => {
  known.add(onChunk)
  stream.on("data", onChunk)
  return () => void stream.off("data", onChunk)
}

/** Whether a `data` listener is one that keeps nothing. */
export const isWatcher = (listener: object): boolean => known.has(listener)
