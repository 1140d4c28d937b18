/**
 * Which peers may say whom they speak for, and what a request's client is, given that.
 *
 * **When to use** Behind a load balancer or another proxy the peer of a connection is that proxy, not the client. Name the
 * peers whose `X-Forwarded-*` or `Forwarded` may be believed: by network ({@link networks}) or by their number
 * ({@link hops}); or the one field in which a CDN tells the client's address ({@link header}). By default nobody is trusted ({@link none}), and these fields are ignored.
 *
 * **Details** Entries are read from the right: each was written by the party to its right, so the first one that is not
 * a trusted proxy's is the client's address, and what stands left of it is hearsay that is not looked at. The scheme and
 * the host are taken from the same trusted hop. An entry that is needed and is no address is a typed failure.
 *
 * **Gotchas** Only one family of fields is read. A balancer that manages `X-Forwarded-For` relays a `Forwarded` that the
 * client made up, and the other way round. `networks(["0.0.0.0/0"])` trusts everybody, so that any client can be anybody.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Fields from "./Fields.ts"
import * as Forwarded from "./Forwarded.ts"
import * as cidr from "./internal/cidr.ts"

/**
 * The fields that trusted peers write.
 *
 * @category models
 * @since 0.1.0
 */
export type Source = "X-Forwarded" | "Forwarded"

/**
 * A single field that holds the client's address and nothing else.
 *
 * @category models
 * @since 0.1.0
 */
export interface SingleField {
  /** In lower case. */
  readonly field: string
}

/**
 * What is known about the peer of a connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Peer {
  /** Its address in the spelling of `Forwarded.canonicalIp`; `undefined` when it has none. */
  readonly address: string | undefined
  readonly trusted: boolean
}

/**
 * Who is trusted.
 *
 * @category models
 * @since 0.1.0
 */
export interface TrustedPeers {
  readonly source: Source | SingleField
  /** How many proxies stand before this server, or `undefined` when they are known by their addresses. */
  readonly hops: number | undefined
  /** What is known about a peer, by the address of its socket: `undefined` for a Unix socket. */
  readonly peer: (address: string | undefined) => Peer
  /** Whether an address, in canonical spelling, is a trusted proxy's. */
  readonly contains: (address: string) => boolean
}

/**
 * Further options of {@link networks} and {@link hops}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The fields that the trusted peers write; the others are never read. @default "X-Forwarded" */
  readonly source?: Source
}

const unknownPeer: Peer = { address: undefined, trusted: false }

/** How many peers are remembered before all are forgotten. */
const cacheSize = 4096

/** Peers come back: a proxy's few addresses, a client's many requests. */
const cached = (look: (address: string) => Peer): (address: string) => Peer => {
  const cache = new Map<string, Peer>()
  return (address) => {
    const known = cache.get(address)
    if (known !== undefined) return known
    const peer = look(address)
    if (cache.size >= cacheSize) cache.clear()
    cache.set(address, peer)
    return peer
  }
}

const make = (
  options: { readonly source?: TrustedPeers["source"] },
  policy: {
    readonly hops?: number
    readonly unix: Peer
    readonly isTrusted: (address: string) => boolean
    readonly contains?: (address: string) => boolean
  }
): TrustedPeers => {
  const look = cached((text) => {
    const address = Forwarded.canonicalIp(text)
    return address === undefined ? unknownPeer : { address, trusted: policy.isTrusted(address) }
  })
  return {
    source: options.source ?? "X-Forwarded",
    hops: policy.hops,
    peer: (address) => address === undefined || address === "" ? policy.unix : look(address),
    contains: policy.contains ?? (() => false)
  }
}

/**
 * Trusts nobody: the client is the peer.
 *
 * @category constructors
 * @since 0.1.0
 */
export const none: TrustedPeers = make({}, { unix: unknownPeer, isTrusted: () => false })

/**
 * A network in CIDR notation, a single address, or a set that has a name: `loopback` (127.0.0.0/8, ::1), `private`
 * (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7), `unix` (peers on a Unix socket).
 *
 * @category models
 * @since 0.1.0
 */
export type Network = "loopback" | "private" | "unix" | (string & {}) | IpNetwork.IpNetwork

const presets: { readonly [name: string]: ReadonlyArray<string> } = {
  loopback: ["127.0.0.0/8", "::1/128"],
  private: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
  unix: []
}

