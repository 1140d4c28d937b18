/**
 * A middleware of this service's own: a change must say which state of the order it is meant for (RFC 9110, 13.1.1), and the
 * handler gets that as a service to compare in its transaction, where nobody comes in between. Without it the answer is 428.
 */
import { Middleware, RequestService } from "@sluice/core"
import { Etag } from "@sluice/middleware"
import { Effect } from "effect"
import { HttpServerRequest } from "effect/http"
import type { Expected } from "../orders/Orders.ts"

/** The versions in `If-Match`. */
export class IfMatch extends RequestService.Service<IfMatch, Expected>()("service/IfMatch") {}

export const etagOf = (version: number): string => `"v${version}"`

/** Weak tags never match here, nor do tags that we have not made. */
const versionsOf = (field: string): Expected =>
  field.trim() === "*" ? "any" : [...field.matchAll(/(?<!W\/)"v(\d{1,15})"/g)].map(([, version]) => Number(version))

export const requireIfMatch = Middleware.provide(
  IfMatch,
  Effect.gen(function*() {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const field = headers["if-match"]
    return field === undefined ? yield* new Etag.PreconditionRequired({}) : versionsOf(field)
  })
)
