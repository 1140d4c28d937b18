/**
 * Lets in clients by their address, or keeps them out.
 *
 * **When to use** For an admin's routes, a partner's, or an office's network. Under `ClientIp`, whose `ClientAddress` it
 * requires in its type, so that a stack in which nobody knows the client does not compile.
 *
 * **Details** `deny` goes first. With `allow`, whoever is in none of its networks is refused; without, whoever is not denied
 * passes. A client without an address (a Unix socket, a proxy that does not tell) is refused, as nobody knows whether it
 * is denied. An IPv4 client that came over IPv6 (`::ffff:192.0.2.1`) is an IPv4 client.
 *
 * **Gotchas** An address says where a request comes from, not whose it is: it is no authentication.
 *
 * @since 0.1.0
 */
import { ClientAddress } from "@sluice/core/ClientAddress"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as TrustedPeers from "@sluice/core/TrustedPeers"
import * as Effect from "effect/Effect"

/**
 * The client's address is not one of those that are let in: 403.
 *
 * @category errors
 * @since 0.1.0
 */
export class AddressRefused extends Problem.TaggedError<AddressRefused>()("AddressRefused", {
  status: 403,
  title: "Client address refused"
}) {}

/**
 * Networks that {@link networks} has read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Networks {
  readonly contains: (address: string) => boolean
}

/**
 * A list of networks: CIDR notation, single addresses, `loopback`, `private`; or an effect that has the list of the moment,
 * which must be at hand, as it is asked for at every request.
 *
 * @category models
 * @since 0.1.0
 */
export type List<X = never, R = never> = ReadonlyArray<string> | Effect.Effect<Networks, X, R>

/**
 * Settings of {@link make}: at least one of the two.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<X = never, R = never> {
  /** Who is let in. @default everybody who is not denied */
  readonly allow?: List<X, R>
  /** Who is kept out, also when allowed. @default nobody */
  readonly deny?: List<X, R>
}

/**
 * Reads networks once, for lists that change. Throws a `RangeError` for an entry that is no network.
 *
 * @example
 * ```ts
 * import { IpFilter } from "@sluice/middleware"
 * import { Effect, Ref } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const banned = yield* Ref.make(IpFilter.networks([]))
 *   const filter = IpFilter.make({ deny: Ref.get(banned) })
 *   yield* Ref.set(banned, IpFilter.networks(["203.0.113.0/24", "2001:db8::/32"]))
 *   return filter.label
 * })
 * console.log(Effect.runSync(program)) // => IpFilter
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const networks = (list: ReadonlyArray<string>): Networks => read("networks", list)

/**
 * Fails with {@link AddressRefused} before the handler has run.
 *
 * **Details** Throws a `RangeError` that names the option for an entry that is no network, and when there is neither list.
 *
 * @example
 * ```ts
 * import { Middleware, Route } from "@sluice/core"
 * import { App } from "@sluice/core/testing"
 * import { ClientIp, IpFilter } from "@sluice/middleware"
 * import { Effect } from "effect"
 * import { HttpServerResponse } from "effect/http"
 *
 * const office = IpFilter.make({ allow: ["198.51.100.0/24", "2001:db8:7::/48"] })
 * const admin = Route.group("/admin", Middleware.stack(ClientIp.make(), office))
 * const Home = admin.get("/", Effect.succeed(HttpServerResponse.text("admin")))
 *
 * const program = Effect.flatMap(App.listen(Home), (app) => app.fetch("/admin/"))
 * console.log((await Effect.runPromise(Effect.scoped(program))).status) // => 403
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <X = never, R = never>(
  options: Options<X, R>
): Middleware.Middleware<never, AddressRefused | X, ClientAddress | R> => {
  const allow = compiled("allow", options.allow)
  const deny = compiled("deny", options.deny)
  if (allow === undefined && deny === undefined) throw new RangeError("allow or deny must be given")
  const check = Effect.gen(function*() {
    const { address } = yield* ClientAddress
    if (address === undefined) return yield* new AddressRefused()
    if (deny !== undefined && (yield* deny).contains(address)) return yield* new AddressRefused()
    if (allow !== undefined && !(yield* allow).contains(address)) return yield* new AddressRefused()
  })
  return Middleware.around<AddressRefused | X, ClientAddress | R>(
    "IpFilter",
    (handler) => Effect.andThen(check, handler),
    { response: "none" }
  )
}

const compiled = <X, R>(name: string, list: List<X, R> | undefined): Effect.Effect<Networks, X, R> | undefined =>
  list === undefined || Effect.isEffect(list) ? list : Effect.succeed(read(name, list))

const read = (name: string, list: ReadonlyArray<string>): Networks => {
  if (list.includes("unix")) throw new RangeError(`${name} must be networks: a Unix socket has no address`)
  try {
    return { contains: TrustedPeers.networks(list).contains }
  } catch (error) {
    throw new RangeError(`${name} must be networks: ${(error as Error).message.replace(/^TrustedPeers: /, "")}`)
  }
}
