/**
 * Running a handler apart from the exchange of the request that asked for it: for a result that several requests share, or
 * that outlives the one that began it.
 *
 * **When to use** In middleware that caches or shares responses. Ordinary middleware runs its handler in place.
 *
 * **Details** The handler sees a request of its own, without a body, with the same method, target and fields; what it holds
 * for the request belongs to a scope that the caller closes, and not to the connection that waits. Head edits and Effect's
 * pre-response hooks that are registered below are applied to the response's value, which therefore is what would have
 * been written. Observers below see the run as an exchange that ends with the scope.
 *
 * **Gotchas** Services that middleware further out provided stay those of the request that asked: one that is tied to that
 * request's scope may be gone before the run is over. A Node handler (an Express app) writes to a connection, and there is
 * none: it dies.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Scope from "effect/Scope"
import * as Fields from "./Fields.ts"
import type { Handler } from "./Handler.ts"
import { exchangeOf } from "./internal/attach.ts"
import { exchangeKey } from "./internal/exchangeKey.ts"
import { ExchangeState } from "./internal/exchangeState.ts"
import { takePreResponseHook, withoutPreResponseHook } from "./internal/preResponse.ts"
import { writeValue } from "./internal/valueResponse.ts"

/**
 * Settings of {@link run}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What the handler holds until it is closed; the body of the response may need it. */
  readonly scope: Scope.Scope
  /** Names of request fields, in lower case, that the handler does not see. @default none */
  readonly without?: ReadonlyArray<string>
}

/**
 * Runs the handler apart from the request's exchange, as the module says, and gives the response as a value.
 *
 * **Gotchas** It is interrupted with the fiber that runs it: fork it for a run that must go on.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <E, R>(
  handler: Handler<E, R>,
  options: Options
): Handler<E, R | HttpServerRequest.HttpServerRequest> =>
  Effect.withFiber((fiber) => {
    const asked = Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
    const outer = exchangeOf(asked, fiber)
    const without = options.without ?? []
    const exchange = begin(outer, without)
    const request = copyOf(asked, exchange, without)
    const app: Handler<E, R> = Effect.withFiber(({ context }) =>
      Effect.flatMap(handler, (response) => {
        outer.route ??= exchange.route
        const hook = takePreResponseHook(context)
        const hooked = hook === undefined ? Effect.succeed(response) : Effect.orDie(hook(request, response))
        return Effect.map(hooked, (response) => writeValue(exchange, response))
      })
    )
    const context = withoutPreResponseHook(fiber.context).pipe(
      Context.add(HttpServerRequest.HttpServerRequest, request),
      Context.add(Scope.Scope, options.scope)
    )
    return Effect.andThen(
      Scope.addFinalizerExit(options.scope, (exit) =>
        Effect.sync(() => {
          if (exit._tag === "Failure" && exchange.cause === undefined) exchange.cutOff(exit.cause)
          exchange.end(exit._tag === "Success")
        })),
      // Sound: the context has all that the fiber's has.
      Effect.provideContext(app, context as Context.Context<R>)
    )
  })

const begin = (outer: ExchangeState, without: ReadonlyArray<string>): ExchangeState => {
  const fields = without.reduce(Fields.remove, outer.requestFields)
  const exchange = new ExchangeState({ ...outer.arrival, requestFields: fields })
  exchange.valueNeeded = true
  exchange.route = outer.route
  for (const [key, value] of outer.attributes) exchange.annotate(key, value)
  return exchange
}

const copyOf = (
  asked: HttpServerRequest.HttpServerRequest,
  exchange: ExchangeState,
  without: ReadonlyArray<string>
): HttpServerRequest.HttpServerRequest => {
  const source = Object.assign(webRequest(asked), { [exchangeKey]: exchange })
  return HttpServerRequest.fromWeb(source).modify({
    url: asked.url,
    headers: Headers.removeMany(asked.headers, without),
    remoteAddress: asked.remoteAddress,
    peerAddress: asked.peerAddress,
    ...(asked.protocol === undefined ? undefined : { protocol: asked.protocol })
  })
}

const webRequest = ({ method, originalUrl }: HttpServerRequest.HttpServerRequest): Request => {
  try {
    return new Request(originalUrl, { method })
  } catch {
    return new Request("http://localhost/", { method })
  }
}
