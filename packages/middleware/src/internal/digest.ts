import { hash, randomBytes } from "node:crypto"

/** Nobody outside of this process can tell a digest beforehand, so how long a comparison of digests takes tells nothing. */
const processKey = randomBytes(32).toString("hex")

/** A digest of a secret in hexadecimal digits, for comparisons and as the key of a map. */
export const blindDigest = (secret: string): string => sha256(processKey + secret)

/** SHA-256 in lower-case hexadecimal digits. */
export const sha256 = (text: string): string => hash("sha256", text)
