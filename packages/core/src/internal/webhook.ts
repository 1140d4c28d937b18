import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import type * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Schedule from "effect/Schedule"
import * as Report from "../Report.ts"
import type { Sink } from "./reporterQueue.ts"

const retries = { schedule: Schedule.exponential("250 millis"), times: 5 }

const defaultEncode = (batch: ReadonlyArray<Report.Report>): unknown => ({ reports: batch.map(Report.toJson) })

/** A sink that posts JSON. The body of the response is read to its end and forgotten: the connection can be used again. */
export const sink = (options: {
  readonly url: string | URL
  readonly headers?: Headers.Input
  readonly encode?: (batch: ReadonlyArray<Report.Report>) => unknown
}): Effect.Effect<Sink, never, HttpClient.HttpClient> =>
  Effect.map(HttpClient.HttpClient, (client) => {
    const encode = options.encode ?? defaultEncode
    const post = HttpClientRequest.post(options.url, options.headers === undefined ? {} : { headers: options.headers })
    const resilient = HttpClient.filterStatusOk(HttpClient.retryTransient(client, retries))
    return (batch) =>
      resilient.execute(HttpClientRequest.bodyText(post, Formatter.formatJson(encode(batch)), "application/json")).pipe(
        Effect.flatMap((response) => Effect.ignore(response.arrayBuffer))
      )
  })
