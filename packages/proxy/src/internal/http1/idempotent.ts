/** Methods that may be sent twice to the same effect as once (RFC 9110, 9.2.2). */
export const idempotent: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
