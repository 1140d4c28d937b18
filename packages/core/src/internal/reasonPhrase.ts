import { STATUS_CODES } from "node:http"

/** The reason phrase of RFC 9110, 15, as Node knows it; the class's first phrase for codes that have none. */
export const reasonPhrase = (status: number): string =>
  STATUS_CODES[status] ?? (status >= 500 ? "Internal Server Error" : "Bad Request")
