/**
 * The one way to declare an error: its status, its RFC 9457 body, its header fields and whether it is reported.
 *
 * **When to use** Declare what can go wrong in a handler as a `Problem.TaggedError`. Being `Respondable`, it may reach the
 * edge and is rendered there as `application/problem+json`; an error that is not one does not get past `Route`.
 *
 * **Details** `TaggedError` is a schema class: its fields are the extension members of the body, so a client can decode
 * the very same class with {@link fromResponse}. `Opaque` is for errors whose data must not leave the process (causes,
 * upstream addresses): only type, title and status are written.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9457
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as HttpApiError from "effect/http-api/HttpApiError"
import type * as Headers from "effect/http/Headers"
import type * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ProblemDetails from "effect/http/ProblemDetails"
import * as Schema from "effect/Schema"
import { reasonPhrase } from "./internal/reasonPhrase.ts"

/**
 * Why an exchange ended as it did, when an error decided it. `Exchange` reads it from the error.
 *
 * @category models
 * @since 0.1.0
 */
export type Ending = "Failed" | "TimedOut" | "Shed" | "Drained"

/**
 * The key under which an error tells `Exchange` how the exchange ended.
 *
 * @category symbols
 * @since 0.1.0
 */
export const ending = "~sluice/Problem/ending"

/**
 * What is said about an error class once, where it is declared.
 *
 * @category models
 * @since 0.1.0
 */
export interface Declaration<Status extends number, Type extends string, Members> {
  /** The HTTP status, 400 to 599. */
  readonly status: Status
  /** A URI that names the kind of problem. @default "about:blank", which says no more than the status does */
  readonly type?: Type
  /** A short sentence, the same for every instance. @default the status's reason phrase */
  readonly title?: string
  /** Header fields of the response, such as `Retry-After`, from the error's members. @default none */
  readonly headers?: (members: Members) => Headers.Input
  /** Whether reporters hear of it. @default true when the status is 500 or more */
  readonly report?: boolean
  /** How the exchange ended when this error decided its response. @default "Failed" when the status is 500 or more */
  readonly ending?: Ending
}

/**
 * The class that {@link TaggedError} makes: a schema, an error, and something that has a response.
 *
 * @category models
 * @since 0.1.0
 */
export type TaggedErrorClass<
  Self,
  Tag extends string,
  Type extends string,
  Status extends number,
  Fields extends Schema.Struct.Fields
> = HttpApiError.ProblemClass<Self, Tag, Type, Status, Fields, {}>

/**
 * Declares a typed error with a status and an RFC 9457 body.
 *
 * **Details** `fields` become extension members of the body; `detail` and `instance` are always allowed.
 * Refuses (throws at declaration) a status outside 400 to 599.
 *
 * @example
 * ```ts
 * import { Problem } from "@sluice/core"
 * import { Schema } from "effect"
 *
 * class OutOfStock extends Problem.TaggedError<OutOfStock>()("OutOfStock", {
 *   status: 409,
 *   title: "Out of stock",
 *   headers: ({ retryAfter }) => ({ "retry-after": String(retryAfter) })
 * }, { sku: Schema.String, retryAfter: Schema.Number }) {}
 *
 * console.log(new OutOfStock({ sku: "a-1", retryAfter: 30 })._tag) // => OutOfStock
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const TaggedError = <Self>() =>
<
  const Tag extends string,
  const Status extends number,
  const Type extends string = "about:blank",
  const Fields extends HttpApiError.ProblemExtensionFields = {}
>(
  tag: Tag,
  declaration: Declaration<Status, Type, Schema.Struct.Type<Fields>>,
  fields?: Fields
): TaggedErrorClass<Self, Tag, Type, Status, Fields> => {
  assertErrorStatus(tag, declaration.status)
  const Base = HttpApiError.Problem<Error>()(tag, {
    type: declaration.type ?? (ProblemDetails.blankType as Type),
    status: declaration.status,
    title: declaration.title ?? reasonPhrase(declaration.status)
  }, fields ?? ({} as Fields))
  const prototype = Base.prototype as HttpServerRespondable.Respondable & Schema.Struct.Type<Fields>
  const respond = prototype[HttpServerRespondable.symbol]
  const headers = declaration.headers
  Object.assign(prototype, {
    ...policy(declaration),
    ...(headers === undefined ? undefined : {
      [HttpServerRespondable.symbol](this: typeof prototype) {
        return Effect.map(respond.call(this), HttpServerResponse.setHeaders(headers(this)))
      }
    })
  })
  // Sound: `Error` above only stands in for `Self`, which the caller's class declaration names.
  return Base as unknown as TaggedErrorClass<Self, Tag, Type, Status, Fields>
}

/**
 * The class that {@link Opaque} makes.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpaqueClass<Tag extends string, Status extends number, Members extends Record<string, unknown>> {
  new(members: {} extends Members ? void | Members : Members): OpaqueError<Tag, Status> & Readonly<Members>
}

/**
 * An instance of an {@link Opaque} class, without its members.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpaqueError<Tag extends string, Status extends number>
  extends Cause.YieldableError, HttpServerRespondable.Respondable
{
  readonly _tag: Tag
  readonly status: Status
}

/**
 * Declares a typed error whose members stay inside the process: the body carries type, title and status, nothing else.
 *
 * @example
 * ```ts
 * import { Problem } from "@sluice/core"
 *
 * class DatabaseDown extends Problem.Opaque<{ readonly cause: unknown }>()("DatabaseDown", {
 *   status: 503,
 *   headers: () => ({ "retry-after": "5" })
 * }) {}
 *
 * console.log(new DatabaseDown({ cause: new Error("10.0.0.7 refused") }).status) // => 503
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const Opaque =
  <Members extends Record<string, unknown> = {}>() =>
  <const Tag extends string, const Status extends number>(
    tag: Tag,
    declaration: Declaration<Status, string, Members>
  ): OpaqueClass<Tag, Status, Members> => {
    assertErrorStatus(tag, declaration.status)
    const headers = declaration.headers
    const details: Details = {
      status: declaration.status,
      ...(declaration.type === undefined ? undefined : { type: declaration.type }),
      ...(declaration.title === undefined ? undefined : { title: declaration.title })
    }
    const Base = Data.TaggedError(tag)<Record<string, unknown>>
    class OpaqueProblem extends Base {
      readonly status = declaration.status
      override get message(): string {
        return declaration.title ?? `${tag} (${declaration.status})`
      }
      [HttpServerRespondable.symbol]() {
        // Sound: the instance was constructed from `Members`.
        return Effect.sync(() => toResponse(details, headers?.(this as unknown as Members)))
      }
    }
    Object.assign(OpaqueProblem.prototype, policy(declaration))
    // Sound: the constructor assigns every member, as `Data.TaggedError` does.
    return OpaqueProblem as unknown as OpaqueClass<Tag, Status, Members>
  }

const policy = (declaration: Declaration<number, string, never>) => ({
  [ErrorReporter.ignore]: !(declaration.report ?? declaration.status >= 500),
  [ending]: declaration.ending ?? (declaration.status >= 500 ? "Failed" : undefined)
})

const assertErrorStatus = (tag: string, status: number): void => {
  if (!Number.isInteger(status) || status < 400 || status > 599) {
    throw new RangeError(`Problem ${tag}: status must be an integer from 400 to 599, got ${status}`)
  }
}

/**
 * The members of a problem body that are not in an error class.
 *
 * @category models
 * @since 0.1.0
 */
