import type { Readable } from "node:stream"

const counts = new WeakMap<Readable, number>()

/** Calls back with every chunk, for one who keeps nothing of it. What it returns ends that. */
export const watchChunks = (stream: Readable, onChunk: () => void): () => void => {
  stream.on("data", onChunk)
  counts.set(stream, watchers(stream) + 1)
  return () => {
    stream.off("data", onChunk)
    counts.set(stream, watchers(stream) - 1)
  }
}

/** How many of a stream's `data` listeners keep nothing. */
export const watchers = (stream: Readable): number => counts.get(stream) ?? 0
