import * as Redacted from "effect/Redacted"
import { isUtf8 } from "node:buffer"

const base64 = /^(?:[A-Za-z\d+/]{4})*(?:[A-Za-z\d+/]{2}==|[A-Za-z\d+/]{3}=)?$/

// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f]/

/**
 * The name and password in Basic credentials, or `undefined` when they can't be read.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7617#section-2
 */
export const basicCredentials = (
  text: string
): { readonly username: string; readonly password: Redacted.Redacted } | undefined => {
  if (!base64.test(text)) return undefined
  const bytes = Buffer.from(text, "base64")
  if (!isUtf8(bytes)) return undefined
  const pair = bytes.toString("utf8")
  const colon = pair.indexOf(":")
  if (colon === -1 || control.test(pair)) return undefined
  return { username: pair.slice(0, colon), password: Redacted.make(pair.slice(colon + 1), { label: "password" }) }
}
