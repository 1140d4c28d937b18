import * as NetAddress from "effect/net/NetAddress"

/** What clients without an address (on a Unix socket, behind a proxy that hides it) have in common. */
const unknown = "unknown"

/** The key of an address in canonical spelling: an IPv4 address itself, the network of an IPv6 address. */
export const addressKey = (prefixLength: number) => (address: string | undefined): string => {
  if (address === undefined) return unknown
  if (!address.includes(":")) return address
  const parsed = NetAddress.ipFromStringUnsafe(address)
  if (!NetAddress.isIpv6Address(parsed)) return address
  const words = NetAddress.ipv6ToSegments(parsed).map((word, index) => {
    const bits = Math.min(16, Math.max(0, prefixLength - index * 16))
    return (word & (0xffff << (16 - bits)) & 0xffff).toString(16)
  })
  return `${words.join(":")}/${prefixLength}`
}
