/**
 * Webhooks that were signed with a shared secret: HMAC (RFC 2104) over the body as it was sent.
 *
 * **When to use** Around routes that another service calls to tell what happened there, with a secret that both know.
 *
 * **Details** The body is read up to `maxBodyBytes` and can be read again by the handler. Three formats are known:
 *
 * - `plain`: a field holds the signature of the body, after a prefix that names the algorithm: `sha256=9f86…`;
 * - `timestamped`: a field holds `t=1700000000,v1=9f86…`, and what is signed is the seconds, a full stop and the body. There may
 *   be several `v1`, one for each secret of the sender, and other members, which are ignored;
 * - `standard-webhooks`: `webhook-id`, `webhook-timestamp` and `webhook-signature: v1,n4bQ…`. What is signed is the id, the seconds
 *   and the body, with full stops between them. There may be several signatures; those of other versions are ignored.
 *
 * What the fields alone decide is decided before the body is read. Secrets are tried one after the other, all of them, and
 * signatures are compared in constant time.
 *
 * **Gotchas** A request can be sent again as it is: within `tolerance`, and for ever where the format is `plain`. Keep the id of the
 * event with what it caused. The signature is of the bytes on the wire, so `Decompression` belongs inside. A timestamp is judged
 * by this machine's clock. Without a server of Node (`Handler.toWebHandler`) the body can be read again only as a whole, as a
 * text, as JSON or as bytes: its stream is empty, for `Decompression` too.
 *
 * @see https://www.rfc-editor.org/rfc/rfc2104
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 * @since 0.1.0
 */
import * as Exchange from "@sluice/core/Exchange"
import * as Fields from "@sluice/core/Fields"
import * as Middleware from "@sluice/core/Middleware"
import * as Problem from "@sluice/core/Problem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerError } from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto"
import {
  requireCount,
  requireDelay,
  requireDuration,
  requireFieldName,
  requireFieldValue,
  requireOneOf
} from "./internal/options.ts"
import { requestBytes } from "./internal/requestBytes.ts"

/**
 * The hash function of the HMAC.
 *
 * @category models
 * @since 0.1.0
 */
export type Algorithm = "sha256" | "sha384" | "sha512"

/**
 * Settings of {@link make} that all formats have.
 *
 * @category models
 * @since 0.1.0
 */
export interface Common {
  /** What the sender may have signed with. While a secret is replaced, the old one and the new one. At least one. */
  readonly secrets: ReadonlyArray<Redacted.Redacted>
  /** The largest body, in bytes. @default 1048576 */
  readonly maxBodyBytes?: number
}

/**
 * A field with the signature of the body: `X-Hub-Signature-256: sha256=9f86…`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Plain extends Common {
  readonly format: "plain"
  /** The field. */
  readonly header: string
  /** What stands before the signature. @default the algorithm and an equals sign, `sha256=` */
  readonly prefix?: string
  /** How the signature is written. Base64 is the one with `+`, `/` and padding. @default "hex" */
  readonly encoding?: "hex" | "base64"
  /** @default "sha256" */
  readonly algorithm?: Algorithm
}

/**
 * A field with the time and the signatures, in hexadecimal digits: `Stripe-Signature: t=1700000000,v1=9f86…`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Timestamped extends Common {
  readonly format: "timestamped"
  /** As the sender shows them: `whsec_` belongs to a secret that begins with it. At least one. */
  readonly secrets: ReadonlyArray<Redacted.Redacted>
  /** The field. */
  readonly header: string
  /** How far the timestamp may be from now, before or after it. Finite. @default "5 minutes" */
  readonly tolerance?: Duration.Input
  /** @default "sha256" */
  readonly algorithm?: Algorithm
}

/**
 * The symmetric signatures of Standard Webhooks: HMAC-SHA256 in Base64.
 *
 * @category models
 * @since 0.1.0
 */
