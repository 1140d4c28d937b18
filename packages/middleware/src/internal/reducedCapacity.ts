import type * as Problem from "@sluice/core/Problem"
import * as Schema from "effect/Schema"

/** @see https://www.iana.org/assignments/http-problem-types */
const problemTypes = "https://iana.org/assignments/http-problem-types#"

export const quotaExceeded = `${problemTypes}quota-exceeded` as const
export const temporaryReducedCapacity = `${problemTypes}temporary-reduced-capacity` as const

export const retryAfterField = ({ retryAfter }: { readonly retryAfter: number }): Record<string, string> => ({
  "retry-after": String(retryAfter)
})

/** The members of a problem that says when to try again, in seconds. */
export const retryAfterMember = { retryAfter: Schema.Number }

/** What all refusals for lack of capacity have in common: nobody is to be called, and the exchange ends as `Shed`. */
export const shedding = {
  status: 503,
  report: false,
  ending: "Shed",
  headers: retryAfterField
} as const satisfies Problem.Declaration<503, string, { readonly retryAfter: number }>
