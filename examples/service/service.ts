/** The whole service but for what it stands on: give `routes` and `edge` to a server, and the Layers of what they need. */
import { Middleware, Route } from "@sluice/core"
import {
  AccessLog,
  BodyLimit,
  ContentType,
  Cors,
  Csrf,
  Etag,
  RateLimit,
  Reporting,
  RequestId,
  SecureHeaders,
  Timeout
} from "@sluice/middleware"
import { Layer } from "effect"
import { bySession, byToken, byTokenOrSession, type Trust } from "./auth/authenticate.ts"
import { scoped } from "./auth/Principal.ts"
import { makeApi, placingLimit } from "./http/api.ts"
import * as CspReports from "./http/cspReports.ts"
import * as Desk from "./http/desk.ts"
import { events } from "./http/events.ts"
import { openapi } from "./http/openapi.ts"

/** What differs from place to place. */
export interface Settings {
  readonly trust: Trust
  /** The origins whose pages may call the API, also with the user's cookie: `https://app.example.com`. */
  readonly origins: ReadonlyArray<string>
}

/** Without listed origins there is nothing to share: no field is sent. */
const makeCors = (origins: ReadonlyArray<string>) =>
  Cors.make({
    origins: origins.length === 0 ? () => false : origins,
    credentials: true,
    headers: ["authorization", "content-type", "if-match", "if-none-match", "idempotency-key"],
    exposedHeaders: [
      "etag",
      "location",
      "ratelimit",
      "ratelimit-policy",
      "retry-after",
      "x-request-id",
      "idempotency-replayed"
    ],
    maxAge: "10 minutes"
  })

/** Around everything, outermost first: 404s and refusals go through it as well. */
export const makeEdge = ({ origins }: Settings) =>
  Middleware.stack(
    AccessLog.make({
      format: ({ duration, method, outcome, path, status }) =>
        `${method} ${path} ${status ?? "-"} ${outcome} ${Math.round(duration)} ms`
    }),
    Reporting.make(),
    RequestId.make(),
    SecureHeaders.make({ contentSecurityPolicy: "default-src 'none'; frame-ancestors 'none'" }),
    makeCors(origins),
    RateLimit.make({ name: "address", limit: 600, window: "1 minute" }),
    BodyLimit.make(64 * 1024),
    Timeout.requestBody({ total: "10 seconds" })
  )

export const makeRoutes = ({ trust }: Settings) => {
  const timeout = Timeout.make("5 seconds")
  const form = ContentType.make(["application/x-www-form-urlencoded"])
  return Layer.mergeAll(
    makeApi(trust),
    Route.get("/openapi.json", Etag.make(), openapi),
    Route.get("/events", Middleware.stack(byTokenOrSession(trust), scoped("orders:read")), events),
    Route.get("/", Desk.pageHeaders, Desk.show),
    Route.post("/session", Middleware.stack(Csrf.make(), timeout, byToken(trust)), Desk.signIn),
    Route.post(
      "/desk/orders",
      Middleware.stack(Csrf.make(), timeout, bySession, scoped("orders:write"), form, placingLimit),
      Desk.orderByForm
    ),
    Route.post("/csp-reports", Middleware.stack(BodyLimit.make(8 * 1024), timeout), CspReports.receive)
  )
}
