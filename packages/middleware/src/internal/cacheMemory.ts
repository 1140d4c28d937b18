import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Store, Stored } from "../ResponseCache.ts"
import { type Bounds, Lru } from "./lru.ts"
import { sizeOf } from "./storedResponse.ts"

interface Kept {
  readonly value: Stored
  readonly tags: ReadonlyArray<string>
}

/** Responses in this process, with an index of their tags. */
export const memoryStore = (bounds: Bounds, scope: Scope.Scope): Store["Service"] => {
  const tagged = new Map<string, Set<string>>()
  const forget = (key: string, { tags }: Kept): void => {
    for (const tag of tags) {
      const keys = tagged.get(tag)
      keys?.delete(key)
      if (keys?.size === 0) tagged.delete(tag)
    }
  }
  const lru = new Lru<Kept>(bounds, forget)
  return {
    scope,
    get: (key) => Effect.map(Clock.currentTimeMillis, (now) => lru.get(key, now)?.value),
    set: (key, value, timeToLive, tags) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        lru.delete(key)
        for (const tag of tags) tagged.set(tag, (tagged.get(tag) ?? new Set()).add(key))
        const size = key.length + (value._tag === "Response" ? sizeOf(value.response) : 100)
        lru.set(key, { value, tags }, size, now + timeToLive)
        if (size > bounds.maxBytes) forget(key, { value, tags })
      }),
    remove: (key) => Effect.sync(() => lru.delete(key)),
    purge: (tag) =>
      Effect.sync(() => {
        for (const key of tagged.get(tag) ?? []) lru.delete(key)
      })
  }
}
