/** Tunnels that are open, and what it takes to open them. */
import { assert } from "@effect/vitest"
import type { RawConnection } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import { answer, get, proxied } from "./proxied.ts"
import type { Path, Setup } from "./proxied.ts"

export const handshake = (...fields: ReadonlyArray<string>): string =>
  get("/chat", "Connection: keep-alive, Upgrade", "Upgrade: websocket", ...version, ...key, ...fields)

export const version = ["Sec-WebSocket-Version: 13"]

export const key = ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]

export const switching = (...fields: ReadonlyArray<string>): string =>
  answer("101 Switching Protocols", ["Connection: Upgrade", "Upgrade: WebSocket", ...fields])

/** A tunnel that is open, and both its ends. */
export const open = Effect.fnUntraced(function*(path: Path, setup: Setup = {}, early = "", glued = "") {
  const parts = yield* proxied(path, setup)
  yield* parts.client.send(handshake("Sec-WebSocket-Protocol: chat, b", "Sec-WebSocket-Extensions: x; y=1") + early)
  const end = yield* parts.origin
  const seen = yield* end.nextRequestHead
  yield* end.send(
    switching("Sec-WebSocket-Accept: abc", "X-Hop: 1", "Connection: X-Hop", "Keep-Alive: timeout=1") + glued
  )
  const got = yield* parts.client.responseHead
  return { ...parts, end, seen, got }
})

export const echo = Effect.fnUntraced(
  function*(from: RawConnection.RawConnection, to: RawConnection.RawConnection, text: string) {
    yield* from.send(text)
    assert.strictEqual(yield* to.read(text), text)
  }
)

/** A handshake with these lines in place of the usual ones. */
export const malformed = (...fields: ReadonlyArray<string>): string => get("/chat", "Connection: Upgrade", ...fields)
