import { createHash, createHmac, randomBytes } from "node:crypto"

/** Nobody outside of this process can tell a digest beforehand, so how long a comparison of digests takes tells nothing. */
const processKey = randomBytes(32)

/** A digest of a secret, for comparisons and as the key of a map. */
export const blindDigest = (secret: string): Buffer => createHmac("sha256", processKey).update(secret, "utf8").digest()

/** SHA-256 in lower-case hexadecimal digits. */
export const sha256 = (text: string): string => createHash("sha256").update(text, "utf8").digest("hex")
