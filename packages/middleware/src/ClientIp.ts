/**
 * Whose request it is: the address of the socket, or what a trusted peer says it is.
 *
 * **When to use** Near the edge, above everything that decides or counts by address: it provides `ClientAddress`, which
 * `IpFilter` and limits require in their types.
 *
 * **Details** Whom to believe is said once: by `trust`, which then holds for everything inside, or by the application's
 * `TrustedPeers`. A trusted peer's field that can't be read fails (400) instead of counting as somebody: the client would
 * choose whom. The address stays with the exchange and with the log lines of the request as `client.address`.
 *
 * **Gotchas** By default nobody is trusted, and behind a load balancer every client has the balancer's address.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7239
 * @since 0.1.0
 */
import { ClientAddress } from "@sluice/core/ClientAddress"
import * as Exchange from "@sluice/core/Exchange"
import type { InvalidForwarded } from "@sluice/core/Forwarded"
import type { Handler } from "@sluice/core/Handler"
import * as Middleware from "@sluice/core/Middleware"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as References from "effect/References"
import { clientAddressKey } from "./internal/attributes.ts"
import { provided } from "./internal/provided.ts"
import { type Forwarding, forwarding } from "./internal/requestedHost.ts"

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Who is believed, here and further in. @default the application's `TrustedPeers`, which is nobody unless a layer says so */
  readonly trust?: TrustedPeers.TrustedPeers
}

/**
 * Provides `ClientAddress`, or fails with `InvalidForwarded` (400).
 *
 * @example
 * ```ts
 * import { ClientAddress, Route, TrustedPeers } from "@sluice/core"
 * import { App } from "@sluice/core/testing"
 * import { ClientIp } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const clientIp = ClientIp.make({ trust: TrustedPeers.networks(["loopback"]) })
 * const WhoAmI = Route.get(
 *   "/",
 *   clientIp,
 *   Effect.map(ClientAddress.ClientAddress, ({ address }) => HttpServerResponse.text(address ?? "-"))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const app = yield* App.listen(WhoAmI)
 *   return yield* app.text("/", { headers: { "x-forwarded-for": "203.0.113.7" } })
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => 203.0.113.7
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Middleware.Middleware<ClientAddress, InvalidForwarded, HttpServerRequest> => {
  const { trust } = options
  const trusting = <E, R>(handler: Handler<E, R>): Handler<E, R> =>
    trust === undefined ? handler : Effect.provideService(handler, TrustedPeers.TrustedPeers, trust)
  return Middleware.make<ClientAddress, InvalidForwarded, HttpServerRequest>(
    "ClientIp",
    (handler) => trusting(Effect.flatMap(forwarding, (forwarding) => withClient(handler, forwarding))),
    { response: "none" }
  )
}

const withClient = <E, R>(
  handler: Handler<E, R>,
  { client, exchange }: Forwarding
): Handler<E, Exclude<R, ClientAddress> | HttpServerRequest> => {
  const { address } = client
  if (address === undefined) return provided(handler, ClientAddress, client)
  Exchange.annotateUnsafe(exchange, clientAddressKey, address)
  // One step for both, since each would be a frame of the fiber's stack.
  return Effect.updateContext(handler, (context: Context.Context<Exclude<R, ClientAddress>>) => {
    const annotations = { ...Context.get(context, References.CurrentLogAnnotations), [clientAddressKey]: address }
    // Sound: it has the one service that it did not have.
    return context.pipe(
      Context.add(ClientAddress, client),
      Context.add(References.CurrentLogAnnotations, annotations)
    ) as Context.Context<R>
  })
}
