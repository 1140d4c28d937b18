import type * as Proxy from "../Proxy.ts"
import type * as Tunnel from "../Tunnel.ts"
import { requirePositive } from "./options.ts"

/** The clocks of a proxy in milliseconds; those that are off are infinite. */
export interface Clocks {
  readonly total: number
  readonly requestBodyIdle: number
  readonly writeIdle: number
  readonly tunnel: Tunnel.Clocks
}

export const resolve = (clocks: Proxy.Clocks = {}): Clocks => ({
  total: requirePositive("clocks.total", clocks.total ?? Infinity),
  requestBodyIdle: requirePositive("clocks.requestBodyIdle", clocks.requestBodyIdle ?? "60 seconds"),
  writeIdle: requirePositive("clocks.writeIdle", clocks.writeIdle ?? "60 seconds"),
  tunnel: {
    idle: requirePositive("clocks.tunnelIdle", clocks.tunnelIdle ?? "1 hour"),
    maxDuration: requirePositive("clocks.tunnelMaxDuration", clocks.tunnelMaxDuration ?? Infinity)
  }
})
