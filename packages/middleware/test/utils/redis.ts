import * as NodeRedis from "@effect/platform-node/NodeRedis"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** Whether this machine has a `redis-server`. */
export const hasRedis = spawnSync("redis-server", ["--version"]).status === 0

/** For the names of tests that need one. */
export const redisNote = hasRedis ? "" : " (skipped: no redis-server on this machine)"

export interface RedisServer {
  /** The Unix socket that it listens on; it has no port. */
  readonly path: string
  /** Ends the process at once, as a crash would. */
  readonly kill: Effect.Effect<void>
  readonly layer: Layer.Layer<Redis.Redis | NodeRedis.NodeRedis, Redis.RedisError>
}

const start = async () => {
  const directory = mkdtempSync(join(tmpdir(), "redis-"))
  const path = join(directory, "redis.sock")
  const server = spawn(
    "redis-server",
    ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", directory],
    { stdio: ["ignore", "pipe", "inherit"] }
  )
  await ready(server)
  return { directory, path, server }
}

/** Its log says when it listens; an end of the log means that it never will. */
const ready = (server: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    let log = ""
    server.once("error", reject)
    server.stdout!.on("data", (chunk: Buffer) => {
      log += chunk.toString()
      if (/ready to accept connections/i.test(log)) resolve()
    })
    server.stdout!.once("end", () => reject(new Error(`redis-server did not start: ${log}`)))
  })

const stop = async (server: ChildProcess): Promise<void> => {
  if (server.exitCode !== null || server.signalCode !== null) return
  const exited = once(server, "exit")
  server.kill("SIGKILL")
  await exited
}

/** A server of its own, empty, in memory, for as long as the scope is open. */
export const redisServer: Effect.Effect<RedisServer, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(Effect.promise(start), ({ directory, server }) =>
    Effect.promise(async () => {
      await stop(server)
      rmSync(directory, { recursive: true, force: true })
    })),
  ({ path, server }) => ({
    path,
    kill: Effect.promise(() => stop(server)),
    layer: NodeRedis.layer({ socket: { path, tls: false } })
  })
)
