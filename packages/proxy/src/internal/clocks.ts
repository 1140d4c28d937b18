import * as Duration from "effect/Duration"
import type * as Transport from "../Transport.ts"
import { requirePositive } from "./options.ts"

type Millis = { readonly [Name in keyof Transport.Clocks]-?: number }

/** What the clocks are set to that nobody has set, in milliseconds. */
export const defaultClocks: Millis = {
  queue: 5000,
  resolve: 5000,
  connect: 5000,
  tls: 5000,
  send: 60_000,
  continue: 1000,
  responseHead: 60_000,
  bodyIdle: 300_000
}

/** All of them in milliseconds, or a `RangeError` that names the one that makes no sense. */
export const resolveClocks = (clocks: Transport.Clocks = {}): Millis => {
  const of = (name: keyof Transport.Clocks): number =>
    requirePositive(`clocks.${name}`, clocks[name] ?? defaultClocks[name])
  return {
    queue: of("queue"),
    resolve: of("resolve"),
    connect: of("connect"),
    tls: of("tls"),
    send: of("send"),
    continue: of("continue"),
    responseHead: of("responseHead"),
    bodyIdle: of("bodyIdle")
  }
}

/** What a clock of a request is set to, in milliseconds. */
export const clockOf = (clocks: Transport.Clocks, name: keyof Transport.Clocks): number => {
  const set = clocks[name] ?? defaultClocks[name]
  return typeof set === "number" ? set : Duration.toMillis(set)
}
