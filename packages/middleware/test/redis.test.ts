import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import { hasRedis, redisNote, redisServer } from "./utils/redis.ts"

describe("redisServer", () => {
  it.effect.skipIf(!hasRedis)(
    `is empty, answers, and is gone when it is killed${redisNote}`,
    () =>
      Effect.gen(function*() {
        const server = yield* redisServer
        const seen = yield* Effect.flatMap(Redis.Redis, (redis) => redis.send("DBSIZE")).pipe(
          Effect.provide(server.layer)
        )
        expect(seen).toBe(0)
        yield* server.kill
        expect((yield* Effect.exit(Effect.provide(Redis.Redis, server.layer)))._tag).toBe("Failure")
      })
  )
})