export interface StandardWebhooks extends Common {
  readonly format: "standard-webhooks"
  /** 24 to 64 bytes in Base64, with or without `whsec_` before them. At least one. */
  readonly secrets: ReadonlyArray<Redacted.Redacted>
  /** What the names of the three fields begin with, before `-id`, `-timestamp` and `-signature`. @default "webhook" */
  readonly header?: string
  /** How far the timestamp may be from now, before or after it. Finite. @default "5 minutes" */
  readonly tolerance?: Duration.Input
}

/**
 * Settings of {@link make}.
 *
 * @category models
 * @since 0.1.0
 */
export type Options = Plain | Timestamped | StandardWebhooks

const Reason = Schema.Literals(["missing", "malformed", "timestamp", "mismatch"])

/**
 * Nobody who knows a secret has signed the request: 401 (RFC 9110, 15.5.2). The reason is
 *
 * - `missing`: a field of the format is not there;
 * - `malformed`: a field can't be read, is there twice, or has no signature of the right kind;
 * - `timestamp`: the request was signed too long ago, or in the future;
 * - `mismatch`: no signature is one of this request's with any of the secrets.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidSignature extends Problem.TaggedError<InvalidSignature>()("InvalidWebhookSignature", {
  status: 401,
  title: "The signature is not accepted",
  // A 401 must have a challenge, and no registered scheme is for this.
  headers: () => ({ "www-authenticate": "WebhookSignature" })
}, {
  reason: Reason
}) {}

/**
 * The body is too large to be verified: 413.
 *
 * @category errors
 * @since 0.1.0
 */
export class BodyTooLarge extends Problem.TaggedError<BodyTooLarge>()("WebhookBodyTooLarge", {
  status: 413
}, {
  /** Bytes. */
  limit: Schema.Number
}) {}

/**
 * The errors of {@link make}. That of Effect stands for a body that could not be read.
 *
 * @category errors
 * @since 0.1.0
 */
export type Refusal = InvalidSignature | BodyTooLarge | HttpServerError

/**
 * Lets requests through that were signed with one of the secrets.
 *
 * **Details** Throws a `TypeError` that names the secret unless it is `Redacted`, and a `RangeError` that names the option for
 * anything else that makes no sense: no secret, an empty one, one that Standard Webhooks does not allow, an unknown format,
 * algorithm or encoding, a name that no field can have, a tolerance that is not positive and finite. No message shows a secret.
 *
 * @example
 * ```ts
 * import { Handler, Route } from "@sluice/core"
 * import { WebhookSignature } from "@sluice/middleware"
 * import { Effect, Redacted } from "effect"
 * import { HttpServerRequest, HttpServerResponse } from "effect/http"
 *
 * const signed = WebhookSignature.make({
 *   format: "plain",
 *   header: "X-Hub-Signature-256",
 *   secrets: [Redacted.make("It's a Secret to Everybody")]
 * })
 * const Hook = Route.post("/hook", signed, Effect.gen(function*() {
 *   const request = yield* HttpServerRequest.HttpServerRequest
 *   return HttpServerResponse.text(yield* request.text)
 * }))
 *
 * const signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
 * const headers = { "x-hub-signature-256": signature }
 * const program = Effect.gen(function*() {
 *   const fetch = yield* Handler.toWebHandler(Hook)
 *   const send = (body: string) =>
 *     Effect.promise(() => fetch(new Request("http://localhost/hook", { method: "POST", headers, body })))
 *   return [(yield* send("Hello, World!")).status, (yield* send("Hello, Mallory!")).status]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(program))) // => [200, 401]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options
): Middleware.Middleware<never, Refusal, HttpServerRequest.HttpServerRequest> => {
  const scheme = schemeOf(options)
  const limit = requireCount("maxBodyBytes", options.maxBodyBytes ?? 1_048_576, 0)
  const verify = Effect.gen(function*() {
    const { requestFields } = yield* Exchange.current
    const claim = scheme.read(requestFields)
    if (typeof claim === "string") return yield* Effect.fail(new InvalidSignature({ reason: claim }))
    if (claim.seconds !== undefined) {
      const away = Math.abs((yield* Clock.currentTimeMillis) - claim.seconds * 1000)
      if (away > scheme.tolerance) return yield* Effect.fail(new InvalidSignature({ reason: "timestamp" }))
    }
    const body = yield* requestBytes(yield* HttpServerRequest.HttpServerRequest, limit)
    if (body === undefined) return yield* Effect.fail(new BodyTooLarge({ limit }))
    if (!isSigned(scheme, claim, body)) return yield* Effect.fail(new InvalidSignature({ reason: "mismatch" }))
  })
  return Middleware.around<Refusal, HttpServerRequest.HttpServerRequest>(
    `WebhookSignature(${scheme.label})`,
    (handler) => Effect.andThen(verify, handler),
    { response: "none" }
  )
}

/** What a request says of itself. */
interface Claim {
  readonly seconds?: number
  /** What is signed before the body. */
  readonly lead: string
  /** In the scheme's encoding; at least one. */
  readonly signatures: ReadonlyArray<string>
}