export interface Details {
  /** The HTTP status; the body's `status` is the same. */
  readonly status: number
  /** @default "about:blank" */
  readonly type?: string
  /** @default the status's reason phrase */
  readonly title?: string
  readonly detail?: string
  readonly instance?: string
  readonly [extension: string]: unknown
}

/**
 * A response with an `application/problem+json` body, for a problem that no error class stands for.
 *
 * @example
 * ```ts
 * import { Problem } from "@sluice/core"
 *
 * console.log(Problem.toResponse({ status: 404 }).headers["content-type"]) // => application/problem+json
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const toResponse = (details: Details, headers?: Headers.Input): HttpServerResponse.HttpServerResponse => {
  const { status, title, type, ...rest } = details
  const response = ProblemDetails.toResponse({
    type: type ?? ProblemDetails.blankType,
    title: title ?? reasonPhrase(status),
    status,
    ...rest
  })
  return headers === undefined ? response : HttpServerResponse.setHeaders(response, headers)
}

/**
 * A problem that a server sent and none of the classes given to {@link fromResponse} stands for.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownProblem extends Data.TaggedError("UnknownProblem")<{
  readonly status: number
  readonly problem: ProblemDetails.ProblemDetails
}> {}

/**
 * Decodes a client response's problem body into the first of the classes whose `type` and `status` match, and fails
 * with it. A response below 400 passes through; a problem that none of them decodes is an {@link UnknownProblem}.
 *
 * @example
 * ```ts
 * import { Problem } from "@sluice/core"
 * import { Effect, Schema } from "effect"
 * import { HttpClient } from "effect/http"
 *
 * class OutOfStock extends Problem.TaggedError<OutOfStock>()("OutOfStock", { status: 409 }, { sku: Schema.String }) {}
 *
 * // Effect<HttpClientResponse, OutOfStock | UnknownProblem | HttpClientError, HttpClient>
 * const buy = HttpClient.post("http://shop.test/buy").pipe(Effect.flatMap(Problem.fromResponse(OutOfStock)))
 * console.log(Effect.isEffect(buy)) // => true
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const fromResponse =
  <const Classes extends ReadonlyArray<Schema.Constraint & { readonly DecodingServices: never }>>(
    ...classes: Classes
  ) =>
  (
    response: HttpClientResponse.HttpClientResponse
  ): Effect.Effect<
    HttpClientResponse.HttpClientResponse,
    Classes[number]["Type"] | UnknownProblem | HttpClientError.HttpClientError
  > => {
    if (response.status < 400) return Effect.succeed(response)
    return Effect.flatMap(response.json, (body) => {
      const status = response.status
      const mismatch = (reason: unknown): Effect.Effect<never, UnknownProblem> =>
        Effect.flatMap(
          Effect.orElseSucceed(
            Schema.decodeUnknownEffect(ProblemDetails.Schema)(body),
            () => ({ type: ProblemDetails.blankType, status, detail: String(reason) })
          ),
          (problem) => Effect.fail(new UnknownProblem({ status, problem }))
        )
      if (!isRecord(body)) return mismatch("the body is not a problem")
      const candidates = classes.filter((self) => statusOf(self) === status)
      if (candidates.length === 0) return mismatch("no class has this status")
      return Effect.flatMap(
        Effect.orElseSucceed(
          Effect.firstSuccessOf(
            candidates.map((self) =>
              Schema.decodeUnknownEffect(self)(Object.assign({ type: ProblemDetails.blankType }, body))
            )
          ),
          () => undefined
        ),
        (error) => error === undefined ? mismatch("no class decodes it") : Effect.fail(error)
      )
    })
  }

const isRecord = (u: unknown): u is Record<string, unknown> => typeof u === "object" && u !== null && !Array.isArray(u)

const statusOf = (self: Schema.Constraint): unknown => {
  const resolved: Readonly<Record<string, unknown>> | undefined = Schema.resolveAnnotations(self)
  return resolved?.["httpApiStatus"]
}
