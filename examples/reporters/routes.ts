import { Incident, Middleware, Problem, type Reporter, Route } from "@sluice/core"
import { Recover, Reporting } from "@sluice/middleware"
import { Cause, Effect, Layer } from "effect"
import { type HttpServerRequest, HttpServerResponse } from "effect/http"

export class NoSuchOrder extends Problem.TaggedError<NoSuchOrder>()("NoSuchOrder", { status: 404 }) {}

/** The cause is for the report; the client sees a status and a title. */
export class DatabaseDown extends Problem.Opaque<{ readonly cause: unknown }>()("DatabaseDown", { status: 503 }) {}

/** 200, and nothing to report. */
const fine = Effect.succeed(HttpServerResponse.text("fine\n"))

/** 404: the client's doing. */
const missing = Effect.fail(new NoSuchOrder({}))

/** 503 from a typed error. */
const failing = Effect.suspend(() => Effect.fail(new DatabaseDown({ cause: new Error("10.0.0.7 refused") })))

/** 500 from a defect: nobody expected it. */
const dying = Effect.sync((): HttpServerResponse.HttpServerResponse => {
  throw new TypeError("order.lines is not iterable")
})

/** 502 that the handler answers by itself; only it knows why. */
const explaining = Effect.gen(function*() {
  const incident = yield* Incident.Incident
  yield* incident.note({ carrier: "snail" })
  yield* incident.cause(Cause.fail(new Error("the carrier hung up")))
  return HttpServerResponse.text("try again\n", { status: 502 })
})

type Stack = Middleware.Middleware<Incident.Incident, never, Reporter.Reporter | HttpServerRequest.HttpServerRequest>

const service = (prefix: Route.Path, stack: Stack) => {
  const route = Route.group(prefix, stack)
  return Layer.mergeAll(
    route.get("/fine", fine),
    route.get("/missing", missing),
    route.get("/failing", failing),
    route.get("/dying", dying),
    route.get("/explaining", explaining)
  )
}

/** The same routes under both orders: what is reported is the same. */
export const Routes = Layer.merge(
  service("/outside", Middleware.stack(Reporting.make(), Recover.make())),
  service("/inside", Middleware.stack(Recover.make(), Reporting.make()))
)

/** Every path there is. */
export const paths = ["/outside", "/inside"].flatMap((prefix) =>
  ["fine", "missing", "failing", "dying", "explaining"].map((name) => `${prefix}/${name}`)
)