interface Scheme {
  readonly label: string
  readonly keys: ReadonlyArray<KeyObject>
  readonly algorithm: Algorithm
  readonly encoding: "hex" | "base64"
  /** In milliseconds. */
  readonly tolerance: number
  readonly read: (fields: Fields.Fields) => Claim | typeof Reason.Type
}

const isSigned = ({ algorithm, encoding, keys }: Scheme, { lead, signatures }: Claim, body: Uint8Array): boolean => {
  const given = signatures.map((signature) => Buffer.from(signature, "latin1"))
  let found = false
  for (const key of keys) {
    const hmac = createHmac(algorithm, key).update(lead, "latin1").update(body)
    const expected = Buffer.from(hmac.digest(encoding), "latin1")
    // No early exit: how long it takes does not tell which of them it was.
    for (const signature of given) found = timingSafeEqual(expected, signature) || found
  }
  return found
}

const schemeOf = (options: Options): Scheme => {
  requireOneOf("format", options.format, ["plain", "timestamped", "standard-webhooks"])
  switch (options.format) {
    case "plain":
      return plain(options)
    case "timestamped":
      return timestamped(options)
    case "standard-webhooks":
      return standardWebhooks(options)
  }
}

const plain = (options: Plain): Scheme => {
  const header = requireFieldName("header", options.header)
  const algorithm = requireAlgorithm(options.algorithm)
  const encoding = requireOneOf("encoding", options.encoding ?? "hex", ["hex", "base64"])
  const prefix = options.prefix === "" ? "" : requireFieldValue("prefix", options.prefix ?? `${algorithm}=`)
  const signaturesOf = signatureReader(algorithm, encoding)
  return {
    label: `plain ${header}`,
    keys: keysOf(options.secrets, (secret) => Buffer.from(secret)),
    algorithm,
    encoding,
    tolerance: Infinity,
    read: (fields) => {
      const value = theOnly(fields, header)
      if (value === undefined) return "missing"
      const signatures = signaturesOf([value], prefix)
      return signatures.length > 0 ? { lead: "", signatures } : "malformed"
    }
  }
}

const timestamped = (options: Timestamped): Scheme => {
  const header = requireFieldName("header", options.header)
  const algorithm = requireAlgorithm(options.algorithm)
  const tolerance = requireTolerance(options.tolerance)
  const signaturesOf = signatureReader(algorithm, "hex")
  return {
    label: `timestamped ${header} ${Duration.format(Duration.millis(tolerance))}`,
    keys: keysOf(options.secrets, (secret) => Buffer.from(secret)),
    algorithm,
    encoding: "hex",
    tolerance,
    read: (fields) => {
      const value = theOnly(fields, header)
      if (value === undefined) return "missing"
      const members = value.split(",").map((member) => member.trim())
      const [time = "", ...otherTimes] = valuesOf(members, "t=")
      const signatures = signaturesOf(members, "v1=")
      return isSeconds(time) && otherTimes.length === 0 && signatures.length > 0
        ? { seconds: Number(time), lead: `${time}.`, signatures }
        : "malformed"
    }
  }
}