/**
 * Trusts peers by their addresses.
 *
 * **Details** Throws a `RangeError` that names the entry when one is no network.
 *
 * @example
 * ```ts
 * import { Fields, TrustedPeers } from "@sluice/core"
 * import { Result } from "effect"
 *
 * const trusted = TrustedPeers.networks(["loopback", "10.0.0.0/8"])
 * const fields = Fields.make(["X-Forwarded-For", "1.1.1.1, 203.0.113.7, 10.0.0.9"])
 *
 * const client = Result.getOrThrow(TrustedPeers.resolve(trusted, "10.0.0.1", fields))
 * console.log(client.address) // => 203.0.113.7
 *
 * const direct = Result.getOrThrow(TrustedPeers.resolve(trusted, "198.51.100.4", fields))
 * console.log(direct.address) // => 198.51.100.4
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const networks = (list: ReadonlyArray<Network>, options: Options = {}): TrustedPeers => {
  const contains = cidr.matcher(list.flatMap(toNetworks))
  const unix = list.includes("unix") ? { address: undefined, trusted: true } : unknownPeer
  return make(options, { unix, isTrusted: contains, contains })
}

const toNetworks = (entry: Network): ReadonlyArray<IpNetwork.IpNetwork> => {
  if (typeof entry !== "string") return [entry]
  if (Object.hasOwn(presets, entry)) return presets[entry].map(IpNetwork.fromStringUnsafe)
  const network = entry.includes("/") ? IpNetwork.fromString(entry) : Result.map(
    NetAddress.ipFromString(entry),
    (address) => IpNetwork.fromAddressUnsafe<NetAddress.IpAddress>(address, NetAddress.width(address))
  )
  if (Result.isSuccess(network)) return [network.success]
  throw new RangeError(`TrustedPeers: ${JSON.stringify(entry)} is not a network: ${network.failure.message}`)
}

/**
 * Trusts one field of the peers in these networks, as CDNs and some balancers write it: `CF-Connecting-IP`,
 * `True-Client-IP`, `Fastly-Client-IP`, `X-Real-IP`.
 *
 * **Details** The field has one line with one address; anything else is a typed failure, and without it the peer is the client.
 * `X-Forwarded-*` and `Forwarded` are not read, from nobody, so scheme and host are those of the connection. Throws
 * a `TypeError` for a name that is no field, or whose field is a list, and a `RangeError` that names the entry when one is no
 * network.
 *
 * **Gotchas** The networks must be the CDN's own: whoever reaches the server from one of them can be anybody.
 *
 * @example
 * ```ts
 * import { Fields, TrustedPeers } from "@sluice/core"
 * import { Result } from "effect"
 *
 * const trusted = TrustedPeers.header("CF-Connecting-IP", ["173.245.48.0/20"])
 * const fields = Fields.make(["X-Forwarded-For", "1.1.1.1"], ["CF-Connecting-IP", "203.0.113.7"])
 * console.log(Result.getOrThrow(TrustedPeers.resolve(trusted, "173.245.48.9", fields)).address) // => 203.0.113.7
 * console.log(Result.getOrThrow(TrustedPeers.resolve(trusted, "198.51.100.4", fields)).address) // => 198.51.100.4
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const header = (name: string, list: ReadonlyArray<Network>): TrustedPeers => {
  const field = name.toLowerCase()
  if (!/^[!#$%&'*+\-.^`|~\w]+$/.test(name) || field === "forwarded" || field.startsWith("x-forwarded-")) {
    throw new TypeError(`TrustedPeers: header must name a field with one address, got ${JSON.stringify(name)}`)
  }
  const { contains, hops, peer } = networks(list)
  return { source: { field }, hops, peer, contains }
}

/**
 * Trusts as many proxies as stand before this server, whatever their addresses are.
 *
 * **Details** With two, the client's address is the second entry from the right. When there are fewer entries, the request
 * has not come that way, and the peer counts as the client. Throws a `RangeError` unless `count` is a whole number of at
 * least 1.
 *
 * **Gotchas** Anybody who reaches the server past the proxies can write all the entries: see to it that nobody does.
 *
 * @example
 * ```ts
 * import { Fields, TrustedPeers } from "@sluice/core"
 * import { Result } from "effect"
 *
 * const fields = Fields.make(["X-Forwarded-For", "1.1.1.1, 203.0.113.7, 192.0.2.1"])
 * const client = Result.getOrThrow(TrustedPeers.resolve(TrustedPeers.hops(2), "10.0.0.1", fields))
 * console.log(client.address) // => 203.0.113.7
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const hops = (count: number, options: Options = {}): TrustedPeers => {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new RangeError(`TrustedPeers: hops must be a whole number of at least 1, got ${count}`)
  }
  return make(options, { hops: count, unix: { address: undefined, trusted: true }, isTrusted: () => true })
}

/**
 * Who is trusted in this part of the application. @default nobody
 *
 * @category services
 * @since 0.1.0
 */
