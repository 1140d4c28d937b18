/**
 * Liveness and readiness: what an orchestrator asks a server.
 *
 * **When to use** `Server.layer` answers `/livez` and `/readyz` by itself; give it named checks so that readiness means something.
 *
 * **Details** Both are answered outside the edge: no authentication, no access log, no rate limit. Liveness says that the
 * process turns its event loop. Readiness runs every check at once, each with its own timeout, and fails while the server
 * drains. Answers are `application/health+json` with `Cache-Control: no-store`: 200 with `"pass"`, 503 with `"fail"` and the
 * names of the checks that failed.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Handler } from "./Handler.ts"
import { requireDuration } from "./internal/options.ts"
import * as Problem from "./Problem.ts"

/**
 * Settings of the health routes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<R = never> {
  /** The path that says the process is alive. @default "/livez" */
  readonly livePath?: string
  /** The path that says the server wants requests. @default "/readyz" */
  readonly readyPath?: string
  /** What must succeed for the server to be ready, by name. @default none */
  readonly checks?: Readonly<Record<string, Effect.Effect<unknown, unknown, R>>>
  /** How long each check may take. @default "1 second" */
  readonly timeout?: Duration.Input
}

/**
 * The handlers by path.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R>(
  options: Options<R>,
  draining: () => boolean
): ReadonlyMap<string, Handler<never, R>> => {
  const timeout = requireDuration("health.timeout", options.timeout ?? "1 second")
  const checks = Object.entries(options.checks ?? {})
  const ready = Effect.suspend(() =>
    draining()
      ? Effect.succeed(answer({ server: "draining" }))
      : Effect.map(runChecks(checks, Duration.millis(timeout)), answer)
  )
  return new Map<string, Handler<never, R>>([
    [options.livePath ?? "/livez", onlyRead(Effect.sync(() => answer({})))],
    [options.readyPath ?? "/readyz", onlyRead(ready)]
  ])
}

const onlyRead = <R>(handler: Handler<never, R>): Handler<never, R> =>
  Effect.withFiber((fiber) => {
    const { method } = Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
    return method === "GET" || method === "HEAD" ? handler : notAllowed
  })

const notAllowed = Effect.sync(() => Problem.toResponse({ status: 405 }, { allow: "GET, HEAD" }))

type Failures = Readonly<Record<string, "failed" | "timed out" | "draining">>

const runChecks = <R>(
  checks: ReadonlyArray<readonly [name: string, check: Effect.Effect<unknown, unknown, R>]>,
  timeout: Duration.Duration
): Effect.Effect<Failures, never, R> =>
  Effect.map(
    Effect.forEach(checks, ([name, check]) =>
      Effect.map(
        Effect.exit(Effect.timeoutOption(check, timeout)),
        (exit): Failures =>
          Exit.isFailure(exit) ? { [name]: "failed" } : exit.value._tag === "None" ? { [name]: "timed out" } : {}
      ), { concurrency: "unbounded" }),
    (results) => Object.assign({}, ...results)
  )

const answer = (failures: Failures): HttpServerResponse.HttpServerResponse => {
  const pass = Object.keys(failures).length === 0
  return HttpServerResponse.jsonUnsafe(pass ? { status: "pass" } : { status: "fail", checks: failures }, {
    status: pass ? 200 : 503,
    contentType: "application/health+json",
    headers: { "cache-control": "no-store" }
  })
}