const standardWebhooks = (options: StandardWebhooks): Scheme => {
  const start = requireFieldName("header", options.header ?? "webhook")
  const tolerance = requireTolerance(options.tolerance)
  const signaturesOf = signatureReader("sha256", "base64")
  return {
    label: `standard-webhooks ${start} ${Duration.format(Duration.millis(tolerance))}`,
    keys: keysOf(options.secrets, standardKey),
    algorithm: "sha256",
    encoding: "base64",
    tolerance,
    read: (fields) => {
      const id = theOnly(fields, `${start}-id`)
      const time = theOnly(fields, `${start}-timestamp`)
      const value = theOnly(fields, `${start}-signature`)
      if (id === undefined || time === undefined || value === undefined) return "missing"
      // With a full stop in the id, the same bytes could be signed for another id, time and body.
      const isWhole = id !== "" && !id.includes(".") && isSeconds(time)
      const signatures = signaturesOf(value.split(" "), "v1,")
      return isWhole && signatures.length > 0
        ? { seconds: Number(time), lead: `${id}.${time}.`, signatures }
        : "malformed"
    }
  }
}

/** The value of a field, `undefined` without one. Several lines say nothing (`""`): there may be one. */
const theOnly = (fields: Fields.Fields, name: string): string | undefined => {
  const values = Fields.getAll(fields, name)
  return values.length > 1 ? "" : values[0]
}

const valuesOf = (members: ReadonlyArray<string>, start: string): ReadonlyArray<string> =>
  members.filter((member) => member.startsWith(start)).map((member) => member.slice(start.length))

const isSeconds = (text: string): boolean => /^\d{1,12}$/.test(text)

const sizes = { sha256: 32, sha384: 48, sha512: 64 } as const

/** The signatures after a prefix, as Node writes them, so that all that are compared have the same length. */
const signatureReader = (algorithm: Algorithm, encoding: "hex" | "base64") => {
  const { length } = Buffer.alloc(sizes[algorithm]).toString(encoding)
  const shape = encoding === "hex" ? /^[\da-f]+$/i : /^[A-Za-z\d+/]+={0,2}$/
  return (members: ReadonlyArray<string>, prefix: string): ReadonlyArray<string> =>
    valuesOf(members, prefix)
      .filter((text) => text.length === length && shape.test(text))
      .map((text) => encoding === "hex" ? text.toLowerCase() : text)
}

const requireAlgorithm = (algorithm: Algorithm = "sha256"): Algorithm =>
  requireOneOf("algorithm", algorithm, ["sha256", "sha384", "sha512"])

const requireTolerance = (tolerance: Duration.Input = "5 minutes"): number =>
  requireDelay("tolerance", requireDuration("tolerance", tolerance))

const keysOf = (
  secrets: ReadonlyArray<Redacted.Redacted>,
  toBytes: (secret: string, name: string) => Buffer
): ReadonlyArray<KeyObject> => {
  if (secrets.length === 0) throw new RangeError("secrets must have at least one")
  return secrets.map((secret, index) => {
    const name = `secrets[${index}]`
    if (!Redacted.isRedacted(secret)) throw new TypeError(`${name} must be Redacted`)
    const value = Redacted.value(secret)
    if (value === "") throw new RangeError(`${name} must not be empty`)
    return createSecretKey(toBytes(value, name))
  })
}

const standardKey = (secret: string, name: string): Buffer => {
  const text = secret.replace(/^whsec_/, "")
  const bytes = Buffer.from(text, "base64")
  const isBase64 = bytes.toString("base64").replace(/=+$/, "") === text.replace(/=+$/, "")
  if (isBase64 && bytes.length >= 24 && bytes.length <= 64) return bytes
  throw new RangeError(`${name} must be 24 to 64 bytes in Base64`)
}