export const TrustedPeers: Context.Reference<TrustedPeers> = Context.Reference<TrustedPeers>(
  "@sluice/core/TrustedPeers",
  { defaultValue: () => none }
)

/**
 * Sets who is trusted.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (self: TrustedPeers): Layer.Layer<never> => Layer.succeed(TrustedPeers, self)

/**
 * Whose request it is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Client {
  /** In canonical spelling; `undefined` for a Unix socket and for a client whose proxy does not tell its address. */
  readonly address: string | undefined
  /** The scheme that the client used, when a trusted peer said so. */
  readonly proto: string | undefined
  /** The host that the client asked for, when a trusted peer said so. */
  readonly host: string | undefined
}

type Resolved = Result.Result<Client, Forwarded.InvalidForwarded>

/**
 * The client of a request, from the address of its socket and its fields.
 *
 * **Details** The scheme and the host are taken when there is one value, which is the nearest proxy's, or one for each
 * entry of `X-Forwarded-For`; with any other number nobody knows whose they are, and they are `undefined`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const resolve = (self: TrustedPeers, address: string | undefined, fields: Fields.Fields): Resolved => {
  const peer = self.peer(address)
  if (!peer.trusted) return Result.succeed(direct(peer))
  if (typeof self.source === "object") return fromField(self.source, peer, fields)
  return self.source === "Forwarded" ? fromForwarded(self, peer, fields) : fromXForwarded(self, peer, fields)
}

const direct = (peer: Peer): Client => ({ address: peer.address, proto: undefined, host: undefined })

const fromField = ({ field }: SingleField, peer: Peer, fields: Fields.Fields): Resolved => {
  const values = Fields.getAll(fields, field)
  if (values.length === 0) return Result.succeed(direct(peer))
  const node = Result.getOrUndefined(Forwarded.parseFor(values[0].trim()))
  return values.length === 1 && node?._tag === "Ip"
    ? Result.succeed({ address: node.address, proto: undefined, host: undefined })
    : Result.fail(new Forwarded.InvalidForwarded({ field, reason: "not one address" }))
}

const fromXForwarded = (self: TrustedPeers, peer: Peer, fields: Fields.Fields): Resolved => {
  const entries = Forwarded.entries(fields, "X-Forwarded-For")
  if (self.hops !== undefined && entries.length < self.hops) return Result.succeed(direct(peer))
  const found = findClient(self, entries.length, (index) => Forwarded.parseFor(entries[index]))
  if (Result.isFailure(found)) return Result.fail(found.failure)
  const { index, node } = found.success
  const proto = aligned(Forwarded.entries(fields, "X-Forwarded-Proto"), entries.length, index, Forwarded.parseProto)
  if (Result.isFailure(proto)) return Result.fail(proto.failure)
  const host = aligned(Forwarded.entries(fields, "X-Forwarded-Host"), entries.length, index, Forwarded.parseHost)
  if (Result.isFailure(host)) return Result.fail(host.failure)
  return Result.succeed({
    address: node === undefined ? peer.address : addressOf(node),
    proto: proto.success,
    host: host.success
  })
}

const fromForwarded = (self: TrustedPeers, peer: Peer, fields: Fields.Fields): Resolved => {
  const parsed = Forwarded.parse(fields)
  if (Result.isFailure(parsed)) return Result.fail(parsed.failure)
  const elements = parsed.success
  if (self.hops !== undefined && elements.length < self.hops) return Result.succeed(direct(peer))
  const found = findClient(self, elements.length, (index) => Result.succeed(elements[index].for ?? unknownNode))
  return Result.map(found, ({ index, node }) => ({
    address: node === undefined ? peer.address : addressOf(node),
    proto: elements[index]?.proto,
    host: elements[index]?.host
  }))
}

const unknownNode: Forwarded.Node = { _tag: "Unknown", port: undefined }

const addressOf = (node: Forwarded.Node): string | undefined => node._tag === "Ip" ? node.address : undefined

interface Found {
  readonly index: number
  readonly node: Forwarded.Node | undefined
}

/** From the right: past all trusted proxies, but not past the last entry there is. */
const findClient = (
  self: TrustedPeers,
  length: number,
  at: (index: number) => Result.Result<Forwarded.Node, Forwarded.InvalidForwarded>
): Result.Result<Found, Forwarded.InvalidForwarded> => {
  if (length === 0) return Result.succeed({ index: -1, node: undefined })
  let index = self.hops === undefined ? length - 1 : length - self.hops
  for (;; index--) {
    const node = at(index)
    if (Result.isFailure(node)) return Result.fail(node.failure)
    const isProxy = self.hops === undefined && node.success._tag === "Ip" && self.contains(node.success.address)
    if (!isProxy || index === 0) return Result.succeed({ index, node: node.success })
  }
}

