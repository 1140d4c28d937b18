import type * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"

/** Whether a canonical address is in one of the networks, which are taken apart once. */
export const matcher = (networks: ReadonlyArray<IpNetwork.IpNetwork>): (address: string) => boolean => {
  const prefixes = networks.map((network) => toPrefix(network.address, network.prefixLength))
  if (prefixes.length === 0) return () => false
  return (text) => {
    const words = text.includes(":")
      ? wordsOf(NetAddress.ipFromStringUnsafe(text))
      : ipv4Words(text.split(".").map(Number))
    return prefixes.some((prefix) => prefix.length === words.length && matches(prefix, words))
  }
}

/** A mask and a value for each 16 bits. */
type Prefix = ReadonlyArray<{ readonly mask: number; readonly value: number }>

const toPrefix = (address: NetAddress.IpAddress, length: number): Prefix => {
  const canonical = NetAddress.toCanonical(address)
  // An IPv4-mapped network, ::ffff:10.0.0.0/104, is an IPv4 network: addresses are compared in canonical form.
  const bits = canonical === address || length < 96 ? length : length - 96
  return wordsOf(length < 96 ? address : canonical).map((value, index) => ({
    mask: (0xffff << (16 - Math.min(16, Math.max(0, bits - index * 16)))) & 0xffff,
    value
  }))
}

const wordsOf = (address: NetAddress.IpAddress): ReadonlyArray<number> => {
  if (NetAddress.isIpv6Address(address)) return NetAddress.ipv6ToSegments(address)
  return ipv4Words(NetAddress.ipv4ToOctets(address))
}

const ipv4Words = ([a, b, c, d]: ReadonlyArray<number>): ReadonlyArray<number> => [(a << 8) | b, (c << 8) | d]

const matches = (prefix: Prefix, words: ReadonlyArray<number>): boolean =>
  prefix.every(({ mask, value }, index) => (words[index] & mask) === value)
