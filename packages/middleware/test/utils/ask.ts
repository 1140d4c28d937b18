import { RawClient } from "@sluice/core/testing"
import type { RawConnection } from "@sluice/core/testing"
import * as Effect from "effect/Effect"

/** Sends a request line and fields as they stand, on a connection of its own. `Host: a.test` unless there is another. */
export const ask = (
  { port }: { readonly port: number },
  line: string,
  fields: ReadonlyArray<string> = [],
  body = ""
): Effect.Effect<RawConnection.RawResponse> => {
  const host = fields.some((field) => /^host:/i.test(field)) ? [] : ["Host: a.test"]
  const length = body === "" ? [] : [`Content-Length: ${body.length}`]
  const head = [`${line} HTTP/1.1`, ...host, ...length, ...fields, "Connection: close", "", body]
  return Effect.scoped(
    Effect.flatMap(RawClient.connect(port), (client) => client.request(head.join("\r\n")))
  ).pipe(Effect.orDie)
}

/** The values of some fields of a response, in the order asked for. */
export const pick = (
  response: RawConnection.RawResponse,
  ...names: ReadonlyArray<string>
): ReadonlyArray<string | undefined> => names.map((name) => response.get(name))

/** Every line of a field. */
export const lines = ({ fields }: RawConnection.RawResponse, name: string): ReadonlyArray<string> =>
  fields.flatMap((field, index) => index % 2 === 0 && field.toLowerCase() === name ? [fields[index + 1]] : [])
