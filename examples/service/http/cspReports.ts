/** Where browsers say what the page's policy has kept them from doing (https://www.w3.org/TR/CSP3/#deprecated-serialize-violation). */
import { Effect, Schema } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"

const Report = Schema.Struct({
  "csp-report": Schema.Struct({
    "effective-directive": Schema.String,
    "blocked-uri": Schema.String
  })
})

export const receive = Effect.gen(function*() {
  const { "csp-report": report } = yield* HttpServerRequest.schemaBodyJson(Report)
  // Anybody can send this: what is logged is short, and quoted.
  const { "blocked-uri": blocked, "effective-directive": directive } = report
  yield* Effect.logWarning(
    `a page broke its policy: ${JSON.stringify(directive.slice(0, 40))} refused ${
      JSON.stringify(blocked.slice(0, 200))
    }`
  )
  return HttpServerResponse.empty()
})
