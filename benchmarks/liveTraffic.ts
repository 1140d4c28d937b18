/** What goes through connections that stay open. */

/** Of a message's payload, in bytes. */
export const messageLength = 32

/** Between two events, in milliseconds. */
export const pace = 100
