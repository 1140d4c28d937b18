/** The contract as an OpenAPI document. The stacks around it are ours, so what they ask for is said here. */
import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { OpenApi } from "effect/http-api"
import { Api } from "./contract.ts"

const document = OpenApi.fromApi(Api.annotateMerge(OpenApi.annotations({ title: "Orders", version: "1.0.0" })))

/** An operation's own `security`, even an empty one, would stand in for that of the document. */
const withoutSecurity = (key: string, value: unknown): unknown => key === "security" ? undefined : value

const text = JSON.stringify({
  ...JSON.parse(JSON.stringify(document, withoutSecurity)),
  security: [{ bearer: [] }],
  components: {
    ...document.components,
    securitySchemes: { bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT" } }
  }
})

export const openapi = Effect.succeed(HttpServerResponse.text(text, { contentType: "application/openapi+json" }))
