import * as Fields from "@sluice/core/Fields"
import * as Result from "effect/Result"
import type { Incoming } from "../Incoming.ts"
import * as ProxyError from "../ProxyError.ts"
import { wantedProtocol } from "./prepare.ts"

/** One protocol: a name and perhaps a version, both tokens (RFC 9110, 7.8). */
const protocolPattern = /^[!#$%&'*+.^_`|~\w-]+(?:\/[!#$%&'*+.^_`|~\w-]+)?$/

/** The Base64 form of 16 bytes (RFC 6455, 4.1). */
const keyPattern = /^[A-Za-z0-9+/]{21}[AQgw]==$/

/**
 * The protocol that a request asks to switch to, if any, when it asks in order. A handshake that no server may accept
 * (RFC 6455, 4.2.1) is refused here: nothing good is behind it, and no upstream has to find that out.
 */
export const upgradeRequest = (incoming: Incoming): Result.Result<string | undefined, ProxyError.UpgradeInvalid> => {
  // RFC 9110, 7.8: in HTTP/1.0 it means nothing.
  const asked = incoming.httpVersion === "1.0" ? undefined : wantedProtocol(incoming)
  if (asked === undefined) return Result.succeed(asked)
  const protocols = asked.split(",").map((protocol) => protocol.trim()).filter((protocol) => protocol !== "")
  if (!protocols.every((protocol) => protocolPattern.test(protocol))) return invalid("Token")
  return protocols.some((protocol) => protocol.toLowerCase() === "websocket")
    ? Result.map(webSocket(incoming), () => asked)
    : Result.succeed(asked)
}

const webSocket = ({ fields }: Incoming): Result.Result<void, ProxyError.UpgradeInvalid> => {
  if (!isOnly(fields, "sec-websocket-version", (version) => version === "13")) return invalid("Version")
  return isOnly(fields, "sec-websocket-key", (key) => keyPattern.test(key)) ? Result.void : invalid("Key")
}

const isOnly = (fields: Fields.Fields, name: string, isValid: (value: string) => boolean): boolean => {
  const lines = Fields.getAll(fields, name)
  return lines.length === 1 && isValid(lines[0].trim())
}

const invalid = (reason: ProxyError.UpgradeInvalid["reason"]): Result.Result<never, ProxyError.UpgradeInvalid> =>
  Result.fail(new ProxyError.UpgradeInvalid({ reason }))
