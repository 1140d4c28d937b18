import { Cancellation, Problem, Route } from "@sluice/core"
import { type Incoming, Proxy, Upstream } from "@sluice/proxy"
import { Cause, Context, Effect, Exit, Option, Schema } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"

export class Archive extends Upstream.Service<Archive>()("cancellation/Archive") {}

export class Embargoed extends Problem.TaggedError<Embargoed>()("Embargoed", {
  status: 451,
  title: "Not yet"
}, { until: Schema.String }) {}

/** Decides before anything is sent: what it does not let through, the upstream never hears of. */
const direct = ({ path }: Incoming.Incoming) => {
  switch (path) {
    case "/refuse":
      return Effect.fail(new Embargoed({ until: "2030-01-01" }))
    case "/answer":
      return Effect.succeed(Proxy.respond(HttpServerResponse.text("from memory\n")))
    case "/cancel":
      return Cancellation.cancel("nobody needs it")
    default:
      return Effect.succeed(Proxy.proceed())
  }
}

/** Is told how each request ended, when it has. */
export class Journal extends Context.Service<Journal, {
  readonly write: (path: string, ending: string) => Effect.Effect<void>
}>()("cancellation/Journal") {}

/** What a finalizer can know. */
const describe = (exit: Exit.Exit<unknown, { readonly _tag: string }>): string => {
  if (Exit.isSuccess(exit)) return "answered"
  return Option.match(Cancellation.of(exit.cause), {
    onNone: () => `failed: ${String(Cause.squash(exit.cause))}`,
    onSome: (cancellation) =>
      cancellation._tag === "UserCancelled"
        ? `cancelled: ${cancellation._tag}, ${cancellation.reason}`
        : `cancelled: ${cancellation._tag}`
  })
}

export const Routes = Route.all(
  "/*",
  Effect.onExit(Proxy.forward(Archive, { direct }), (exit) =>
    Effect.gen(function*() {
      const { url } = yield* HttpServerRequest.HttpServerRequest
      const journal = yield* Journal
      yield* journal.write(url, describe(exit))
    }))
)