const aligned = <E>(
  values: ReadonlyArray<string>,
  length: number,
  index: number,
  parse: (entry: string) => Result.Result<string, E>
): Result.Result<string | undefined, E> => {
  if (values.length === 1) return parse(values[0])
  return values.length === length && index >= 0 ? parse(values[index]) : Result.succeed(undefined)
}

/**
 * A connection from the view of a proxy that is about to forward its request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection {
  /** The address of the socket; `undefined` for a Unix socket. */
  readonly peer: string | undefined
  /** The port of the socket; only `Forwarded` tells it. */
  readonly port?: number | undefined
  readonly tls: boolean
  /** `Host`, or `:authority`, as the client sent it. */
  readonly host: string | undefined
}

/**
 * What a proxy tells its upstream about the client.
 *
 * @category models
 * @since 0.1.0
 */
export interface OutgoingOptions {
  /** Send `X-Forwarded-For`, `-Proto` and `-Host`; with `false`, none of them reaches the upstream. @default true */
  readonly xForwarded?: boolean
  /** Send `Forwarded`; `by` says which node this proxy is. @default false */
  readonly forwarded?: boolean | { readonly by: Forwarded.Node }
}

/**
 * What happens to the fields of one forwarded request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Outgoing {
  /** Whether a client's field, by its lower-cased name, is not relayed. */
  readonly drop: (lowerName: string) => boolean
  /** The fields that the proxy adds. */
  readonly set: Fields.Fields
}

/**
 * What a proxy drops and what it sets, for each request.
 *
 * **Details** From a peer that is not trusted, `Forwarded`, `X-Real-IP` and everything that starts with `X-Forwarded-` is
 * dropped, and the upstream hears of the peer only. From a trusted one, the family of fields that it writes goes on with
 * the peer at its end, and its scheme and host stay as they are; the other family is dropped, as it may be the client's,
 * and is made from the first when it is sent. Names with underscores, which some upstreams take for the same names, are
 * dropped from either. The field of {@link header} goes on from a trusted peer only, and nothing else of the kind does. A peer
 * on a Unix socket adds no address. When the address of a peer can't be read, everything is
 * dropped and nothing is set.
 *
 * @example
 * ```ts
 * import { Fields, TrustedPeers } from "@sluice/core"
 *
 * const outgoing = TrustedPeers.outgoing(TrustedPeers.none)
 * const { drop, set } = outgoing({ peer: "::ffff:192.0.2.1", tls: true, host: "shop.test" }, Fields.empty)
 * console.log(drop("x_forwarded_for"), drop("accept")) // => true false
 * console.log(set.join(" ")) // => X-Forwarded-For 192.0.2.1 X-Forwarded-Proto https X-Forwarded-Host shop.test
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const outgoing = (
  self: TrustedPeers,
  options: OutgoingOptions = {}
): (connection: Connection, fields: Fields.Fields) => Outgoing => {
  const x = options.xForwarded ?? true
  const by = typeof options.forwarded === "object" ? options.forwarded.by : undefined
  const rfc = options.forwarded !== undefined && options.forwarded !== false
  const { trusted, untrusted } = drops(self.source, x, rfc)
  return (connection, fields) => {
    const peer = self.peer(connection.peer)
    if (peer === unknownPeer && isAddress(connection.peer)) return { drop: untrusted, set: Fields.empty }
    const set: Array<string> = []
    if (x) addXForwarded(set, peer, connection, peer.trusted ? toldByX(self, peer, fields) : nothing)
    if (rfc) {
      const before = peer.trusted ? toldByForwarded(self, peer, fields) : []
      set.push("Forwarded", Forwarded.format([...before, ownElement(peer, connection, by)]))
    }
    return { drop: peer.trusted ? trusted : untrusted, set }
  }
}

const isAddress = (peer: string | undefined): boolean => peer !== undefined && peer !== ""

/** What a client could use to pass for somebody else. */
const isManaged = (lowerName: string): boolean => {
  const first = lowerName.charCodeAt(0)
  if (first !== 0x78 && first !== 0x66) return false
  const name = lowerName.includes("_") ? lowerName.replaceAll("_", "-") : lowerName
  return name === "forwarded" || name === "x-real-ip" || name.startsWith("x-forwarded-")
}

