import * as Fields from "@sluice/core/Fields"

/**
 * The values of every cookie of a name, as they were sent, without quotes around them.
 *
 * @see https://www.rfc-editor.org/rfc/rfc6265#section-4.2
 */
export const cookieValues = (fields: Fields.Fields, name: string): ReadonlyArray<string> =>
  Fields.getAll(fields, "cookie").flatMap((line) => line.split(";")).flatMap((pair) => {
    const [key, ...rest] = pair.split("=")
    return rest.length > 0 && key.trim() === name ? [rest.join("=").trim().replace(/^"(.*)"$/, "$1")] : []
  })
