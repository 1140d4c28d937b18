import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import { createLocalJWKSet } from "jose"
import type { JSONWebKeySet, JWSHeaderParameters } from "jose"

/** Milliseconds before a key set that could never be fetched is asked for again. */
const patience = 1000

export interface Settings {
  readonly timeout: number
  readonly maxAge: number
  readonly cooldown: number
}

export type Find = ReturnType<typeof createLocalJWKSet>

export interface RemoteKeySet {
  /** The keys there are, after a fetch if it is time for one; `undefined` if there never were any. */
  readonly keys: Effect.Effect<Find | undefined, never, HttpClient.HttpClient>
  /** The same for a key that is not among `before`: asks again, unless that has been done lately. */
  readonly newer: (before: Find) => Effect.Effect<Find | undefined, never, HttpClient.HttpClient>
  /** Why the last fetch failed, if it did. */
  readonly trouble: () => unknown
}

/** The key set behind a URL, fetched by one request for all that wait for it and kept for as long as nothing better is had. */
export const make = (url: URL, { cooldown, maxAge, timeout }: Settings): RemoteKeySet => {
  let find: Find | undefined
  let trouble: unknown
  let fetchedAt = -Infinity
  let triedAt = -Infinity
  let soughtAt = -Infinity
  let flight: Deferred.Deferred<void> | undefined

  const load = Effect.gen(function*() {
    triedAt = yield* Clock.currentTimeMillis
    const fetched = yield* Effect.timeout(fetchKeys(url), timeout)
    find = fetched
    trouble = undefined
    fetchedAt = yield* Clock.currentTimeMillis
  }).pipe(Effect.catchCause((cause) => {
    trouble = cause
    return Effect.logWarning(`the key set at ${url.origin}${url.pathname} could not be fetched`, cause)
  }))

  // Apart from the request that starts it, which may go away while others wait.
  const refresh: Effect.Effect<void, never, HttpClient.HttpClient> = Effect.suspend(() => {
    if (flight !== undefined) return Deferred.await(flight)
    const landed = Deferred.makeUnsafe<void>()
    flight = landed
    const land = Effect.suspend(() => {
      flight = undefined
      return Deferred.succeed(landed, undefined)
    })
    return Effect.andThen(Effect.forkDetach(Effect.ensuring(load, land)), Deferred.await(landed))
  })

  const isDue = (now: number): boolean =>
    find === undefined
      ? flight !== undefined || now - triedAt >= patience
      : now - fetchedAt >= maxAge && now - triedAt >= cooldown

  return {
    keys: Effect.flatMap(
      Clock.currentTimeMillis,
      (now) => Effect.map(isDue(now) ? refresh : Effect.void, () => find)
    ),
    newer: (before) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        if (flight === undefined) {
          if (find !== before || now - soughtAt < cooldown) return Effect.sync(() => find)
          soughtAt = now
        }
        return Effect.map(refresh, () => find)
      }),
    trouble: () => trouble
  }
}

const fetchKeys = (url: URL): Effect.Effect<Find, unknown, HttpClient.HttpClient> =>
  Effect.gen(function*() {
    const response = yield* HttpClient.get(url, { headers: { accept: "application/json" } })
    if (response.status !== 200) return yield* Effect.fail(new Error(`answered ${response.status}`))
    const keys = yield* response.json
    // Sound: jose looks at what it is given, and throws when that is no key set.
    return yield* Effect.try({
      try: () => createLocalJWKSet(keys as unknown as JSONWebKeySet),
      catch: (error) => error
    })
  })

/** The key for a header, or `undefined` when none of the set fits, or more than one. */
export const keyFor = (find: Find, header: JWSHeaderParameters): Effect.Effect<CryptoKeyOfSet | undefined> => {
  const known = found.get(find)?.get(header)
  if (known !== undefined) return Effect.succeed(known)
  return Effect.map(Effect.promise(() => find(header).catch(() => undefined)), (key) => {
    if (key !== undefined) remember(find, header, key)
    return key
  })
}

/** What was found before, by the header's object. A set never changes, and a promise costs more than all the rest. */
const found = new WeakMap<Find, WeakMap<JWSHeaderParameters, CryptoKeyOfSet>>()

const remember = (find: Find, header: JWSHeaderParameters, key: CryptoKeyOfSet): void => {
  const ofSet = found.get(find)
  if (ofSet === undefined) found.set(find, new WeakMap([[header, key]]))
  else ofSet.set(header, key)
}

export type CryptoKeyOfSet = Awaited<ReturnType<Find>>