interface Drops {
  readonly trusted: Outgoing["drop"]
  readonly untrusted: Outgoing["drop"]
}

const drops = (source: TrustedPeers["source"], x: boolean, rfc: boolean): Drops => {
  if (typeof source === "object") {
    const { field } = source
    const dashed = field.replaceAll("_", "-")
    const untrusted = (lowerName: string): boolean => lowerName.replaceAll("_", "-") === dashed || isManaged(lowerName)
    return { trusted: (lowerName) => lowerName !== field && untrusted(lowerName), untrusted }
  }
  const trusted = source === "Forwarded" ? dropsUnder(false, !rfc) : dropsUnder(x, false)
  return { trusted, untrusted: isManaged }
}

const xForwardedNames: ReadonlySet<string> = new Set(["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"])

/** From a trusted peer: what the proxy sets anew is dropped, and so is the family that the peer does not write. */
const dropsUnder = (keepX: boolean, keepForwarded: boolean) => (lowerName: string): boolean => {
  if (!isManaged(lowerName)) return false
  if (lowerName.includes("_")) return true
  if (lowerName === "forwarded") return !keepForwarded
  return !keepX || xForwardedNames.has(lowerName)
}

/** What a trusted peer told; empty where it told nothing. */
interface Told {
  readonly chain: string
  readonly proto: string
  readonly host: string
}

const nothing: Told = { chain: "", proto: "", host: "" }

const toldByX = (self: TrustedPeers, peer: Peer, fields: Fields.Fields): Told => {
  if (self.source === "X-Forwarded") {
    return {
      chain: folded(fields, "x-forwarded-for"),
      proto: folded(fields, "x-forwarded-proto"),
      host: folded(fields, "x-forwarded-host")
    }
  }
  const client = resolve(self, peer.address, fields)
  if (Result.isFailure(client)) return nothing
  const { address, host, proto } = client.success
  return { chain: address === peer.address ? "" : address ?? "", proto: proto ?? "", host: host ?? "" }
}

const folded = (fields: Fields.Fields, name: string): string =>
  Fields.getAll(fields, name).filter((line) => line !== "").join(", ")

const addXForwarded = (set: Array<string>, peer: Peer, connection: Connection, told: Told): void => {
  const chain = told.chain === "" || peer.address === undefined
    ? told.chain || peer.address
    : `${told.chain}, ${peer.address}`
  if (chain !== undefined) set.push("X-Forwarded-For", chain)
  set.push("X-Forwarded-Proto", told.proto || (connection.tls ? "https" : "http"))
  const host = told.host || connection.host
  if (host !== undefined) set.push("X-Forwarded-Host", host)
}

/** A `Forwarded` that can't be read is not continued: an open quote in it would swallow what is added. */
const toldByForwarded = (
  self: TrustedPeers,
  peer: Peer,
  fields: Fields.Fields
): ReadonlyArray<Forwarded.Element> => {
  if (self.source === "Forwarded") return Result.getOrElse(Forwarded.parse(fields), () => [])
  const client = resolve(self, peer.address, fields)
  if (Result.isFailure(client)) return []
  const { address, host, proto } = client.success
  if (address === peer.address && host === undefined && proto === undefined) return []
  const isTold = address !== undefined && address !== peer.address
  return [element(isTold ? { _tag: "Ip", address, port: undefined } : unknownNode, host, proto)]
}

const ownElement = (peer: Peer, connection: Connection, by: Forwarded.Node | undefined): Forwarded.Element => {
  const { host, port, tls } = connection
  const node: Forwarded.Node = peer.address === undefined ? unknownNode : { _tag: "Ip", address: peer.address, port }
  const own = element(node, host !== undefined && Forwarded.isHost(host) ? host : undefined, tls ? "https" : "http")
  return by === undefined ? own : { ...own, by }
}

const element = (
  node: Forwarded.Node,
  host: string | undefined,
  proto: string | undefined
): Forwarded.Element => ({
  for: node,
  ...(host === undefined ? undefined : { host }),
  ...(proto === undefined ? undefined : { proto })
})
