/**
 * Services that exist only while a request is handled: the typed form of `req.user`.
 *
 * **When to use** Declare with {@link Service} what a middleware provides to handlers (the current user, a request id). The
 * brand tells the compiler apart from services of the application: `Middleware.stack` can then say that a middleware
 * needs one that is provided above it, and `Route` refuses a handler whose service no middleware provides, even when
 * somebody puts an application-wide layer under it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * The brand of a per-request service.
 *
 * @category models
 * @since 0.1.0
 */
export interface PerRequest {
  readonly "~sluice/PerRequest": true
}

/**
 * The class that {@link Service} makes.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServiceClass<in out Self, in out Identifier extends string, in out Shape>
  extends Context.Service<Self, Shape>
{
  new(_: never): Context.ServiceClass.Shape<Identifier, Shape> & PerRequest
  readonly key: Identifier
}

/**
 * Declares a per-request service.
 *
 * @example
 * ```ts
 * import { Middleware, RequestService } from "@sluice/core"
 * import { Effect } from "effect"
 * import { HttpServerRequest, HttpServerResponse } from "effect/http"
 *
 * class Tenant extends RequestService.Service<Tenant, string>()("app/Tenant") {}
 *
 * const tenant = Middleware.provide(
 *   Tenant,
 *   Effect.map(HttpServerRequest.HttpServerRequest, (request) => request.headers["x-tenant"] ?? "public")
 * )
 * const hello = Effect.map(Tenant, (name) => HttpServerResponse.text(`hello ${name}`))
 * const handler = tenant(hello) // needs a request, and no Tenant any more
 * console.log(tenant.label) // => provide(app/Tenant)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service =
  <Self, Shape>() => <const Identifier extends string>(id: Identifier): ServiceClass<Self, Identifier, Shape> =>
    // Sound: the brand is a property of the type only; no instance of the class is ever made.
    Context.Service<Self, Shape>()(id) as unknown as ServiceClass<Self, Identifier, Shape>
