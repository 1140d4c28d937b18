import type { Headers } from "effect/http/Headers"
import { createHash } from "node:crypto"

/** The key of the response to a request, where they differ by some of its fields. */
export const variantKey = (
  key: string,
  { generation, names }: { readonly names: ReadonlyArray<string>; readonly generation: string },
  headers: Headers
): string => `${key} ${generation} ${selectionOf(names, headers)}`

/** What a request has in these fields, in short. */
export const selectionOf = (names: ReadonlyArray<string>, headers: Headers): string => {
  const digest = createHash("sha256")
  for (const name of names) digest.update(JSON.stringify([name, headers[name] ?? null]))
  return digest.digest("base64url")
}

/** The members of a list of names, in lower case and in order. */
export const namesOf = (vary: string | undefined): ReadonlyArray<string> =>
  (vary ?? "").split(",").map((name) => name.trim().toLowerCase()).filter((name) => name !== "").toSorted()
