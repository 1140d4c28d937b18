import * as Redacted from "effect/Redacted"

const base64 = /^(?:[A-Za-z\d+/]{4})*(?:[A-Za-z\d+/]{2}==|[A-Za-z\d+/]{3}=)?$/

// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f]/

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/**
 * The name and password in Basic credentials, or `undefined` when they can't be read.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7617#section-2
 */
export const basicCredentials = (
  text: string
): { readonly username: string; readonly password: Redacted.Redacted } | undefined => {
  if (!base64.test(text)) return undefined
  const pair = decoded(text)
  const colon = pair?.indexOf(":") ?? -1
  if (pair === undefined || colon === -1 || control.test(pair)) return undefined
  return { username: pair.slice(0, colon), password: Redacted.make(pair.slice(colon + 1), { label: "password" }) }
}

const decoded = (text: string): string | undefined => {
  try {
    return utf8.decode(Buffer.from(text, "base64"))
  } catch {
    return undefined
  }
}
