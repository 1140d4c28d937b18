/** @see https://www.rfc-editor.org/rfc/rfc9110#section-9.2.1 */
const safe: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"])

/** Whether a method asks for nothing to be changed. */
export const isSafe = (method: string): boolean => safe.has(method)
